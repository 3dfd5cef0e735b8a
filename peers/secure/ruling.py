"""What a round has come to, from nothing but what was said to all: the same for every peer, and for who verifies later.

A ``Ruling`` is fed one board after another (``peers.secure.broadcast``) and says who still takes part, who cheated and
how that was seen, which random challenge holds, and in the end the sum.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from peers.secure import commitment
from peers.secure.broadcast import Board
from peers.secure.challenge import Challenge
from peers.secure.checks import fingerprint, scalars
from peers.secure.columns import Columns
from peers.secure.context import Context
from peers.secure.envelope import PUBLIC_BYTES
from peers.secure.field import Elements
from peers.secure.hearing import AbortedError, Hearing
from peers.secure.judgement import fault_of
from peers.secure.labels import BEACON, RESULT
from peers.secure.part import Part, read_part
from peers.secure.pieces import split
from peers.secure.sharing import reconstruct, unpack

TOO_MANY = "complaints of too many"
"""In place of a phase: since when one is heard no more that complained of more dealers than may cheat."""
SCORE_BYTES = 8
"""Of an inner product, beside a commitment."""


class Ruling(Hearing):
    """What all know of a round.

    Args:
        context: the round.
        columns: of the deals.
        members: the peers that hold shares, in order; a member's place counts in this list, a peer's number in all.

    Attributes:
        unheard: dealers of whom more members say that nothing came than may be lying; left out, and no culprits.
        complaints: (dealer, member's place): who says that its part did not come.
        shown: the parts that dealers have shown to all, as an answer.
        accusations: (dealer, member's place): who opened a number that does not fit the others'.
        challenge: the coefficients of the checks, once the first beacon has been opened.
        scores: dealer → what it says is its inner product with the reference; none without one.
        refused: dealer → which projections are not opened, [projections]; none without a ball.
        squared: (dealer, dealer), in order → their updates' distance, squared; none unless the rule asks for it.
        weights: dealer whose update is in the sum → 1, or its trust score; once that is fixed.
        beacon: the last one that was opened.
        rows: member's place → its share of the sum.
    """

    def __init__(self, context: Context, columns: Columns, members: Sequence[int]) -> None:
        super().__init__(context, columns, members)
        self.unheard: list[int] = []
        self.session_keys: dict[int, bytes] = {}
        self.commitments: dict[int, tuple[bytes, ...]] = {}
        self.complaints: list[tuple[int, int]] = []
        self.shown: dict[tuple[int, int], tuple[Part, bytes]] = {}
        self.beacon = b""
        self.challenge: Challenge | None = None
        self.accusations: list[tuple[int, int]] = []
        self.scores: dict[int, int] = {}
        self.refused: dict[int, NDArray[np.bool_]] = {}
        self.squared: dict[tuple[int, int], int] = {}
        self.weights: dict[int, float] = {}
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
        if self.columns.terms.ball is not None:
            yield "refusals", self.take_refusals
        yield "checks", self.take_scalars
        if self.accused():
            yield "evidence", self.take_evidence
        if self.columns.terms.distances:
            yield "distances", self.take_distances
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
            "commitments": self._commitment_bytes,
            "complaints": dealers,
            "answers": sum(dealer == peer for dealer, _ in self.complaints) * part,
            "checks": dealers * self.columns.scalars * element,
            "refusals": self.columns.terms.ball.refusal_bytes if self.columns.terms.ball else 0,
            "distances": dealers * (dealers - 1) // 2 * element,
            "evidence": len(self.asked(place)) * part if place in self.accused() else 0,
            "fingerprints": self.layout.repetitions * element,
            "rows": self.columns.update * element if phase == "rows" and place in self.wanted() else 0,
        }.get(phase, 32)

    def take_keys(self, board: Board) -> None:
        """Take every peer's public key of the round."""
        for peer, body in self.said("keys", board, self.context.peers, PUBLIC_BYTES).items():
            self.session_keys[peer] = body
        self.dealers = [peer for peer in self.dealers if peer in self.session_keys]
        self.settle()

    @property
    def _commitment_bytes(self) -> int:
        return self.layout.members * commitment.DIGEST_BYTES + (SCORE_BYTES if self._scored else 0)

    @property
    def _scored(self) -> bool:
        return self.columns.terms.reference is not None

    def take_commitments(self, board: Board) -> None:
        """Take every dealer's commitment, and what it says is its inner product with the reference."""
        for peer, body in self.said("commitments", board, self.dealers, self._commitment_bytes).items():
            if self._scored:
                self.scores[peer] = int.from_bytes(body[-SCORE_BYTES:], "big", signed=True)
                if not 0 <= self.scores[peer] <= self.layout.field.modulus // 2:  # checks see it modulo the prime
                    self.convict(peer, "commitments", "said an inner product that no update has")
                body = body[:-SCORE_BYTES]
            self.commitments[peer] = commitment.decode(body)
        self.dealers = [peer for peer in self.dealers if peer in self.commitments]
        self.settle()

    def take_complaints(self, board: Board) -> None:
        """Take who says that it did not get what was committed to: a byte for each dealer."""
        said = self.said("complaints", board, [self.members[place] for place in self.active], len(self.dealers))
        for peer, body in said.items():
            place = self.members.index(peer)
            missed = [dealer for dealer, complains in zip(self.dealers, body, strict=True) if complains]
            if len(missed) > self.layout.faults:
                self.silent[peer] = TOO_MANY  # so many do not cheat: it lies, or hears nothing
            else:
                self.complaints += [(dealer, place) for dealer in missed]
        self.check_bound()
        for dealer in list(self.dealers):
            if sum(other == dealer for other, _ in self.complaints) > self.layout.borne:
                self.dealers.remove(dealer)  # an honest member is among them, and too many parts would become public
                self.unheard.append(dealer)
        self.complaints = [(dealer, place) for dealer, place in self.complaints if dealer in self.dealers]

    def take_answers(self, board: Board) -> None:
        """Take what dealers show to all of parts that members say they did not get; a dealer that does not is out."""
        asked = {dealer: [place for other, place in self.complaints if other == dealer] for dealer in self.dealers}
        asked = {dealer: places for dealer, places in asked.items() if places}
        said = self.said("answers", board, list(asked), None)
        for dealer, places in asked.items():
            pieces = split(said.get(dealer, b""), len(places))
            for place, raw in zip(places, pieces, strict=True):
                try:
                    self.shown[dealer, place] = self._part(raw, dealer, place), raw
                except ValueError as wrong:
                    member = self.members[place]
                    self.drop(
                        dealer, "answers", f"showed no part for member {member} that it had committed to: {wrong}"
                    )
                    break
        self.settle()

    def take_beacon(self, board: Board, which: int) -> None:
        """Take all shares of the dealers' parts of a beacon; a dealer whose part is none is out."""
        phase, columns, field = f"beacon {which + 1}", self.columns.beacon, self.layout.field
        before = self.head  # not what is said now: a cheater could say it in many ways, until it likes the beacon
        said = self.numbers(phase, board, len(self.dealers) * columns)
        hashed = hashlib.sha256(BEACON + self.context.binding + bytes([which]) + before)
        opened = self.opened(said, self.layout.degree, columns)
        self.check_unread(opened, most=0 if which else self.layout.faults)
        for dealer, found in zip(self.dealers, opened, strict=True):
            if found is None:
                self.convict(dealer, phase, "dealt no random number that can be read")
            else:
                hashed.update(dealer.to_bytes(4, "big") + field.to_bytes(found.secrets))
        self.beacon = hashed.digest()
        if which == 0:
            self.challenge = Challenge.drawn(self.columns, self.beacon)
        if which == 0:
            self.settle()

    def take_refusals(self, board: Board) -> None:
        """Take which projections each dealer refuses to have opened, a bit for each; too many are a confession."""
        ball = self.columns.terms.ball
        assert ball is not None
        for peer, body in self.said("refusals", board, self.dealers, ball.refusal_bytes).items():
            bits = np.unpackbits(np.frombuffer(body, np.uint8)).astype(bool)
            self.refused[peer] = bits[: ball.projections]
            if bits[ball.projections :].any() or np.count_nonzero(bits) > ball.refusals:
                self.convict(peer, "refusals", "dealt an update that is not allowed: it refused too many projections")
        self.dealers = [peer for peer in self.dealers if peer in self.refused]
        self.settle()

    def take_scalars(self, board: Board) -> None:
        """Take what members opened for the checks; find who does not fit to whom."""
        columns, layout = self.columns, self.layout
        self._scalars = self.numbers("checks", board, len(self.dealers) * columns.scalars)
        told = {place: numbers.reshape(len(self.dealers), columns.scalars) for place, numbers in self._scalars.items()}
        squares = slice(columns.opened_zeros.start, columns.opened_sums.stop)
        low = {place: np.delete(numbers, squares, axis=1) for place, numbers in told.items()}
        high = {place: numbers[:, squares] for place, numbers in told.items()}
        count = squares.stop - squares.start
        straight = self.opened(low, layout.degree, columns.scalars - count)
        bent = self.opened(high, layout.product_degree, count)
        places = list(told)
        self.check_unread([None if one is None else other for one, other in zip(straight, bent, strict=True)])
        assert self.challenge is not None
        for dealer, one, other in zip(self.dealers, straight, bent, strict=True):
            if one is None or other is None:
                self.convict(dealer, "checks", "dealt an update that is on no polynomials of the right degree")
                continue
            fault = fault_of(columns, self.challenge, one.secrets, other.secrets, self.scores.get(dealer, 0))
            if fault:
                self.convict(dealer, "checks", f"dealt an update that is not allowed: {fault}")
            else:
                self.accusations += [(dealer, places[at]) for at in sorted(one.wrong | other.wrong)]
        self._checked = list(self.dealers)
        self.settle()

    def take_evidence(self, board: Board) -> None:
        """Take what accused members got from the dealers in question: it convicts one of the two, each time."""
        places = self.accused()
        said = self.said("evidence", board, [self.members[place] for place in places], None)
        for place in places:
            if self.members[place] in said:  # else it is silent, and counts no more
                self._judge(place, said[self.members[place]])
        self.settle()

    def _judge(self, place: int, raw: bytes) -> None:
        """Convict an accused member, or the dealers whom its numbers do not fit, by the parts that it shows."""
        assert self.challenge is not None
        peer, asked, parts = self.members[place], self.asked(place), []
        for dealer, one in zip(asked, split(raw, len(asked)), strict=True):
            try:
                parts.append(self._part(one, dealer, place))
            except ValueError as wrong:
                reason = f"opened a number that fits no other, and shows no part of peer {dealer}: {wrong}"
                self.convict(peer, "evidence", reason)
                return
        refused = np.stack([self.refused[dealer] for dealer in asked]) if self.refused else None
        update, small = np.stack([part.update for part in parts]), np.stack([part.small for part in parts])
        follows = scalars(self.columns, self.challenge, update, small, place=place, refused=refused)
        for dealer, numbers in zip(asked, follows, strict=True):
            if np.array_equal(numbers, self._opened_by(place, dealer)):
                self.convict(dealer, "evidence", f"dealt member {peer} a share that is on no polynomial of the others")
            else:
                self.convict(peer, "evidence", f"opened another number of peer {dealer} than follows from its part")

    def accused(self) -> list[int]:
        """Return the places of the members that must show what they got."""
        return sorted({place for dealer, place in self.accusations if dealer in self.dealers and place in self.active})

    def asked(self, place: int) -> list[int]:
        """Return the dealers whose parts an accused member must show."""
        return [dealer for dealer, other in self.accusations if other == place and dealer in self.dealers]

    def take_distances(self, board: Board) -> None:
        """Take what members opened of the distances between updates; whose numbers do not fit lied.

        No dealer is to blame here: what honest members hold of each was found to be of one polynomial.
        """
        pairs = list(combinations(self.dealers, 2))
        said = self.numbers("distances", board, len(pairs))
        (found,) = self.opened(said, self.layout.product_degree, len(pairs), dealers=1)
        if found is None:
            raise AbortedError("more members lied about the distances than can be told apart")
        for at in sorted(found.wrong):
            self.convict(self.members[list(said)[at]], "distances", "gave wrong shares of the distances")
        squared = self.layout.field.total(found.secrets, axis=0)
        self.squared = {pair: int(one) for pair, one in zip(pairs, squared, strict=True)}
        # No ``settle``: who knows the distances and could still withdraw its update would choose a selection.

    def weighed(self) -> dict[int, float]:
        """Return whose updates are in the sum, and what each adds to what it is divided by."""
        squared = None
        if self.columns.terms.distances:
            both = self.squared | {(other, one): value for (one, other), value in self.squared.items()}
            squared = np.array([[both.get((one, other), 0) for other in self.dealers] for one in self.dealers], float)
        return self.columns.terms.counted(self.dealers, self.scores, squared, self._least)

    @property
    def _least(self) -> int:
        """How many updates a sum must have so that a coalition cannot tell another's from it: two more than its own."""
        return self.layout.coalition + 2

    def take_sums(self, board: Board) -> None:
        """Take each member's hash of its share of the sum; from here on, it is fixed whose updates are in it."""
        if len(self.dealers) < max(1, len(self.context.peers) - 2 * self.layout.faults):
            raise AbortedError(f"only {len(self.dealers)} updates are left of {len(self.context.peers)}")
        self.weights = self.weighed()
        if len(self.weights) < self._least:
            raise AbortedError(
                f"only {len(self.weights)} updates would count, and {self.layout.coalition} peers that put together "
                "what they see could tell another's from the sum"
            )
        self.sums = {
            self.members.index(peer): body for peer, body in self.said("sums", board, self.active_peers(), 32).items()
        }

    def take_fingerprints(self, board: Board) -> None:
        """Take a random combination of each member's share of the sum; whose does not fit lied."""
        said = self.numbers("fingerprints", board, self.layout.repetitions)
        told = {place: numbers[None] for place, numbers in said.items()}
        (found,) = self.opened(told, self.layout.degree, self.layout.repetitions, dealers=1)
        if found is None:
            raise AbortedError("more members lied about the sum than can be told apart")
        for at in sorted(found.wrong):
            self.convict(self.members[list(said)[at]], "fingerprints", "gave a wrong share of the sum")
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
        said = self.said("rows", board, [self.members[place] for place in asked], None)
        for place in asked:
            peer = self.members[place]
            body = said.get(peer)
            if body is None:
                continue
            try:
                row = field.from_bytes(body, self.columns.update)
            except ValueError as wrong:
                self.convict(peer, "rows", f"showed no share of the sum ({wrong})")
                continue
            mark = fingerprint(field, self.beacon, self.layout.repetitions, row)
            if hashlib.sha256(body).digest() != self.sums[place] or not np.array_equal(mark, self._fingerprints[place]):
                self.convict(peer, "rows", "showed another share of the sum than it had committed to")
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
        for peer, body in self.said("results", board, self.context.peers, 32).items():
            if body != digest:
                self.convict(peer, "results", "signed another result than follows from what was said")

    def result_digest(self) -> bytes:
        """Return the hash that all sign."""
        accepted = b"".join(dealer.to_bytes(4, "big") for dealer in self.dealers)
        raw = self.layout.field.to_bytes(self.result())
        return hashlib.sha256(RESULT + self.context.binding + accepted + raw).digest()

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
