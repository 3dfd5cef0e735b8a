"""Deciding claims by intervals: what a claim asserts is a band, and the interval lies inside it, outside, or across.

A maximum over many settings is no mean: the largest of many noisy means is too large. Its interval here holds the
largest *true* mean in at least 95 % of studies, whatever the settings have in common: its lower end comes from bounds
that hold for all settings at once (Bonferroni), its upper end from single bounds, since only the setting with the
largest true mean can break it. So "none exceeds X" (an intersection of hypotheses, Berger 1982) pays nothing for the
number of settings, and "one exceeds X" does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt
from statistics import mean, stdev

from experiments.study.results import Estimate, estimated

CONFIRMED, REFUTED, OPEN = "confirmed", "refuted", "not decidable at this scale"
TAIL = 0.025
"""What each end of a 95 % interval may miss."""
ROUNDING = 1e-9
"""Numbers this close are equal but for rounding."""


@dataclass(frozen=True)
class Band:
    """What a claim asserts of a quantity: that it lies in [low, high]. None: no bound on that side.

    With ``strict`` the ends do not belong to it.
    """

    low: float | None = None
    high: float | None = None
    strict: bool = False

    def holds(self, value: float) -> bool:
        """Tell whether a value lies in the band."""
        return not self.below(value) and not self.above(value)

    def below(self, value: float) -> bool:
        """Tell whether a value is too small for the band."""
        return self.low is not None and (value < self.low or (self.strict and value == self.low))

    def above(self, value: float) -> bool:
        """Tell whether a value is too large for the band."""
        return self.high is not None and (value > self.high or (self.strict and value == self.high))


def about(value: float) -> Band:
    """Return what "up to ``value``" or "about ``value``" asserts: from half of it to half as much again."""
    return Band(value / 2, 1.5 * value)


def decide(ours: Estimate | None, band: Band) -> str:
    """Return the verdict: the whole interval inside the band, wholly outside, or neither (also: no interval)."""
    if ours is None or ours.low is None or ours.high is None:
        return OPEN
    if band.holds(ours.low) and band.holds(ours.high):
        return CONFIRMED
    return REFUTED if band.below(ours.high) or band.above(ours.low) else OPEN


def bounds(numbers: Sequence[float], tail: float = TAIL) -> tuple[float, float]:
    """Return where the true mean lies by Student's t, each end missed in a share ``tail`` of studies.

    Args:
        numbers: one a repeat, at least two.
        tail: in (0, 0.5).
    """
    half = _quantile(1 - tail, len(numbers) - 1) * stdev(numbers) / sqrt(len(numbers))
    return mean(numbers) - half, mean(numbers) + half


def largest(settings: Sequence[Sequence[float]]) -> Estimate | None:
    """Return the largest mean over settings, with a 95 % interval of the largest *true* mean.

    Args:
        settings: the repeats of each; those with a single repeat are left out.

    Returns:
        ``mean`` is the largest of the means seen, which is biased upwards; ``values`` are that setting's repeats. None
        where no setting has two repeats.
    """
    known = [numbers for numbers in settings if len(numbers) > 1]
    if not known:
        return None
    top = max(known, key=mean)
    low = max(bounds(numbers, TAIL / len(known))[0] for numbers in _spread(known))
    high = max(bounds(numbers)[1] for numbers in known)
    return Estimate(mean(top), low, high, tuple(top))


def smallest(settings: Sequence[Sequence[float]]) -> Estimate | None:
    """Return the smallest mean over settings, likewise."""
    found = largest([[-number for number in numbers] for numbers in settings])
    if found is None or found.low is None or found.high is None:
        return None
    return Estimate(-found.mean, -found.high, -found.low, tuple(-number for number in found.values))


def farthest(settings: Sequence[Sequence[float]]) -> Estimate | None:
    """Return the largest distance of a mean from zero over settings, likewise; never negative."""
    known = [numbers for numbers in settings if len(numbers) > 1]
    if not known:
        return None
    top = max(known, key=lambda numbers: abs(mean(numbers)))
    corrected = [bounds(numbers, TAIL / (2 * len(known))) for numbers in _spread(known)]
    low = max(max(0.0, below, -above) for below, above in corrected)
    high = max(max(abs(below), abs(above)) for below, above in (bounds(numbers) for numbers in known))
    sign = 1 if mean(top) >= 0 else -1
    return Estimate(abs(mean(top)), low, high, tuple(sign * number for number in top))


def average(settings: Sequence[Mapping[int, float]]) -> Estimate | None:
    """Return the mean over settings of repeat → value, its interval over the repeats that all of them have.

    Settings with a single repeat are left out, then repeats that one of the rest lacks: a mean over other settings in
    one repeat than in another would be compared with itself in vain.
    """
    known = [numbers for numbers in settings if len(numbers) > 1]
    if not known:
        return None
    common = sorted(set.intersection(*(set(numbers) for numbers in known)))
    return estimated([mean(numbers[repeat] for numbers in known) for repeat in common])


def _spread(settings: Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
    """Return the settings whose repeats differ; all, if none does.

    Accuracies are counts of images, so a few repeats may be equal by chance. An interval without width must not be what
    shows that one setting of many exceeds a bound.
    """
    return [numbers for numbers in settings if max(numbers) - min(numbers) > ROUNDING] or settings


@cache
def _quantile(share: float, freedom: int) -> float:
    from scipy.stats import t  # heavy

    return float(t.ppf(share, freedom))


def without_width(estimate: Estimate) -> bool:
    """Tell whether an estimate's interval has no width: all repeats are equal."""
    return estimate.low is not None and estimate.high is not None and estimate.high - estimate.low < ROUNDING


def exact(value: float) -> Estimate:
    """Return a quantity that does not vary from repeat to repeat, such as a file's size, as an estimate."""
    return Estimate(value, value, value, (value,))
