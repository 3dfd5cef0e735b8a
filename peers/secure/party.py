"""A peer's part in a round, from its update to the sum, as one generator.

It yields what goes to each other peer and is sent what came from them, exchange by exchange; all peers make the same
exchanges, whatever carries them. What follows from what was said to all is ``peers.secure.ruling``'s.
"""

import hashlib
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, TypeAlias

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peers.secure import commitment
from peers.secure.broadcast import Board, Incoming, Outgoing, Speaker, broadcast
from peers.secure.checks import fingerprint, scalars
from peers.secure.columns import Columns
from peers.secure.context import Context
from peers.secure.deal import Deal, Entropy
from peers.secure.distances import distance_shares
from peers.secure.envelope import TAG_BYTES, SealError, pair_key, seal, unseal
from peers.secure.field import Elements
from peers.secure.hearing import AbortedError
from peers.secure.holding import Holding
from peers.secure.lengths import refused
from peers.secure.pieces import joined
from peers.secure.ruling import SCORE_BYTES, Ruling
from peers.secure.sharing import pack

Steps: TypeAlias = Generator[Outgoing, Incoming, "Outcome"]
Talk: TypeAlias = Generator[Outgoing, Incoming, None]


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a round ended for a peer.

    Attributes:
        sum: [size], of the updates that count (``Ruling.weights``); None: it was aborted.
        ruling: what all know of it.
        boards: phase → what was said in it, in order: the transcript.
        aborted: why; empty: it was not.
    """

    sum: Elements | None
    ruling: Ruling
    boards: list[tuple[str, Board]]
    aborted: str = ""


def play(
    me: int, key: Ed25519PrivateKey, context: Context, columns: Columns, members: tuple[int, ...], update: Elements,
    entropy: Entropy, player: "type[Player] | None" = None,
) -> Steps:  # fmt: skip
    """Take part in a round, and return how it ended.

    Args:
        me: this peer's number.
        key: its own, to sign with.
        context: the round.
        columns: what each dealer deals.
        members: who holds shares.
        update: [size], this peer's, of allowed numbers.
        entropy: where its randomness comes from.
        player: how it plays; None: honestly.
    """
    part = (player or Player)(me, key, context, columns, members, update, entropy)
    try:
        return (yield from part.play())
    except AbortedError as why:
        return Outcome(None, part.ruling, part.boards, str(why))


class Player:
    """What a peer knows in a round, and does by the rules; who cheats (``peers.secure.cheats``) overrides a step."""

    judge: ClassVar[type[Ruling]] = Ruling
    """What it makes of what is said; another one shows what a check is good for."""

    def __init__(
        self, me: int, key: Ed25519PrivateKey, context: Context, columns: Columns, members: tuple[int, ...],
        update: Elements, entropy: Entropy,
    ) -> None:  # fmt: skip
        self.me, self.context, self.columns, self.update, self.entropy = me, context, columns, update, entropy
        self.speaker = Speaker(me, key, context, columns.layout.stages)
        self.ruling = self.judge(context, columns, members)
        self.place = members.index(me) if me in members else None
        self.boards: list[tuple[str, Board]] = []
        self.secrets = self.masks = np.zeros((0, 0), np.int64)
        self.holding = None if self.place is None else Holding(context.binding, self.place, columns, context.peers)

    def play(self) -> Steps:
        """Go through the phases."""
        ruling = self.ruling
        secret = X25519PrivateKey.from_private_bytes(self.entropy(f"{self.context.binding.hex()} key"))
        yield from self.say("keys", secret.public_key().public_bytes_raw(), ruling.take_keys)
        yield from self.share(secret)
        yield from self.open_beacon(0)
        if self.columns.terms.ball is not None:
            yield from self.say("refusals", self.refusals(), ruling.take_refusals)
        yield from self.check()
        if self.columns.terms.distances:
            yield from self.say("distances", self.distances(), ruling.take_distances)
        yield from self.open_sum()
        yield from self.say("results", ruling.result_digest(), ruling.take_results)
        return Outcome(ruling.result(), ruling, self.boards)

    def share(self, secret: X25519PrivateKey) -> Talk:
        """Deal, and settle who got what was committed to."""
        ruling = self.ruling
        layout, terms = self.columns.layout, self.columns.terms
        self.secrets = pack(layout.field, self.update, layout.packing, filler=terms.filler)
        deal = self.deal(self.secrets)
        yield from self.hand_out(deal, secret)
        self.masks = deal.masks
        told = b"" if terms.reference is None else self.score(terms.reference).to_bytes(SCORE_BYTES, "big", signed=True)
        yield from self.say("commitments", commitment.encode(deal.leaves) + told, ruling.take_commitments)
        yield from self.say("complaints", self.complaints(), ruling.take_complaints)
        if ruling.complaints:
            shown = joined([deal.part(place) for dealer, place in ruling.complaints if dealer == self.me])
            yield from self.say("answers", shown, ruling.take_answers)
            for (dealer, place), (part, raw) in ruling.shown.items():
                if self.holding is not None and place == self.place:
                    self.holding.replace(dealer, part, raw)

    def deal(self, secrets: Elements) -> Deal:
        """Return what is dealt."""
        return Deal(self.context.binding, self.me, self.columns, secrets, self.entropy)

    def hand_out(self, deal: Deal, secret: X25519PrivateKey) -> Talk:
        """Give each member its part, sealed, piece by piece, and take what the others give."""
        members = self.ruling.members
        to = {place: self.key(secret, self.me, peer) for place, peer in enumerate(members) if peer != self.me}
        of = {dealer: self.key(secret, dealer, self.me) for dealer in self.ruling.dealers if dealer != self.me}
        for number, piece in enumerate(deal.pieces()):
            if self.holding is not None and self.place is not None:
                self.holding.feed(self.me, number, piece[self.place])
            sealed = {members[place]: seal(key, number, piece[place]) for place, key in to.items() if key is not None}
            piece.clear()  # or a simulation would hold all peers' shares twice
            incoming = yield sealed
            if self.holding is None:
                continue
            for dealer, key in of.items():
                raw = incoming.get(dealer)
                if raw is not None and key is not None and len(raw) <= self.columns.part_bytes + TAG_BYTES:
                    with suppress(SealError):
                        self.holding.feed(dealer, number, unseal(key, number, raw))

    def key(self, secret: X25519PrivateKey, sender: int, receiver: int) -> bytes | None:
        """Return the key of what one of the two, which are this peer and another, tells the other."""
        other = receiver if sender == self.me else sender
        try:
            return pair_key(secret, self.ruling.session_keys[other], self.context.binding, sender, receiver)
        except (KeyError, SealError):
            return None

    def complaints(self) -> bytes:
        """Return a byte for each dealer: whether its part has not come, or is not what it has committed to."""
        if self.holding is None or self.place is None:
            return b""
        committed = self.ruling.commitments
        return bytes(not self.holding.fits(dealer, committed[dealer][self.place]) for dealer in self.ruling.dealers)

    def score(self, reference: Elements) -> int:
        """Return what this peer says is its update's inner product with the reference."""
        field = self.columns.layout.field
        return int(field.signed(field.product(self.update[None], reference[:, None]))[0, 0])

    def refusals(self) -> bytes:
        """Return which projections of this peer's update are not to be opened, a bit for each."""
        assert self.ruling.challenge is not None
        return np.packbits(refused(self.columns, self.ruling.challenge, self.secrets, self.masks)).tobytes()

    def distances(self) -> bytes:
        """Return what a member opens of the distances between updates."""
        if self.holding is None:
            return b""
        dealers = self.ruling.dealers
        shares, masks = self.holding.updates(dealers), self.holding.small(dealers)[:, self.columns.distance_masks]
        return self.raw(distance_shares(self.columns.layout.field, shares, masks, dealers))

    def open_beacon(self, which: int) -> Talk:
        """Open all dealers' parts of a beacon."""
        where = self.columns.beacons[which]
        shares = None if self.holding is None else self.holding.small(self.ruling.dealers)[:, where]
        yield from self.say(
            f"beacon {which + 1}", self.raw(shares), lambda board: self.ruling.take_beacon(board, which)
        )

    def scalars(self) -> Elements | None:
        """Return what a member opens of each dealer for the checks, [dealers, columns.scalars]; None: it is none."""
        ruling, holding = self.ruling, self.holding
        if holding is None or ruling.challenge is None:
            return None
        dealers = ruling.dealers
        closed = np.stack([ruling.refused[dealer] for dealer in dealers]) if ruling.refused else None
        return scalars(
            self.columns, ruling.challenge, holding.updates(dealers), holding.small(dealers), holding.place, closed
        )

    def check(self) -> Talk:
        """Open what shows whether updates are allowed; whoever is accused shows its parts."""
        ruling, holding = self.ruling, self.holding
        yield from self.say("checks", self.raw(self.scalars()), ruling.take_scalars)
        if accused := ruling.accused():
            shown = b""
            if holding is not None and self.place in accused:
                shown = joined([holding.part(dealer) for dealer in ruling.asked(self.place)])
            yield from self.say("evidence", shown, ruling.take_evidence)

    def total(self) -> Elements | None:
        """Return a member's share of the sum; None: it is none."""
        return None if self.holding is None else self.holding.total(self.ruling.weighed())

    def open_sum(self) -> Talk:
        """Commit to the share of the sum, show by a fingerprint whether it is right, and open as many as are needed."""
        ruling = self.ruling
        row = self.total()
        raw = self.raw(row)
        yield from self.say("sums", hashlib.sha256(raw).digest(), ruling.take_sums)
        yield from self.open_beacon(1)
        layout = self.columns.layout
        mark = None if row is None else fingerprint(layout.field, ruling.beacon, layout.repetitions, row)
        yield from self.say("fingerprints", self.raw(mark), ruling.take_fingerprints)
        while wanted := ruling.wanted():
            yield from self.say("rows", raw if self.place in wanted else b"", ruling.take_rows)

    def say(self, phase: str, body: bytes, take: Callable[[Board], None]) -> Talk:
        """Say something to all, and take what all say."""
        board = yield from broadcast(
            self.speaker, phase, self.ruling.head, body, limit=partial(self.ruling.limit, phase)
        )
        self.boards.append((phase, board))
        take(board)

    def raw(self, numbers: Elements | None) -> bytes:
        """Return what a member opens, as bytes; who is no member opens nothing."""
        return b"" if numbers is None else self.columns.layout.field.to_bytes(numbers)
