"""What a peer does that knows which check the others leave out."""

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from experiments.secure_ablation.weakened import KNOWN
from peers.secure.challenge import Challenge
from peers.secure.cheats import altered
from peers.secure.deal import Deal
from peers.secure.field import Elements, Field
from peers.secure.party import Player, Talk
from peers.secure.sharing import pack
from peers.secure.small import shares_of
from peers.secure.stream import Stream


class SpoiltBeacon(Player):
    """Deals a part of the second beacon that is on no polynomial, so that it cannot be read."""

    def deal(self, secrets: Elements) -> Deal:
        """Return the deal, with noise in place of these shares."""
        deal, columns = super().deal(secrets), self.columns
        where = columns.beacons[1]
        noise = Stream(columns.layout.field, KNOWN, "noise").draw(columns.layout.members, where.stop - where.start)
        deal.small[:, where] = noise
        return deal


class Foreseer(Player):
    """Deals three numbers that are not allowed, and whose faults make up for each other under known coefficients."""

    def deal(self, secrets: Elements) -> Deal:
        """Return the deal of this update."""
        field = self.columns.layout.field
        squares = Challenge.drawn(self.columns, KNOWN).squares
        for factor in range(1, 1000):
            roots = [_root(field, 1 + factor * fault) for fault in _orthogonal(field, squares[:, :3])]
            if all(roots):
                secrets[0, :3] = roots
                break
        return super().deal(secrets)


class WrongSum(Player):
    """Commits to another share of the sum than its shares make, one that has the right fingerprint."""

    def total(self) -> Elements | None:
        """Return a share whose fingerprint is right under known coefficients."""
        row, field, times = super().total(), self.columns.layout.field, self.columns.layout.repetitions
        if row is not None:
            coefficients = Stream(field, KNOWN, "fingerprint").draw(times, row.size)
            row[:3] = field.add(row[:3], np.array(_orthogonal(field, coefficients[:, :3]), field.dtype))
        return row


VICTIM = 0
"""The member that a withholding dealer leaves out."""


class Withholder(Player):
    """Sends one member nothing of its part, and shows the part when it is asked."""

    def hand_out(self, deal: Deal, secret: X25519PrivateKey) -> Talk:
        """Deal, but to one member."""
        yield from altered(
            super().hand_out(deal, secret),
            lambda outgoing: {peer: raw for peer, raw in outgoing.items() if peer != VICTIM},
        )


class Open(Player):
    """Refuses to have no projection opened."""

    def refusals(self) -> bytes:
        """Return a zero for each."""
        return bytes(len(super().refusals()))


class FarTooLong(Open):
    """Deals two numbers near to the modulus whose squares add up to 1 modulo it."""

    def deal(self, secrets: Elements) -> Deal:
        """Return the deal of an update of norm 1, with these in its place."""
        field = self.columns.layout.field
        harmless = field.zeros(*secrets.shape)
        harmless[0, 0] = 1
        deal = super().deal(harmless)
        for one in range(field.modulus // 3, field.modulus):
            if other := _root(field, 1 - one * one):
                secrets[:] = 0
                secrets[0, :2] = (one, other)
                break
        deal.secrets = secrets
        return deal


class TooLong(Open):
    """Deals its update a thousand times too long."""

    factor = 1000

    def deal(self, secrets: Elements) -> Deal:
        """Return the deal of this update."""
        secrets[:] = self.columns.layout.field.multiply(secrets, np.full_like(secrets, self.factor))
        return super().deal(secrets)


class NoBits(TooLong):
    """The same, and puts what makes up for it into the first bit of the slack."""

    def deal(self, secrets: Elements) -> Deal:
        """Return the deal, with a slack that is not in bits."""
        deal, columns = super().deal(secrets), self.columns
        field, ball = columns.layout.field, columns.terms.ball
        assert ball is not None
        long = int((field.signed(secrets).astype(object) ** 2).sum())
        slack = field.zeros(columns.layout.packing, columns.slack.stop - columns.slack.start)
        slack[0, 0] = (ball.bound**2 - long) % field.modulus
        random = Stream(field, KNOWN, "slack").draw(columns.layout.coalition, slack.shape[1])
        deal.small[:, columns.slack] = shares_of(columns, slack, random)
        return deal


class Trusted(Player):
    """Deals the reference, turned round, and says that it is near to it."""

    def score(self, reference: Elements) -> int:
        """Return the best score."""
        ball = self.columns.terms.ball
        assert ball is not None
        return ball.bound**2

    def deal(self, secrets: Elements) -> Deal:
        """Return the deal of the opposite of the reference."""
        field, reference = self.columns.layout.field, self.columns.terms.reference
        assert reference is not None
        opposite = field.subtract(field.zeros(reference.size), reference)
        secrets[:] = pack(field, opposite, self.columns.layout.packing)
        return super().deal(secrets)


class NearToAll(Player):
    """Deals masks that make its distance to everybody smaller by the same."""

    less = 0
    """By how much, squared."""

    def deal(self, secrets: Elements) -> Deal:
        """Return the deal, with secrets in these masks that do not add up to zero."""
        deal, columns = super().deal(secrets), self.columns
        field, where = columns.layout.field, columns.distance_masks
        part = -self.less * pow(columns.layout.packing, -1, field.modulus) % field.modulus
        deal.small[:, where] = field.add(deal.small[:, where], np.full_like(deal.small[:, where], part))
        return deal


def _orthogonal(field: Field, rows: Elements) -> list[int]:
    """Return three numbers that two rows of three coefficients [2, 3] make zero of: their cross product."""
    (a, b, c), (d, e, f) = ([int(one) for one in row] for row in rows[:2])
    return [(b * f - c * e) % field.modulus, (c * d - a * f) % field.modulus, (a * e - b * d) % field.modulus]


def _root(field: Field, square: int) -> int:
    """Return a square root, or 0: there is none. Both primes are 3 modulo 4."""
    root = pow(square % field.modulus, (field.modulus + 1) // 4, field.modulus)
    return root if root * root % field.modulus == square % field.modulus else 0
