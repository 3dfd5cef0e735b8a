"""Peers that do not keep to the protocol: each breaks one step of an honest player, to show what becomes of it."""

from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peers.secure.broadcast import Board, Incoming, Outgoing
from peers.secure.deal import Deal
from peers.secure.field import Elements
from peers.secure.messages import say
from peers.secure.party import Player, Steps, Talk

Result = TypeVar("Result")


class Silent(Player):
    """Says and deals nothing at all, though it is still there to listen."""

    def play(self) -> Steps:
        """Go through the phases, and keep everything back."""
        return (yield from altered(super().play(), lambda outgoing: {}))


class SilentAfterDealing(Player):
    """Deals, and then says nothing more: killed between two phases."""

    def open_beacon(self, which: int) -> Talk:
        """Keep back what is opened."""
        yield from altered(super().open_beacon(which), lambda outgoing: {})

    def check(self) -> Talk:
        """Keep back what is opened."""
        yield from altered(super().check(), lambda outgoing: {})

    def open_sum(self) -> Talk:
        """Keep back what is opened."""
        yield from altered(super().open_sum(), lambda outgoing: {})


class TwoTongues(Player):
    """Says one thing to some and another to others, in one phase."""

    phase = "checks"

    def say(self, phase: str, body: bytes, take: Callable[[Board], None]) -> Talk:
        """Say something, and something else to every second peer."""
        spoken = super().say(phase, body, take)
        if phase != self.phase:
            yield from spoken
            return
        changed = bytes([body[0] ^ 1]) + body[1:] if body else b"\1"
        other = say(self.speaker.key, self.context, phase, self.me, self.ruling.head, changed).encode()
        yield from altered(
            spoken, lambda outgoing: {peer: other if peer % 2 else raw for peer, raw in outgoing.items()}, first=True
        )


class Halves(Player):
    """Says what it has to say to every second peer, and nothing to the others."""

    phase = "checks"

    def say(self, phase: str, body: bytes, take: Callable[[Board], None]) -> Talk:
        """Say something to some."""
        spoken = super().say(phase, body, take)
        if phase == self.phase:
            spoken = altered(
                spoken, lambda outgoing: {peer: raw for peer, raw in outgoing.items() if peer % 2}, first=True
            )
        yield from spoken


class Meddler(Player):
    """A player some of whose deal's pieces are others than the protocol says."""

    def hand_out(self, deal: Deal, secret: X25519PrivateKey) -> Talk:
        """Deal, with what ``changed`` makes of each piece."""
        pieces = deal.pieces

        def made() -> Iterator[list[bytes]]:
            for number, piece in enumerate(pieces()):
                yield [self.changed(number, place, raw) for place, raw in enumerate(piece)]

        deal.pieces = made  # type: ignore[method-assign]
        yield from super().hand_out(deal, secret)

    def changed(self, number: int, place: int, raw: bytes) -> bytes:
        """Return what goes to a member in place of a piece."""
        return raw


class Spoiler(Meddler):
    """Gives one member other shares than it has committed to, and shows the right ones when asked."""

    def changed(self, number: int, place: int, raw: bytes) -> bytes:
        """Spoil the small columns of one member."""
        victim = (self.me + 1) % self.columns.layout.members
        return bytes(len(raw)) if place == victim and number == self.columns.pieces - 1 else raw


class Withholder(Spoiler):
    """The same, but does not answer complaints."""

    def say(self, phase: str, body: bytes, take: Callable[[Board], None]) -> Talk:
        """Answer with nothing."""
        yield from super().say(phase, b"" if phase == "answers" else body, take)


class Crooked(Player):
    """Commits to a share for one member that is on no polynomial of the others' shares."""

    def deal(self, secrets: Elements) -> Deal:
        """Return the deal, changed."""
        deal = super().deal(secrets)
        small = deal.small
        victim = (self.me + 1) % self.columns.layout.members
        small[victim] = self.columns.layout.field.add(small[victim], np.ones_like(small[victim]))
        return deal


class Liar(Player):
    """Opens other numbers than follow from its shares, in the phases named."""

    phases: tuple[str, ...] = ("checks",)

    def say(self, phase: str, body: bytes, take: Callable[[Board], None]) -> Talk:
        """Say something wrong."""
        wrong = bytes([body[0] ^ 1]) + body[1:] if phase in self.phases and body else body
        yield from super().say(phase, wrong, take)


class FalseComplainer(Player):
    """Says of every dealer that its part did not come."""

    def complaints(self) -> bytes:
        """Complain about all."""
        return bytes([1]) * len(self.ruling.dealers)


class OutOfRange(Player):
    """Deals a number that no rule allows, a thousand times too large."""

    def deal(self, secrets: Elements) -> Deal:
        """Return the deal of an update that counts for more than any other."""
        field = self.columns.layout.field
        return super().deal(field.multiply(secrets, field.elements(np.full_like(secrets, 1000, np.int64))))


class SumLiar(Liar):
    """Gives a share of the sum that is another than it has committed to, or than its shares make."""

    phases = ("sums", "rows", "fingerprints")


CHEATS: dict[str, type[Player]] = {
    "silent": Silent,
    "out-of-range": OutOfRange,
    "wrong-shares": Crooked,
    "wrong-checks": Liar,
    "wrong-sum": SumLiar,
    "equivocation": TwoTongues,
    "false-complaints": FalseComplainer,
}
"""``misbehaviour.kind`` of a description → how such a peer plays."""


def altered(
    steps: Generator[Outgoing, Incoming, Result], change: Callable[[Outgoing], Outgoing], *, first: bool = False
) -> Generator[Outgoing, Incoming, Result]:
    """Do all steps, with what is sent changed; ``first``: only what is sent first."""
    outgoing, changing = next(steps), True
    while True:
        incoming = yield change(outgoing) if changing else outgoing
        changing = not first
        try:
            outgoing = steps.send(incoming)
        except StopIteration as ended:
            result: Result = ended.value
            return result
