"""What an aggregation asks of the updates that it adds up, and whose it adds up."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.rules.columns import Matrix
from common.rules.krum import most_malicious, ranking
from peers.secure.ball import Ball
from peers.secure.field import LARGE, Elements


@dataclass(frozen=True, eq=False)
class Terms:
    """What is checked of an update, and opened.

    Attributes:
        ball: which it must be in; None: each of its numbers is 1 or −1.
        reference: [d], r, what all know, as elements of the large field; each dealer's inner product with it is told,
            and its update's squared norm is at most that, in place of the ball's. None: there is none.
        distances: whether the distances between updates are opened, and those count that multi-Krum selects.
        malicious: how many updates multi-Krum takes for malicious; None: as many as the number of updates allows.

    Raises:
        ValueError: no ball, where there is a reference or distances.
    """

    ball: Ball | None = None
    reference: Elements | None = None
    distances: bool = False
    malicious: int | None = None

    def __post_init__(self) -> None:
        if self.ball is None and (self.reference is not None or self.distances):
            raise ValueError("a reference and distances need updates in a ball")

    @property
    def filler(self) -> int:
        """What stands behind the last number of an update: one that is allowed."""
        return 1 if self.ball is None else 0

    @property
    def encoded(self) -> bytes:
        """What all must agree on."""
        if self.ball is None:
            return b""
        ball = self.ball
        numbers = (ball.bound, ball.mask, ball.projections, ball.refusals, int(self.distances), (self.malicious or 0),
                   int(self.malicious is not None))  # fmt: skip
        told = b"" if self.reference is None else hashlib.sha256(self.reference.astype("<u8").tobytes()).digest()
        return b"".join(number.to_bytes(8, "big") for number in numbers) + told

    def counted(
        self, dealers: Sequence[int], scores: Mapping[int, int], squared: Matrix | None, least: int = 1
    ) -> dict[int, float]:
        """Return whose updates are added up, and what each adds to what their sum is divided by: 1, or its trust score.

        Args:
            dealers: whose updates passed.
            scores: dealer → its inner product with the reference; read only where there is one.
            squared: [dealers, dealers], the distances, squared; read only where they are opened.
            least: how many multi-Krum selects at least, while there are so many.
        """
        if self.reference is not None:
            whole = LARGE.signed(self.reference)
            length = math.sqrt(int(whole @ whole))
            return {dealer: math.sqrt(scores[dealer]) / length for dealer in dealers if scores[dealer] > 0}
        if squared is None:
            return dict.fromkeys(dealers, 1.0)
        return dict.fromkeys(selected(dealers, squared, self.malicious, least), 1.0)


def selected(dealers: Sequence[int], squared: Matrix, malicious: int | None, least: int = 1) -> list[int]:
    """Return the dealers whom multi-Krum selects, n − f − 2 of n; all, where fewer than 5 are left to choose from.

    See ``common.rules.krum.multi_krum``; f is lowered to what so many updates allow.

    Args:
        dealers: their numbers.
        squared: [dealers, dealers], the distances between their updates, squared.
        malicious: f; None: as many as so many updates allow.
        least: how many are selected at least, while there are so many.
    """
    if len(dealers) < 5:
        return list(dealers)
    most = most_malicious(len(dealers))
    faults = most if malicious is None else min(malicious, most)
    return sorted(dealers[place] for place in ranking(squared, faults)[: max(least, len(dealers) - faults - 2)])


SIGNS = Terms()
"""Each number is 1 or −1, and each update counts alike."""
