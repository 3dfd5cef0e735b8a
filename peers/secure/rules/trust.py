"""FLTrust: updates count as far as they point where that of public records points.

Cao et al. 2021, "FLTrust: Byzantine-robust federated learning via trust bootstrapping" (arXiv 2012.13995): an update g
is brought to the length of the reference r and weighs its trust score, TS = ReLU(cos(g, r)). Here a peer weighs its own
update, x = TS · ‖r‖ · g / ‖g‖, so that all are added alike: weights that all know would tell each peer's whole numbers
from their weighted sum. An update is allowed if ‖x‖² ≤ ⟨x, r⟩, which an honest one meets with equality, and what its
dealer says is ⟨x, r⟩ = TS² ‖r‖², which gives the score. A cheater may deal a shorter one, which then counts for less.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from peers.secure.ball import ball, bound_for
from peers.secure.layout import Layout
from peers.secure.rules.scaling import unit
from peers.secure.terms import Terms

FINER = 4
"""Units are so much shorter than for a mean: what rounding adds to a short update must stay below its length."""
_SHRUNK = (0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Shares of its length that an update may keep so that it is still allowed when it is rounded."""


@dataclass(frozen=True, eq=False)
class FLTrust:
    """The mean, weighted by trust.

    Attributes:
        reference: [d], the update of the public records, not all zeros.
    """

    reference: NDArray[np.float64] = field(repr=False)
    leaks: str = "Each peer's trust score: the angle between its update and that of the public records."

    def terms(self, layout: Layout, size: int) -> Terms:
        """Return that an update is in the ball over the reference, and that its inner product with it is told.

        Raises:
            UserError: the layout cannot, or the reference has no direction.
        """
        if not 0 < float(np.linalg.norm(self.reference)) < math.inf:
            raise UserError(
                "secure.rule = 'fltrust': the public records' own update is zero or not finite, so that no other can "
                "point its way; change training.learning_rate, or take another rule"
            )
        return Terms(ball(layout, size, FINER * bound_for(size)), reference=layout.field.elements(self._whole()))

    def encode(self, update: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Return the update, weighed by its trust score, in whole units; zeros, where the score is too small for that.

        It is shortened by 2 % or more, as little as is enough for it to be allowed once it is rounded.
        """
        whole, length = self._whole(), float(np.linalg.norm(update))
        score = max(0.0, float(update @ whole)) / (length * float(np.linalg.norm(whole))) if length else 0.0
        lots = generator.random(update.shape)
        for share in _SHRUNK if score else ():
            exact = update * (share * score * float(np.linalg.norm(whole)) / length)
            told = np.floor(exact + lots).astype(np.int64)
            if int(told @ told) <= int(told @ whole):
                return told
        return np.zeros(update.shape, np.int64)

    def decode(self, total: NDArray[np.int64], accepted: float) -> NDArray[np.float64]:
        """Return the weighted mean; ``accepted`` is the sum of the trust scores."""
        return self._unit() * (total / accepted)

    def _unit(self) -> float:
        return unit(self.reference.size, float(np.linalg.norm(self.reference))) / FINER

    def _whole(self) -> NDArray[np.int64]:
        return np.rint(self.reference / self._unit()).astype(np.int64)
