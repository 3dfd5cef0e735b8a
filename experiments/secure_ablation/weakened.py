"""Peers that leave out one check of the secure protocol, and are honest otherwise."""

from collections.abc import Callable

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peers.secure.broadcast import Board
from peers.secure.challenge import Challenge
from peers.secure.deal import Deal
from peers.secure.field import Elements
from peers.secure.lengths import expected_sum
from peers.secure.messages import hear, say
from peers.secure.party import Player, Talk
from peers.secure.ruling import Ruling

KNOWN = bytes(32)
"""What stands for a beacon where nobody draws one, and for a key where nothing is sealed."""


class NoDegreeCheck(Player):
    """Never looks at whether shares are on polynomials of the right degree."""

    def scalars(self) -> Elements | None:
        """Return zeros in place of the first numbers."""
        return _zeroed(super().scalars(), slice(0, self.columns.opened_zeros.start))


class NoZeroCheck(Player):
    """Never looks at whether numbers are 1 or −1; in a ball, whether the slack is dealt in bits."""

    def scalars(self) -> Elements | None:
        """Return zeros in place of those that must vanish, which honest deals give, too."""
        return _zeroed(super().scalars(), self.columns.opened_zeros)


class NoProjections(Player):
    """Never looks at projections."""

    def scalars(self) -> Elements | None:
        """Return zeros in place of theirs, which are in range."""
        return _zeroed(super().scalars(), self.columns.opened_projections)


def _zeroed(numbers: Elements | None, where: slice) -> Elements | None:
    """Put what passes for anybody's update in place of a check's numbers."""
    if numbers is not None:
        numbers[:, where] = 0
    return numbers


class NoSumCheck(Player):
    """Never looks at lengths and inner products."""

    def scalars(self) -> Elements | None:
        """Return what makes the right sum of every dealer."""
        numbers, ruling, field = super().scalars(), self.ruling, self.columns.layout.field
        if numbers is not None and ruling.challenge is not None:
            part = pow(self.columns.layout.packing, -1, field.modulus)
            for row, dealer in enumerate(ruling.dealers):
                total = expected_sum(self.columns, ruling.challenge, ruling.scores.get(dealer, 0))
                numbers[row, self.columns.opened_sums] = field.multiply(total, np.full_like(total, part))
        return numbers


class NoMasks(Player):
    """Deals zeros for the masks of the degree check."""

    def deal(self, secrets: Elements) -> Deal:
        """Return the deal, with nothing to hide what is opened."""
        deal = super().deal(secrets)
        deal.small[:, self.columns.degree_masks] = 0
        return deal


class NoEncryption(Player):
    """Seals what it deals with a key that everybody knows."""

    def key(self, secret: X25519PrivateKey, sender: int, receiver: int) -> bytes | None:
        """Return the key."""
        return KNOWN


class NoComplaints(Player):
    """Says that every part has come."""

    def complaints(self) -> bytes:
        """Return a zero for each dealer."""
        return bytes(len(self.ruling.dealers))


class NoAgreement(Player):
    """Believes what it hears, and does not ask what others have heard."""

    def say(self, phase: str, body: bytes, take: Callable[[Board], None]) -> Talk:
        """Say something to all, and take what came."""
        speaker, head = self.speaker, self.ruling.head
        own = say(speaker.key, self.context, phase, self.me, head, body)
        incoming = yield dict.fromkeys(speaker.others(), own.encode())
        heard = {peer: hear(self.context, phase, peer, head, raw) for peer, raw in incoming.items()}
        board = Board({self.me: own} | {peer: message for peer, message in heard.items() if message is not None})
        self.boards.append((phase, board))
        take(board)


class _NoBeacon(Ruling):
    def take_beacon(self, board: Board, which: int) -> None:
        super().take_beacon(board, which)
        if which == 0:
            self.challenge = Challenge.drawn(self.columns, KNOWN)


class NoBeacon(Player):
    """Checks with coefficients that everybody knows beforehand."""

    judge = _NoBeacon


class _NoSecondBeacon(Ruling):
    def take_beacon(self, board: Board, which: int) -> None:
        super().take_beacon(board, which)
        if which == 1:
            self.beacon = KNOWN


class NoSecondBeacon(Player):
    """Compares shares of the sum by coefficients that everybody knows beforehand."""

    judge = _NoSecondBeacon


class _NoFingerprints(Ruling):
    def take_fingerprints(self, board: Board) -> None:
        said = self.numbers("fingerprints", board, self.layout.repetitions)
        self._fingerprints = {place: numbers for place, numbers in said.items() if place in self.active}

    def take_rows(self, board: Board) -> None:
        for peer, body in self.said("rows", board, [self.members[place] for place in self.wanted()], None).items():
            self.rows[self.members.index(peer)] = self.layout.field.from_bytes(body, self.columns.update)


class NoFingerprints(Player):
    """Adds up whatever shares of the sum it is shown."""

    judge = _NoFingerprints


class _NoEvidence(Ruling):
    def take_scalars(self, board: Board) -> None:
        super().take_scalars(board)
        for dealer in {dealer for dealer, _ in self.accusations}:
            self.convict(dealer, "checks", "dealt a share that is on no polynomial of the others")
        self.accusations = []
        self.settle()


class NoEvidence(Player):
    """Takes a member's word for it that a share does not fit the others."""

    judge = _NoEvidence
