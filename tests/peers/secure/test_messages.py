"""What is said to all: heard as it was said, in its place, and nowhere else."""

import hashlib
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.secure.context import Context
from peers.secure.messages import (
    HEAD_BYTES,
    SIGNATURE_BYTES,
    Message,
    hear,
    is_genuine,
    is_witnessed,
    say,
    witness,
)
from tests.peers.secure.rounds import keys_of

KEY, OTHER, THIRD = keys_of(3).values()
ONE_KEY = dict.fromkeys((1, 2), KEY.public_key())
"""Two peers with one key: where the one's signature is refused from the other, it is for the number."""


@dataclass(frozen=True)
class Place:
    """All that a signature is bound to, but the body."""

    run: bytes = hashlib.sha256(b"run").digest()
    round: int = 1
    phase: str = "checks"
    sender: int = 1
    head: bytes = bytes(HEAD_BYTES)

    @property
    def context(self) -> Context:
        return Context(self.run, self.round, ONE_KEY)

    def say(self, body: bytes) -> Message:
        return say(KEY, self.context, self.phase, self.sender, self.head, body)

    def hear(self, raw: bytes) -> Message | None:
        return hear(self.context, self.phase, self.sender, self.head, raw)


HERE = Place()
PLACES = st.builds(
    Place,
    run=st.sampled_from([bytes(32), bytes(31) + b"\1", hashlib.sha256(b"run").digest()]),
    round=st.sampled_from([0, 1, 256, (1 << 64) - 1]),
    phase=st.sampled_from(["", "a", "aa", "a\0", "\0", "rows", "beacon 1", "ä" * 100]),
    sender=st.sampled_from([1, 2]),
    head=st.sampled_from([bytes(32), b"a" + bytes(31), bytes(31) + b"a"]),
)


@given(PLACES, st.binary(max_size=300))
def test_what_was_said_is_heard(place: Place, body: bytes) -> None:
    message = place.say(body)
    assert place.hear(message.encode()) == message == Message(place.sender, body, message.signature)
    assert len(message.encode()) == SIGNATURE_BYTES + len(body)
    assert message.digest == hashlib.sha256(body).digest()


@pytest.mark.parametrize(
    "there",
    [
        replace(HERE, run=hashlib.sha256(b"another run").digest()),
        replace(HERE, round=2),
        replace(HERE, phase="sums"),
        replace(HERE, phase="check"),
        replace(HERE, phase="checks "),
        replace(HERE, sender=2),
        replace(HERE, head=b"\1" + bytes(31)),
        replace(HERE, head=bytes(31) + b"\1"),
    ],
)
def test_a_message_is_heard_in_no_other_place(there: Place) -> None:
    raw = HERE.say(b"one").encode()
    assert HERE.hear(raw) is not None
    assert there.hear(raw) is None


@given(PLACES, PLACES, st.binary(max_size=5))
def test_two_places_have_no_signature_in_common(here: Place, there: Place, body: bytes) -> None:
    assert (there.hear(here.say(body).encode()) is not None) == (here == there)


@given(PLACES, PLACES, st.binary(max_size=5))
def test_two_places_have_no_witness_in_common(here: Place, there: Place, body: bytes) -> None:
    """But for the sender, which the message itself tells."""
    message = here.say(body)
    signature = witness(OTHER, Context(here.run, here.round, {}), here.phase, here.head, message)
    context = Context(there.run, there.round, {7: OTHER.public_key()})
    moved = replace(message, sender=there.sender)
    assert is_witnessed(context, there.phase, there.head, moved, 7, signature) == (here == there)


@given(st.binary(max_size=40), st.data())
def test_a_message_of_which_one_bit_is_changed_is_not_heard(body: bytes, data: st.DataObject) -> None:
    raw = bytearray(HERE.say(body).encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert HERE.hear(bytes(raw)) is None


@given(st.binary(min_size=1, max_size=40), st.binary(max_size=3), st.data())
def test_a_message_that_is_cut_or_goes_on_is_not_heard(body: bytes, more: bytes, data: st.DataObject) -> None:
    raw = HERE.say(body).encode()
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    assert HERE.hear(cut) is None
    assert (HERE.hear(raw + more) is None) == bool(more)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_garbage_is_not_heard(raw: bytes) -> None:
    assert HERE.hear(raw) is None


@given(st.binary(max_size=100))
def test_garbage_witnesses_nothing(signature: bytes) -> None:
    assert not is_witnessed(HERE.context, HERE.phase, HERE.head, HERE.say(b"one"), 2, signature)


@pytest.mark.parametrize("key", [OTHER, THIRD])
def test_another_key_says_nothing_in_a_peers_name(key: Ed25519PrivateKey) -> None:
    forged = say(key, HERE.context, HERE.phase, HERE.sender, HERE.head, b"one")
    assert HERE.hear(forged.encode()) is None


def test_who_is_no_peer_says_and_witnesses_nothing() -> None:
    message = say(KEY, HERE.context, HERE.phase, 3, HERE.head, b"one")
    assert not is_genuine(HERE.context, HERE.phase, HERE.head, message)
    mine = witness(KEY, HERE.context, HERE.phase, HERE.head, HERE.say(b"one"))
    assert not is_witnessed(HERE.context, HERE.phase, HERE.head, HERE.say(b"one"), 3, mine)


def test_a_witness_tells_of_one_message_and_of_one_peer() -> None:
    context = Context(HERE.run, 1, dict(enumerate(key.public_key() for key in (KEY, OTHER, THIRD))))
    message, another = (say(KEY, context, "checks", 0, HERE.head, body) for body in (b"one", b"two"))
    signature = witness(OTHER, context, "checks", HERE.head, message)
    assert is_witnessed(context, "checks", HERE.head, message, 1, signature)
    assert not is_witnessed(context, "checks", HERE.head, another, 1, signature)
    assert not is_witnessed(context, "checks", HERE.head, message, 2, signature)
    assert not is_witnessed(context, "checks", HERE.head, replace(message, sender=2), 1, signature)


def test_to_have_heard_is_not_to_have_said() -> None:
    """Else who passes a message on could be made to have said it, and who says one to have passed it on."""
    message = HERE.say(b"one")
    passed_on = witness(KEY, HERE.context, HERE.phase, HERE.head, message)
    assert HERE.hear(replace(message, signature=passed_on).encode()) is None
    assert not is_witnessed(HERE.context, HERE.phase, HERE.head, message, 1, message.signature)
