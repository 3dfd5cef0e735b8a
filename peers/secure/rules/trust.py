"""FLTrust: updates count as far as they point where that of public records points.

Cao et al. 2021, "FLTrust: Byzantine-robust federated learning via trust bootstrapping" (arXiv 2012.13995): each update
is brought to the length of the reference and weighs ReLU(cos) of the angle between the two. Here a cheater may also
deal a shorter update, which then counts for less.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from peers.secure.ball import ball, bound_for
from peers.secure.layout import Layout
from peers.secure.rules.scaling import rounded, stretched, unit
from peers.secure.terms import Terms


@dataclass(frozen=True, eq=False)
class FLTrust:
    """The mean, weighted by trust.

    Attributes:
        reference: [d], the update of the public records, not all zeros.
    """

    reference: NDArray[np.float64] = field(repr=False)
    leaks: str = "Each peer's trust score: the angle between its update and that of the public records."

    @property
    def norm(self) -> float:
        """Of the reference."""
        return float(np.linalg.norm(self.reference))

    def terms(self, layout: Layout, size: int) -> Terms:
        """Return that an update is in a ball, and that its inner product with the reference is told.

        Raises:
            UserError: the layout cannot, or the reference has no direction.
        """
        if not 0 < self.norm < math.inf:
            raise UserError(
                "secure.rule = 'fltrust': the public records' own update is zero or not finite, so that no other can "
                "point its way; change training.learning_rate, or take another rule"
            )
        whole = np.rint(self.reference / unit(size, self.norm)).astype(np.int64)
        return Terms(ball(layout, size, bound_for(size)), reference=layout.field.elements(whole))

    def encode(self, update: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Return the update in whole units, as long as the reference."""
        return rounded(stretched(update, self.norm), self.norm, generator)

    def decode(self, total: NDArray[np.int64], accepted: int) -> NDArray[np.float64]:
        """Return the weighted mean; ``accepted`` is the sum of the weights."""
        return unit(total.size, self.norm) * (total / accepted)
