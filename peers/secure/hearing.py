"""Who is heard in a round: what those said whose turn it was, who is out, and what can be read of it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from peers.secure.broadcast import Board
from peers.secure.columns import Columns
from peers.secure.context import Context
from peers.secure.field import Elements
from peers.secure.labels import HEAD
from peers.secure.layout import Layout
from peers.secure.opening import Opened, opened_each


@dataclass(frozen=True)
class Culprit:
    """A peer that cheated, provably.

    Attributes:
        peer: its number.
        phase: when it was seen.
        reason: what it did, as the end of a sentence that begins with its name.
    """

    peer: int
    phase: str
    reason: str


class AbortedError(Exception):
    """A round cannot end with a result that is right for sure; its text is one sentence that says why."""


class Hearing:
    """Who takes part in a round, and what was heard of them.

    Args:
        context: the round.
        columns: of the deals.
        members: the peers that hold shares, in order; a member's place counts in this list, a peer's number in all.

    Attributes:
        head: hash of all that was said so far, which every message is bound to.
        culprits: who cheated, provably.
        silent: peer → the phase since which it says nothing.
        dealers: the peers whose updates still count.
    """

    def __init__(self, context: Context, columns: Columns, members: Sequence[int]) -> None:
        self.context, self.columns, self.members = context, columns, tuple(members)
        self.head = hashlib.sha256(HEAD + context.binding + self._frame()).digest()
        self.culprits: list[Culprit] = []
        self.silent: dict[int, str] = {}
        self.dealers: list[int] = list(context.peers)

    @property
    def layout(self) -> Layout:
        """The round's sizes."""
        return self.columns.layout

    @property
    def active(self) -> list[int]:
        """The members' places that still count: not silent, not culprits."""
        out = {culprit.peer for culprit in self.culprits} | self.silent.keys()
        return [place for place, peer in enumerate(self.members) if peer not in out]

    def liars(self) -> int:
        """Return how many members may still be lying: each that is silent or was caught counts half."""
        out = self.layout.members - len(self.active)
        return max(0, (2 * self.layout.borne - out) // 2)

    def opened(
        self, told: Mapping[int, Elements], degree: int, columns: int, *, dealers: int | None = None
    ) -> list[Opened | None]:
        """Return what members' values, [dealers, columns] of each, are the values of."""
        layout = self.layout
        shape = (0, len(self.dealers) if dealers is None else dealers, columns)
        values = np.concatenate(
            [np.zeros(shape, layout.field.dtype), *(one.reshape(1, *shape[1:]) for one in told.values())]
        )
        points = [place + 1 for place in told]
        return opened_each(layout.field, points, values, degree=degree, packing=layout.packing, liars=self.liars())

    def numbers(self, phase: str, board: Board, count: int) -> dict[int, Elements]:
        """Return what each active member opened, by its place; who opened anything else is a culprit."""
        field, numbers = self.layout.field, {}
        for peer, body in self.said(phase, board, self.active_peers(), count * field.dtype.itemsize).items():
            try:
                numbers[self.members.index(peer)] = field.from_bytes(body, count)
            except ValueError as wrong:
                self.convict(peer, phase, f"opened what is no number ({wrong})")
        return numbers

    def said(self, phase: str, board: Board, speakers: Sequence[int], size: int | None) -> dict[int, bytes]:
        """Return what those said whose turn it was; note who said nothing, two things, or something malformed."""
        link = hashlib.sha256(HEAD + self.head + phase.encode())
        for peer in self.context.peers:
            message = board.said.get(peer)
            link.update(message.digest if message else (b"\xff" if peer in board.twice else b"\0") * 32)
            if peer in board.twice:  # whether it is its turn or not
                self.convict(peer, phase, "said different things to different peers")
        self.head = link.digest()
        out = {culprit.peer for culprit in self.culprits}
        said = {}
        for peer in speakers:
            if peer in out:
                continue
            message = board.said.get(peer)
            if message is None:
                self.silent.setdefault(peer, phase)
            elif size is not None and len(message.body) != size:
                self.convict(peer, phase, f"said {len(message.body)} bytes instead of {size}")
            else:
                said[peer] = message.body
        self.check_bound()
        return said

    def convict(self, peer: int, phase: str, reason: str) -> None:
        """Note a culprit; it takes no further part, and neither does its update."""
        if peer not in {culprit.peer for culprit in self.culprits}:
            self.culprits.append(Culprit(peer, phase, reason))

    def drop(self, dealer: int, phase: str, reason: str) -> None:
        """Convict a dealer, unless it is silent: then only its update is left out."""
        if dealer in self.silent:
            self.dealers = [other for other in self.dealers if other != dealer]
        else:
            self.convict(dealer, phase, reason)

    def settle(self) -> None:
        """Leave culprits' updates out; to be called where no list of dealers is being gone through."""
        out = {culprit.peer for culprit in self.culprits}
        self.dealers = [dealer for dealer in self.dealers if dealer not in out]

    def active_peers(self) -> list[int]:
        """Return the members that still count, by number."""
        return [self.members[place] for place in self.active]

    def check_bound(self) -> None:
        """Abort where more is wrong than the layout withstands: then nobody can be told from who was slandered."""
        out = [peer for place, peer in enumerate(self.members) if place not in self.active]
        if len(out) > 2 * self.layout.borne:
            told = ", ".join(map(str, out))
            raise AbortedError(
                f"peers {told} were silent or cheated, and {2 * self.layout.borne} such are withstood at most"
            )

    def check_unread(self, opened: Sequence[Opened | None], most: int | None = None) -> None:
        """Abort where the numbers of more dealers cannot be read than may cheat."""
        unread = [dealer for dealer, found in zip(self.dealers, opened, strict=True) if found is None]
        if len(unread) > (self.layout.faults if most is None else most):
            told = ", ".join(map(str, unread))
            raise AbortedError(f"what peers {told} dealt cannot be read: more members lie than are withstood")

    def _frame(self) -> bytes:
        """Return what all agree on before anything is said: sizes, members, keys."""
        layout, keys = self.layout, self.context.keys
        numbers = (
            *(layout.peers, layout.members, layout.coalition, layout.faults, layout.packing),
            *(layout.field.bits, layout.repetitions, self.columns.size, len(keys)),
            *self.members,
        )
        raw = b"".join(number.to_bytes(8, "big") for number in numbers) + self.columns.terms.encoded
        return raw + b"".join(peer.to_bytes(4, "big") + keys[peer].public_bytes_raw() for peer in self.context.peers)
