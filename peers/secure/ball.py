"""The ball: what shows that an update is not longer than B, though its numbers are counted modulo a prime.

A dealer also deals B² − Σ x² in bits, and a sum over all of that shows that Σ x² ≤ B² modulo the prime. So that it
holds in whole numbers, too, K random projections y = Σ r x with r of −1, 0, 1 are opened, slot by slot, each under a
mask that is uniform in ±M, where |y + mask| ≤ M − Y; else the dealer refuses to have it opened, and may do so r times.

What that proves (``ball`` computes K, r and M from it). One slot's numbers x pass a projection with a probability of at
most 1/2 if one of them is larger than 2 M: of c, c + x and c − x, the last two taken together or the first has half of
the probability, and no neighbours of these are both in an interval of length 2 M. If none is, and the Euclidean norm
is above 9 M, then by Berry and Esseen (constant 0.5583 by Shevtsova 2013) the sum is near to a normal one, which is in
such an interval with a probability below 1/2, too. With k slots, Σ x² ≤ 81 k M² is left, which is below the prime.

What it shows: nothing. Given |y| ≤ Y, what is opened is uniform in ±(M − Y), and refused with one probability, whatever
y is. |y| > 6 B ≥ 6 ‖x‖ has a probability below 2 e⁻³⁶ for each: the moments of y are at most those of a normal number
of variance ‖x‖² / 2. The idea is that of rejection sampling in Lyubashevsky 2012, "Lattice signatures without
trapdoors".
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from common.errors import UserError
from peers.secure.layout import SECURITY, Layout

_TAIL = 6
"""Y / B."""
_LENGTH = 9
"""A slot's numbers pass half of the projections while their norm is at most so many M."""
_MOST = 1000
"""Projections that are thought of at most."""


@dataclass(frozen=True)
class Ball:
    """The sizes of a proof that an update of whole numbers has a norm of at most ``bound``.

    Attributes:
        bound: B.
        mask: M.
        projections: K.
        refusals: r.
    """

    bound: int
    mask: int
    projections: int
    refusals: int

    @property
    def tail(self) -> int:
        """Y: an honest dealer's projection is not larger."""
        return _TAIL * self.bound

    @property
    def bits(self) -> int:
        """Of B² − Σ x²."""
        return (self.bound**2).bit_length()

    @property
    def refusal_bytes(self) -> int:
        """Bytes that tell which projections are refused."""
        return -(-self.projections // 8)


def bound_for(size: int) -> int:
    """Return B for updates of ``size`` whole numbers: rounding, of 1/2 a number at most on average, is 1/32 of it."""
    return max(256, 16 * math.isqrt(size - 1) + 16)


@lru_cache(maxsize=64)
def ball(layout: Layout, size: int, bound: int, security: int = SECURITY) -> Ball:
    """Return the least K and r such that a longer update passes, and an honest one fails, with less than 2^−security.

    The first after a union over all dealers and the f bits that cheaters may gain by what they keep back of a beacon.

    Raises:
        UserError: the field is too small for such updates.
    """
    prime, packing = layout.field.modulus, layout.packing
    mask = math.isqrt((prime - 2 * bound**2 - 1) // (_LENGTH**2 * packing)) if 2 * bound**2 < prime else 0
    columns = -(-size // packing)
    refused = 1 - (1 - _TAIL * bound / mask) ** packing if mask > _TAIL * bound else 1.0
    if refused > 0.15 or 8 * columns * mask > prime or 2 * layout.peers * bound**3 > prime:
        raise _too_long(layout, size)
    wanted = security + layout.faults + layout.peers.bit_length()
    for projections in range(wanted, _MOST):
        refusals = _least_refusals(projections, refused, security + layout.peers.bit_length())
        if sum(math.comb(projections, count) for count in range(refusals + 1)) << wanted <= 1 << projections:
            return Ball(bound, mask, projections, refusals)
    raise _too_long(layout, size)


def _least_refusals(projections: int, chance: float, security: int) -> int:
    """Return how many of so many independent refusals are exceeded with a probability below 2^−security."""
    beyond = 0.0
    for count in range(projections, 0, -1):
        beyond += math.comb(projections, count) * chance**count * (1 - chance) ** (projections - count)
        if beyond > 2.0**-security:
            return count
    return 0


def _too_long(layout: Layout, size: int) -> UserError:
    return UserError(
        f"secure.rule: updates of {size} numbers among {layout.peers} peers are too long to be proven short in a field "
        f"of {layout.field.bits} bits; take rule = 'rsa' or 'box-clipping'"
    )
