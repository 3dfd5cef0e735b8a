"""Saying the same to all, among peers of whom some say different things to different peers, or nothing to some.

Dolev and Strong 1983, "Authenticated algorithms for Byzantine agreement", for all senders at once. Each sends its
message; each tells which messages it has; where two differ, who has a message passes it on with its own signature, and
in stage r a message counts only if r peers have signed it. After as many stages as peers may cheat, and one, all honest
peers have heard the same of everyone: one message, or none, or two different ones, which prove that their sender lied.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peers.secure.context import Context
from peers.secure.messages import SIGNATURE_BYTES, Message, hear, is_genuine, is_witnessed, say, witness

Outgoing: TypeAlias = dict[int, bytes]
"""Receiver → what it gets; who is missing gets nothing."""
Incoming: TypeAlias = Mapping[int, bytes]
"""Sender → what came from it in time."""
_NOTHING = bytes(32)


@dataclass(frozen=True)
class Board:
    """What all honest peers have heard in a phase.

    Attributes:
        said: sender → its message.
        twice: sender → two different messages that it signed: proof that it cheats.
    """

    said: dict[int, Message] = field(default_factory=dict)
    twice: dict[int, tuple[Message, Message]] = field(default_factory=dict)


@dataclass(frozen=True)
class Speaker:
    """A peer that takes part.

    Attributes:
        me: its number.
        key: its own, to sign with.
        context: the round.
        stages: how many peers may cheat or be away, and one.
    """

    me: int
    key: Ed25519PrivateKey
    context: Context
    stages: int

    def others(self) -> tuple[int, ...]:
        """Return the other peers' numbers."""
        return tuple(peer for peer in self.context.peers if peer != self.me)


@dataclass(frozen=True)
class _Relay:
    """A message on its way, with the signatures of those who passed it on."""

    message: Message
    witnesses: tuple[tuple[int, bytes], ...]


def broadcast(
    speaker: Speaker, phase: str, head: bytes, body: bytes, *, limit: Callable[[int], int]
) -> Generator[Outgoing, Incoming, Board]:
    """Say ``body`` to all, and return what all have said.

    Yields what goes to each peer in each exchange, and is sent what came. All peers make the same exchanges.

    Args:
        speaker: this peer.
        phase: a name used once a round.
        head: hash of the transcript so far; who has another one is not understood.
        body: what this peer says.
        limit: peer → bytes that its body may have; a longer one is not heard.
    """
    context = speaker.context
    own = say(speaker.key, context, phase, speaker.me, head, body)
    heard: dict[int, dict[bytes, Message]] = {peer: {} for peer in context.peers}
    heard[speaker.me][own.digest] = own
    incoming = yield dict.fromkeys(speaker.others(), own.encode())
    limits = {peer: limit(peer) + SIGNATURE_BYTES for peer in context.peers}
    for sender, raw in incoming.items():
        message = hear(context, phase, sender, head, raw) if len(raw) <= limits.get(sender, 0) else None
        if message is not None:
            heard[sender][message.digest] = message

    have = b"".join(_list_of(heard).values())
    incoming = yield dict.fromkeys(speaker.others(), have)
    told = {peer: incoming.get(peer, b"") for peer in speaker.others()}
    mine = _read_list(have, context.peers)
    lists = {peer: mine if raw == have else _read_list(raw, context.peers) for peer, raw in told.items()}
    own_view = [_Relay(message, ()) for messages in heard.values() for message in messages.values()]
    passed = _passed_on(speaker, phase, head, own_view, {peer: has for peer, has in lists.items() if has is not mine})
    step = 4 + SIGNATURE_BYTES
    most = sum(2 * (size + 16 + step * speaker.stages) for size in limits.values())  # two messages of each, well signed
    for stage in range(2, speaker.stages + 1):
        incoming = yield passed
        new = []
        for sender, raw in incoming.items():
            if sender not in told or len(raw) > most:
                continue
            for relay in _read_relays(raw, limits):
                messages = heard.get(relay.message.sender, {})
                known = relay.message.digest in messages or len(messages) > 1 or relay.message.sender not in heard
                if not known and _counts(context, phase, head, relay, stage):
                    messages[relay.message.digest] = relay.message
                    new.append(relay)
        passed = _passed_on(speaker, phase, head, new, lists)
    return Board(
        {sender: next(iter(messages.values())) for sender, messages in heard.items() if len(messages) == 1},
        {sender: _pair(messages) for sender, messages in heard.items() if len(messages) > 1},
    )


def _list_of(heard: Mapping[int, Mapping[bytes, Message]]) -> dict[int, bytes]:
    return {sender: next(iter(messages), _NOTHING) for sender, messages in heard.items()}


def _read_list(raw: bytes, peers: tuple[int, ...]) -> dict[int, bytes]:
    if len(raw) != 32 * len(peers):
        return dict.fromkeys(peers, _NOTHING)
    return {peer: raw[32 * place : 32 * place + 32] for place, peer in enumerate(peers)}


def _passed_on(
    speaker: Speaker, phase: str, head: bytes, relays: list[_Relay], lists: Mapping[int, Mapping[int, bytes]]
) -> Outgoing:
    """Return to each peer those messages that it has said it does not have, each signed once more."""
    parts: dict[int, list[bytes]] = {}
    for relay in relays:
        message = relay.message
        lacking = [
            peer for peer, has in lists.items() if has[message.sender] != message.digest and peer != message.sender
        ]
        if lacking and message.sender != speaker.me:
            mine = witness(speaker.key, speaker.context, phase, head, message)
            raw = _write_relay(_Relay(message, (*relay.witnesses, (speaker.me, mine))))
            for peer in lacking:
                parts.setdefault(peer, []).append(raw)
    return {peer: b"".join(pieces) for peer, pieces in parts.items()}


def _counts(context: Context, phase: str, head: bytes, relay: _Relay, stage: int) -> bool:
    """Tell whether so many different peers have signed a message as the stage wants, its sender first."""
    signers = {relay.message.sender, *(peer for peer, _ in relay.witnesses)}
    return (
        len(signers) == len(relay.witnesses) + 1 >= stage
        and is_genuine(context, phase, head, relay.message)
        and all(is_witnessed(context, phase, head, relay.message, *one) for one in relay.witnesses)
    )


def _pair(messages: Mapping[bytes, Message]) -> tuple[Message, Message]:
    first, second = (messages[digest] for digest in sorted(messages)[:2])
    return first, second


def _write_relay(relay: _Relay) -> bytes:
    raw = relay.message.encode()
    head = (
        relay.message.sender.to_bytes(4, "big") + len(relay.witnesses).to_bytes(4, "big") + len(raw).to_bytes(8, "big")
    )
    return head + b"".join(peer.to_bytes(4, "big") + signature for peer, signature in relay.witnesses) + raw


def _read_relays(raw: bytes, limits: Mapping[int, int]) -> list[_Relay]:
    """Read as many as are well formed."""
    relays, place = [], 0
    step = 4 + SIGNATURE_BYTES
    while place + 16 <= len(raw):
        sender, count = int.from_bytes(raw[place : place + 4], "big"), int.from_bytes(raw[place + 4 : place + 8], "big")
        size = int.from_bytes(raw[place + 8 : place + 16], "big")
        start = place + 16 + count * step
        if not SIGNATURE_BYTES <= size <= limits.get(sender, 0) or start + size > len(raw):
            break
        signed = [raw[place + 16 + step * one : place + 16 + step * (one + 1)] for one in range(count)]
        witnesses = tuple((int.from_bytes(one[:4], "big"), one[4:]) for one in signed)
        told = raw[start : start + size]
        relays.append(_Relay(Message(sender, told[SIGNATURE_BYTES:], told[:SIGNATURE_BYTES]), witnesses))
        place = start + size
    return relays
