"""What one peer says to another alone: nobody else, no other number, no other round opens it."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.secure.envelope import PUBLIC_BYTES, TAG_BYTES, SealError, pair_key, seal, unseal
from peers.secure.labels import ENVELOPE
from tests.peers.secure.rounds import context_of

PRIME = 2**255 - 19
LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    PRIME - 1,
    PRIME,
    PRIME + 1,
]
"""The points of Curve25519 and of its twist whose order divides 8, each in all forms that fit 255 bits."""
PLAIN = st.binary(max_size=60)
NUMBER = st.integers(0, 2**32)


def secret_of(peer: int) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(hashlib.sha256(b"secret %d" % peer).digest())


def public_of(peer: int) -> bytes:
    return secret_of(peer).public_key().public_bytes_raw()


def key_of(sender: int, receiver: int, number: int = 1) -> bytes:
    """Return the key as its receiver computes it, in a round."""
    return pair_key(secret_of(receiver), public_of(sender), context_of(9, number).binding, sender, receiver)


def doubled(point: int) -> int | None:
    """Return twice a point of Curve25519, by its first coordinate: 0 stands for order 2, None for the neutral one."""
    below = 4 * point * (point * point + 486662 * point + 1) % PRIME
    return None if below == 0 else (point * point - 1) ** 2 * pow(below, -1, PRIME) % PRIME


@pytest.mark.parametrize(("one", "other"), [(0, 1), (3, 8)])
def test_both_ends_have_the_same_key(one: int, other: int) -> None:
    binding = context_of(9).binding
    for sender, receiver in ((one, other), (other, one)):
        at_one = pair_key(secret_of(one), public_of(other), binding, sender, receiver)
        assert at_one == pair_key(secret_of(other), public_of(one), binding, sender, receiver)


def test_the_key_is_that_of_rfc_5869_over_the_secret_that_two_share() -> None:
    binding = context_of(9).binding
    shared = secret_of(2).exchange(secret_of(5).public_key())
    extracted = hmac.digest(bytes(32), shared, "sha256")
    info = ENVELOPE + binding + (5).to_bytes(4, "big") + (2).to_bytes(4, "big")
    assert key_of(5, 2) == hmac.digest(extracted, info + b"\x01", "sha256")


def test_every_direction_pair_and_round_has_a_key_of_its_own() -> None:
    places = [(sender, receiver, number) for sender in range(4) for receiver in range(4) for number in (1, 2, 256)
              if sender != receiver]  # fmt: skip
    assert len({key_of(*place) for place in places}) == len(places)


def test_another_run_has_another_key() -> None:
    keys = {pair_key(secret_of(0), public_of(1), bytes([run]) * 40, 0, 1) for run in range(5)}
    assert len(keys) == 5


def test_a_peer_that_copies_anothers_public_key_gets_a_key_of_its_own() -> None:
    """Else it could pass on what one told the other as told to itself."""
    binding = context_of(9).binding
    assert pair_key(secret_of(0), public_of(1), binding, 0, 1) != pair_key(secret_of(0), public_of(1), binding, 0, 2)


@settings(max_examples=50, deadline=None)
@given(plain=PLAIN, number=NUMBER)
def test_what_was_sealed_is_opened_with_the_same_key_and_number(plain: bytes, number: int) -> None:
    sealed = seal(key_of(0, 1), number, plain)
    assert unseal(key_of(0, 1), number, sealed) == plain
    assert len(sealed) == len(plain) + TAG_BYTES


@settings(max_examples=50, deadline=None)
@given(plain=PLAIN, numbers=st.tuples(NUMBER, NUMBER).filter(lambda both: both[0] != both[1]))
def test_another_number_opens_nothing(plain: bytes, numbers: tuple[int, int]) -> None:
    with pytest.raises(SealError):
        unseal(key_of(0, 1), numbers[1], seal(key_of(0, 1), numbers[0], plain))


@pytest.mark.parametrize(
    "key", [key_of(1, 0), key_of(0, 2), key_of(2, 1), key_of(0, 1, 2)], ids=["back", "receiver", "sender", "round"]
)
def test_another_key_opens_nothing(key: bytes) -> None:
    with pytest.raises(SealError):
        unseal(key, 0, seal(key_of(0, 1), 0, b"a share"))


def test_a_change_of_any_bit_is_seen() -> None:
    key = key_of(0, 1)
    sealed = seal(key, 3, b"a share")
    for place in range(8 * len(sealed)):
        changed = (int.from_bytes(sealed, "big") ^ 1 << place).to_bytes(len(sealed), "big")
        with pytest.raises(SealError):
            unseal(key, 3, changed)


def test_what_is_cut_or_made_longer_is_refused() -> None:
    key = key_of(0, 1)
    sealed = seal(key, 3, b"a share")
    for wrong in (*(sealed[:end] for end in range(len(sealed))), sealed + b"\0"):
        with pytest.raises(SealError):
            unseal(key, 3, wrong)


@pytest.mark.parametrize("point", LOW_ORDER)
@pytest.mark.parametrize("top", [0, 2**255], ids=["", "with the bit that X25519 ignores"])
def test_a_public_key_of_low_order_is_refused(point: int, top: int) -> None:
    """It makes a secret that all know."""
    times, walked = 0, point % PRIME
    while (after := doubled(walked)) is not None:
        times, walked = times + 1, after
        assert times < 3
    with pytest.raises(SealError):
        pair_key(secret_of(0), (point + top).to_bytes(32, "little"), context_of(9).binding, 0, 1)


@pytest.mark.parametrize("size", [0, 1, PUBLIC_BYTES - 1, PUBLIC_BYTES + 1, 64])
def test_a_public_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(SealError):
        pair_key(secret_of(0), b"\x09" * size, context_of(9).binding, 0, 1)
