"""The columns of a deal: what a dealer shares beside its update, and which places of a member's part they take."""

from dataclasses import dataclass

from peers.secure.commitment import SALT_BYTES
from peers.secure.layout import Layout
from peers.secure.stream import SEED_BYTES
from peers.secure.terms import SIGNS, Terms

BLOCK = 10_000
"""Columns of the update that are on their way at a time."""


@dataclass(frozen=True)
class Columns:
    """How many polynomials a dealer deals.

    Each of the small ones is on every peer's wire as it is; of the update's, the seeded members get a seed.

    Attributes:
        layout: the round's.
        size: d, numbers of the update.
        terms: what is checked of it.
    """

    layout: Layout
    size: int
    terms: Terms = SIGNS

    @property
    def update(self) -> int:
        """Polynomials that carry the update: ⌈d/k⌉."""
        return -(-self.size // self.layout.packing)

    @property
    def beacon(self) -> int:
        """Polynomials that carry a dealer's part of one beacon: of 128 random bits at least."""
        return -(-128 // (self.layout.packing * (self.layout.field.bits - 1)))

    @property
    def beacons(self) -> tuple[slice, slice]:
        """The places of the first and of the second beacon's polynomials among the small ones."""
        return slice(0, self.beacon), slice(self.beacon, 2 * self.beacon)

    @property
    def degree_masks(self) -> slice:
        """Random polynomials of degree D, which hide what the degree check opens."""
        start = 2 * self.beacon
        return slice(start, start + self.layout.repetitions)

    @property
    def zero_masks(self) -> slice:
        """Random polynomials of degree 2 D that vanish at the slots, which hide what the check of zeros opens."""
        start = self.degree_masks.stop
        return slice(start, start + self.layout.repetitions)

    @property
    def straight(self) -> slice:
        """Those random ones whose degree is D."""
        return slice(0, self.degree_masks.stop)

    @property
    def slack(self) -> slice:
        """Polynomials of degree D that carry the bits of B² less an update's squared norm, the lowest first."""
        ball, start = self.terms.ball, self.zero_masks.stop
        return slice(start, start + (0 if ball is None else -(-ball.bits // self.layout.packing)))

    @property
    def projection_masks(self) -> slice:
        """Polynomials of degree D that carry numbers in ±M, which hide what the projections open."""
        ball, start = self.terms.ball, self.slack.stop
        return slice(start, start + (0 if ball is None else ball.projections))

    @property
    def sum_masks(self) -> slice:
        """Random polynomials of degree 2 D whose secrets add up to zero, which hide what the check of sums opens."""
        start = self.projection_masks.stop
        return slice(start, start + (0 if self.terms.ball is None else self.layout.repetitions))

    @property
    def distance_masks(self) -> slice:
        """The same, one for each peer, which hide what the distance to its update opens."""
        start = self.sum_masks.stop
        return slice(start, start + (self.layout.peers if self.terms.distances else 0))

    @property
    def small(self) -> int:
        """All polynomials beside the update's."""
        return int(self.distance_masks.stop)

    @property
    def opened_zeros(self) -> slice:
        """Among the numbers that a member opens of each dealer for the checks, those that vanish at the slots."""
        return slice(self.layout.repetitions, 2 * self.layout.repetitions)

    @property
    def opened_sums(self) -> slice:
        """Among them, those whose secrets' sum is known."""
        return slice(2 * self.layout.repetitions, (2 if self.terms.ball is None else 3) * self.layout.repetitions)

    @property
    def opened_projections(self) -> slice:
        """Among them, the projections."""
        start = self.opened_sums.stop
        return slice(start, start + (0 if self.terms.ball is None else self.terms.ball.projections))

    @property
    def scalars(self) -> int:
        """Numbers that a member opens of each dealer for the checks; the first are those of the degree."""
        return int(self.opened_projections.stop)

    @property
    def small_bytes(self) -> int:
        """Bytes of a member's shares of the small columns."""
        return self.small * self.layout.field.dtype.itemsize

    @property
    def part_bytes(self) -> int:
        """Bytes of a member's part, at most."""
        return SALT_BYTES + max(SEED_BYTES, self.update * self.layout.field.dtype.itemsize) + self.small_bytes

    @property
    def longest_letter(self) -> int:
        """Bytes that one peer says to another in one exchange, at most, whoever cheats: passing on for all what up to f
        members show of up to all dealers' parts, twice, as two messages, and what they opened."""
        peers, faults = self.layout.peers, max(1, self.layout.faults)
        opened = peers * (self.scalars + peers) * self.layout.field.dtype.itemsize
        return 2**20 + 4 * peers * (faults * self.part_bytes + opened)

    def blocks(self) -> list[slice]:
        """Return the update's columns, block by block."""
        return [slice(start, min(start + BLOCK, self.update)) for start in range(0, self.update, BLOCK)]

    @property
    def pieces(self) -> int:
        """Pieces in which a part travels: the salt and the seed, the blocks, the small columns."""
        return len(self.blocks()) + 2

    def seeded(self, dealer: int) -> tuple[int, ...]:
        """Return the members, counted from 0, to whom a dealer gives a seed: t of them, others for each dealer."""
        members = self.layout.members
        return tuple(sorted((dealer + step) % members for step in range(1, self.layout.coalition + 1)))
