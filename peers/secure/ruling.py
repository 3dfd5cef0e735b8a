"""What a round has come to, from nothing but what was said to all: the same for every peer, and for who verifies later.

A ``Ruling`` is fed one board after another (``peers.secure.broadcast``) and says who still takes part, who cheated and
how that was seen, which random challenge holds, and in the end the sum.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from peers.secure import commitment
from peers.secure.broadcast import Board
from peers.secure.checks import Challenge, fingerprint, scalars
from peers.secure.columns import Columns
from peers.secure.context import Context
from peers.secure.envelope import PUBLIC_BYTES
from peers.secure.field import Elements
from peers.secure.labels import BEACON, HEAD, RESULT
from peers.secure.layout import Layout
from peers.secure.opening import Opened, opened_each
from peers.secure.part import Part, read_part
from peers.secure.sharing import reconstruct, unpack


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


class Ruling:
    """What all know of a round.

    Args:
        context: the round.
        columns: of the deals.
        members: the peers that hold shares, in order; a member's place counts in this list, a peer's number in all.

    Attributes:
        head: hash of all that was said so far, which every message is bound to.
        culprits: who cheated, provably.
        silent: peer → the phase since which it says nothing.
        unheard: dealers of whom more members say that nothing came than may be lying; left out, and no culprits.
        dealers: the peers whose updates still count.
        complaints: (dealer, member's place): who says that its part did not come.
        shown: the parts that dealers have shown to all, as an answer.
        accusations: (dealer, member's place): who opened a number that does not fit the others'.
        challenge: the coefficients of the checks, once the first beacon has been opened.
        beacon: the last one that was opened.
        rows: member's place → its share of the sum.
    """

    def __init__(self, context: Context, columns: Columns, members: Sequence[int]) -> None:
        self.context, self.columns, self.members = context, columns, tuple(members)
        self.head = hashlib.sha256(HEAD + context.binding + self._frame()).digest()
        self.culprits: list[Culprit] = []
        self.silent: dict[int, str] = {}
        self.unheard: list[int] = []
        self.dealers: list[int] = list(context.peers)
        self.session_keys: dict[int, bytes] = {}
        self.commitments: dict[int, tuple[bytes, ...]] = {}
        self.complaints: list[tuple[int, int]] = []
        self.shown: dict[tuple[int, int], tuple[Part, bytes]] = {}
        self.beacon = b""
        self.challenge: Challenge | None = None
        self.accusations: list[tuple[int, int]] = []
        self.sums: dict[int, bytes] = {}
        self.rows: dict[int, Elements] = {}
        self._checked: list[int] = []
        self._scalars: dict[int, Elements] = {}
        self._fingerprints: dict[int, Elements] = {}

    def steps(self) -> Iterator[tuple[str, Callable[[Board], None]]]:
        """Yield each phase's name and what takes its board, as the round goes; take it before going on.

        Raises:
            AbortedError: the round cannot go on.
        """
        yield "keys", self.take_keys
        yield "commitments", self.take_commitments
        yield "complaints", self.take_complaints
        if self.complaints:
            yield "answers", self.take_answers
        yield "beacon 1", partial(self.take_beacon, which=0)
        yield "checks", self.take_scalars
        if self.accused():
            yield "evidence", self.take_evidence
        yield "sums", self.take_sums
        yield "beacon 2", partial(self.take_beacon, which=1)
        yield "fingerprints", self.take_fingerprints
        while self.wanted():
            yield "rows", self.take_rows
        yield "results", self.take_results

    def limit(self, phase: str, peer: int) -> int:
        """Return the bytes that a peer may say in a phase; if it says more it is not heard."""
        element, dealers, part = self.layout.field.dtype.itemsize, len(self.dealers), self.columns.part_bytes + 8
        place = self.members.index(peer) if peer in self.members else None
        if phase.startswith("beacon"):
            return dealers * self.columns.beacon * element
        return {
            "keys": PUBLIC_BYTES,
            "commitments": self.layout.members * commitment.DIGEST_BYTES,
            "complaints": dealers,
            "answers": sum(dealer == peer for dealer, _ in self.complaints) * part,
            "checks": dealers * self.columns.scalars * element,
            "evidence": len(self.asked(place)) * part if place in self.accused() else 0,
            "fingerprints": self.layout.repetitions * element,
            "rows": self.columns.update * element if phase == "rows" and place in self.wanted() else 0,
        }.get(phase, 32)

    @property
    def layout(self) -> Layout:
        """The round's sizes."""
        return self.columns.layout

    @property
    def active(self) -> list[int]:
        """The members' places that still count: not silent, not culprits."""
        out = {culprit.peer for culprit in self.culprits} | self.silent.keys()
        return [place for place, peer in enumerate(self.members) if peer not in out]

    def take_keys(self, board: Board) -> None:
        """Take every peer's public key of the round."""
        for peer, body in self._said("keys", board, self.context.peers, PUBLIC_BYTES).items():
            self.session_keys[peer] = body
        self.dealers = [peer for peer in self.dealers if peer in self.session_keys]
        self._settle()

    def take_commitments(self, board: Board) -> None:
        """Take every dealer's commitment."""
        size = commitment.DIGEST_BYTES * self.layout.members
        for peer, body in self._said("commitments", board, self.dealers, size).items():
            self.commitments[peer] = commitment.decode(body)
        self.dealers = [peer for peer in self.dealers if peer in self.commitments]
        self._settle()

    def take_complaints(self, board: Board) -> None:
        """Take who says that it did not get what was committed to: a byte for each dealer."""
        said = self._said("complaints", board, [self.members[place] for place in self.active], len(self.dealers))
        for peer, body in said.items():
            place = self.members.index(peer)
            missed = [dealer for dealer, complains in zip(self.dealers, body, strict=True) if complains]
            if len(missed) > self.layout.faults:
                self.silent[peer] = "complaints"  # so many do not cheat: it lies, or hears nothing
            else:
                self.complaints += [(dealer, place) for dealer in missed]
        self._check_bound()
        for dealer in list(self.dealers):
            if sum(other == dealer for other, _ in self.complaints) > self.layout.faults:
                self.dealers.remove(dealer)  # an honest member is among them, and too many parts would become public
                self.unheard.append(dealer)
        self.complaints = [(dealer, place) for dealer, place in self.complaints if dealer in self.dealers]

    def take_answers(self, board: Board) -> None:
        """Take what dealers show to all of parts that members say they did not get; a dealer that does not is out."""
        asked = {dealer: [place for other, place in self.complaints if other == dealer] for dealer in self.dealers}
        asked = {dealer: places for dealer, places in asked.items() if places}
        said = self._said("answers", board, list(asked), None)
        for dealer, places in asked.items():
            pieces = split(said.get(dealer, b""), len(places))
            for place, raw in zip(places, pieces, strict=True):
                try:
                    self.shown[dealer, place] = self._part(raw, dealer, place), raw
                except ValueError as wrong:
                    member = self.members[place]
                    self._drop(
                        dealer, "answers", f"showed no part for member {member} that it had committed to: {wrong}"
                    )
                    break
        self._settle()

    def take_beacon(self, board: Board, which: int) -> None:
        """Take all shares of the dealers' parts of a beacon; a dealer whose part is none is out."""
        phase, columns, field = f"beacon {which + 1}", self.columns.beacon, self.layout.field
        before = self.head  # not what is said now: a cheater could say it in many ways, until it likes the beacon
        said = self._numbers(phase, board, len(self.dealers) * columns)
        hashed = hashlib.sha256(BEACON + self.context.binding + bytes([which]) + before)
        opened = self._opened(said, self.layout.degree, columns)
        self._check_unread(opened, most=0 if which else self.layout.faults)
        for dealer, found in zip(self.dealers, opened, strict=True):
            if found is None:
                self._convict(dealer, phase, "dealt no random number that can be read")
            else:
                hashed.update(dealer.to_bytes(4, "big") + field.to_bytes(found.secrets))
        self.beacon = hashed.digest()
        if which == 0:
            self.challenge = Challenge.drawn(self.columns, self.beacon)
        if which == 0:
            self._settle()

    def take_scalars(self, board: Board) -> None:
        """Take what members opened for the checks; find who does not fit to whom."""
        self._scalars = self._numbers("checks", board, len(self.dealers) * self.columns.scalars)
        times, layout = self.layout.repetitions, self.layout
        told = {place: numbers.reshape(len(self.dealers), 2, times) for place, numbers in self._scalars.items()}
        straight = self._opened({place: numbers[:, 0] for place, numbers in told.items()}, layout.degree, times)
        squares = self._opened({place: numbers[:, 1] for place, numbers in told.items()}, layout.product_degree, times)
        places = list(told)
        self._check_unread([None if one is None else other for one, other in zip(straight, squares, strict=True)])
        for dealer, one, other in zip(self.dealers, straight, squares, strict=True):
            if one is None or other is None:
                self._convict(dealer, "checks", "dealt an update that is on no polynomials of the right degree")
            elif other.secrets.any():
                self._convict(
                    dealer, "checks", "dealt an update that is not allowed: a number of it is neither 1 nor -1"
                )
            else:
                self.accusations += [(dealer, places[at]) for at in sorted(one.wrong | other.wrong)]
        self._checked = list(self.dealers)
        self._settle()

    def take_evidence(self, board: Board) -> None:
        """Take what accused members got from the dealers in question: it convicts one of the two, each time."""
        assert self.challenge is not None
        places = self.accused()
        said = self._said("evidence", board, [self.members[place] for place in places], None)
        for place in places:
            peer = self.members[place]
            if peer not in said:
                continue  # it is silent, and counts no more
            asked = self.asked(place)
            for dealer, raw in zip(asked, split(said[peer], len(asked)), strict=True):
                try:
                    part = self._part(raw, dealer, place)
                except ValueError as wrong:
                    self._convict(
                        peer,
                        "evidence",
                        f"opened a number that fits no other, and shows no part of peer {dealer}: {wrong}",
                    )
                    continue
                follows = scalars(self.columns, self.challenge, part.update[None], part.small[None])
                if np.array_equal(follows.reshape(-1), self._opened_by(place, dealer)):
                    self._convict(
                        dealer, "evidence", f"dealt member {peer} a share that is on no polynomial of the others"
                    )
                else:
                    self._convict(
                        peer, "evidence", f"opened another number of peer {dealer} than follows from its part"
                    )
        self._settle()

    def accused(self) -> list[int]:
        """Return the places of the members that must show what they got."""
        return sorted({place for dealer, place in self.accusations if dealer in self.dealers and place in self.active})

    def asked(self, place: int) -> list[int]:
        """Return the dealers whose parts an accused member must show."""
        return [dealer for dealer, other in self.accusations if other == place and dealer in self.dealers]

    def take_sums(self, board: Board) -> None:
        """Take each member's hash of its share of the sum; from here on, it is fixed whose updates are in it."""
        if len(self.dealers) < max(1, len(self.context.peers) - 2 * self.layout.faults):
            raise AbortedError(f"only {len(self.dealers)} updates are left of {len(self.context.peers)}")
        self.sums = {
            self.members.index(peer): body for peer, body in self._said("sums", board, self._active_peers(), 32).items()
        }

    def take_fingerprints(self, board: Board) -> None:
        """Take a random combination of each member's share of the sum; whose does not fit lied."""
        said = self._numbers("fingerprints", board, self.layout.repetitions)
        told = {place: numbers[None] for place, numbers in said.items()}
        (found,) = self._opened(told, self.layout.degree, self.layout.repetitions, dealers=1)
        if found is None:
            raise AbortedError("more members lied about the sum than can be told apart")
        for at in sorted(found.wrong):
            self._convict(self.members[list(said)[at]], "fingerprints", "gave a wrong share of the sum")
        self._fingerprints = {place: numbers for place, numbers in said.items() if place in self.active}

    def wanted(self) -> list[int]:
        """Return the places of the members whose shares of the sum are still asked for; none: they are enough."""
        missing = self.layout.degree + 1 - len(self.rows)
        left = [place for place in self.active if place in self._fingerprints and place not in self.rows]
        if missing > len(left):
            raise AbortedError(f"{missing} more right shares of the sum are needed, and {len(left)} members are left")
        return left[:missing]

    def take_rows(self, board: Board) -> None:
        """Take shares of the sum; each must be what its member's hash and fingerprint say."""
        field = self.layout.field
        asked = self.wanted()
        said = self._said("rows", board, [self.members[place] for place in asked], None)
        for place in asked:
            peer = self.members[place]
            body = said.get(peer)
            if body is None:
                continue
            try:
                row = field.from_bytes(body, self.columns.update)
            except ValueError as wrong:
                self._convict(peer, "rows", f"showed no share of the sum ({wrong})")
                continue
            mark = fingerprint(field, self.beacon, self.layout.repetitions, row)
            if hashlib.sha256(body).digest() != self.sums[place] or not np.array_equal(mark, self._fingerprints[place]):
                self._convict(peer, "rows", "showed another share of the sum than it had committed to")
                continue
            self.rows[place] = row

    def result(self) -> Elements:
        """Return the sum of the accepted dealers' updates, [size]."""
        places = sorted(self.rows)
        secrets = reconstruct(
            self.layout.field, np.stack([self.rows[place] for place in places]), places, self.layout.packing
        )
        return unpack(secrets, self.columns.size)

    def take_results(self, board: Board) -> None:
        """Take every peer's hash of the result; who signs another one than follows from what was said cheats."""
        digest = self.result_digest()
        for peer, body in self._said("results", board, self.context.peers, 32).items():
            if body != digest:
                self._convict(peer, "results", "signed another result than follows from what was said")

    def result_digest(self) -> bytes:
        """Return the hash that all sign."""
        accepted = b"".join(dealer.to_bytes(4, "big") for dealer in self.dealers)
        raw = self.layout.field.to_bytes(self.result())
        return hashlib.sha256(RESULT + self.context.binding + accepted + raw).digest()

    def liars(self) -> int:
        """Return how many members may still be lying: each that is silent or was caught counts half."""
        out = self.layout.members - len(self.active)
        return max(0, (2 * self.layout.faults - out) // 2)

    def _opened(
        self, told: dict[int, Elements], degree: int, columns: int, *, dealers: int | None = None
    ) -> list[Opened | None]:
        """Return what members' values, [dealers, columns] of each, are the values of."""
        layout = self.layout
        shape = (0, len(self.dealers) if dealers is None else dealers, columns)
        values = np.concatenate(
            [np.zeros(shape, layout.field.dtype), *(one.reshape(1, *shape[1:]) for one in told.values())]
        )
        points = [place + 1 for place in told]
        return opened_each(layout.field, points, values, degree=degree, packing=layout.packing, liars=self.liars())

    def _opened_by(self, place: int, dealer: int) -> Elements:
        """Return what a member opened of a dealer for the checks."""
        told: Elements = self._scalars[place].reshape(len(self._checked), -1)
        row: Elements = told[self._checked.index(dealer)]
        return row

    def _part(self, raw: bytes, dealer: int, place: int) -> Part:
        return read_part(
            raw,
            self.columns,
            binding=self.context.binding,
            dealer=dealer,
            place=place,
            committed=self.commitments[dealer][place],
        )

    def _numbers(self, phase: str, board: Board, count: int) -> dict[int, Elements]:
        """Return what each active member opened, by its place; who opened anything else is a culprit."""
        field, numbers = self.layout.field, {}
        for peer, body in self._said(phase, board, self._active_peers(), count * field.dtype.itemsize).items():
            try:
                numbers[self.members.index(peer)] = field.from_bytes(body, count)
            except ValueError as wrong:
                self._convict(peer, phase, f"opened what is no number ({wrong})")
        return numbers

    def _said(self, phase: str, board: Board, speakers: Sequence[int], size: int | None) -> dict[int, bytes]:
        """Return what those said whose turn it was; note who said nothing, two things, or something malformed."""
        link = hashlib.sha256(HEAD + self.head + phase.encode())
        for peer in self.context.peers:
            message = board.said.get(peer)
            link.update(message.digest if message else (b"\xff" if peer in board.twice else b"\0") * 32)
        self.head = link.digest()
        out = {culprit.peer for culprit in self.culprits}
        said = {}
        for peer in speakers:
            if peer in out:
                continue
            message = board.said.get(peer)
            if peer in board.twice:
                self._convict(peer, phase, "said different things to different peers")
            elif message is None:
                self.silent.setdefault(peer, phase)
            elif size is not None and len(message.body) != size:
                self._convict(peer, phase, f"said {len(message.body)} bytes instead of {size}")
            else:
                said[peer] = message.body
        self._check_bound()
        return said

    def _convict(self, peer: int, phase: str, reason: str) -> None:
        """Note a culprit; it takes no further part, and neither does its update."""
        if peer not in {culprit.peer for culprit in self.culprits}:
            self.culprits.append(Culprit(peer, phase, reason))

    def _drop(self, dealer: int, phase: str, reason: str) -> None:
        """Convict a dealer, unless it is silent: then only its update is left out."""
        if dealer in self.silent:
            self.dealers = [other for other in self.dealers if other != dealer]
        else:
            self._convict(dealer, phase, reason)

    def _settle(self) -> None:
        """Leave culprits' updates out; to be called where no list of dealers is being gone through."""
        out = {culprit.peer for culprit in self.culprits}
        self.dealers = [dealer for dealer in self.dealers if dealer not in out]

    def _active_peers(self) -> list[int]:
        return [self.members[place] for place in self.active]

    def _check_bound(self) -> None:
        """Abort where more is wrong than the layout withstands: then nobody can be told from who was slandered."""
        out = [peer for place, peer in enumerate(self.members) if place not in self.active]
        if len(out) > 2 * self.layout.faults:
            told = ", ".join(map(str, out))
            raise AbortedError(
                f"peers {told} were silent or cheated, and {2 * self.layout.faults} such are withstood at most"
            )

    def _check_unread(self, opened: Sequence[Opened | None], most: int | None = None) -> None:
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
        raw = b"".join(number.to_bytes(8, "big") for number in numbers)
        return raw + b"".join(peer.to_bytes(4, "big") + keys[peer].public_bytes_raw() for peer in self.context.peers)


def split(raw: bytes, count: int) -> list[bytes]:
    """Return the pieces that ``joined`` made one of; empty ones where they are not so many, or malformed."""
    pieces, place = [], 0
    for _ in range(count):
        size = int.from_bytes(raw[place : place + 8], "big")
        pieces.append(raw[place + 8 : place + 8 + size] if place + 8 + size <= len(raw) else b"")
        place += 8 + size
    return pieces


def joined(pieces: Sequence[bytes]) -> bytes:
    """Return pieces as one."""
    return b"".join(len(piece).to_bytes(8, "big") + piece for piece in pieces)
