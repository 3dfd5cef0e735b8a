"""What was measured along an axis of the growth bench, as series of sizes and costs with what is fitted to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from experiments.bench.growth_axes import Axis, Unit
from experiments.bench.growth_fit import UPPER, bends, exponent, power_law, terms

SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"), (1e-12, "ps"))
BYTES = ((2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
Scale = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Series:
    """One cost along an axis.

    Attributes:
        unit: what it is divided by.
        scale: names of its sizes.
        sizes: of the axis.
        whole: the whole cost of each repeat, by size; seconds or bytes.
    """

    unit: Unit
    scale: Scale
    sizes: tuple[int, ...]
    whole: tuple[tuple[float, ...], ...]

    @cached_property
    def a_unit(self) -> list[list[float]]:
        """The cost of a unit of each repeat, by size."""
        each = zip(self.sizes, self.whole, strict=True)
        return [[value / self.unit.size(size) for value in values] for size, values in each]

    @cached_property
    def law(self) -> tuple[float, float]:
        """c and k of a unit's cost c xᵏ, fitted to the medians of the upper points."""
        points = [(float(size), median(values)) for size, values in zip(self.sizes, self.a_unit, strict=True)]
        return power_law(points[-UPPER:])

    @property
    def power(self) -> float:
        """k of the whole cost c xᵏ, fitted likewise."""
        return exponent(self._medians[-UPPER:])

    @cached_property
    def terms(self) -> dict[int, float]:
        """What the whole cost is made of, by power of the size."""
        return terms(self._medians)

    @property
    def _medians(self) -> list[tuple[float, float]]:
        return [(float(size), median(values)) for size, values in zip(self.sizes, self.whole, strict=True)]

    @property
    def bends(self) -> list[float]:
        """The sizes within the axis at which a term overtakes another."""
        return [bend for bend in bends(self.terms) if self.sizes[0] <= bend <= self.sizes[-1]]

    def words(self) -> str:
        """Return what the whole cost is made of, such as ``0.5 s + 29 ms · x``."""
        factors = {0: "", 1: " · x", 2: " · x²"}
        return " + ".join(f"{amount(value, self.scale)}{factors[power]}" for power, value in self.terms.items())


def series(axis: Axis, points: Sequence[Mapping[str, Any]]) -> tuple[Series, Series]:
    """Return CPU seconds and bytes along an axis.

    Args:
        axis: which.
        points: as ``growth.json`` has them, by size; each with at least one run.
    """
    sizes = tuple(int(point["x"]) for point in points)

    def whole(name: str, least: float) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(max(least, float(run[name])) for run in point["runs"]) for point in points)

    # A cost of nothing, which memory's growth may be, has no logarithm: one page.
    return Series(axis.time, SECONDS, sizes, whole("cpu", 1e-6)), Series(
        axis.memory, BYTES, sizes, whole("memory", 4096)
    )


def in_words(axis: Axis, time: Series, memory: Series) -> str:
    """Return what a figure of both shows, in a sentence for those who do not see it."""
    (first, last), (less, more) = ([plain(median(one.a_unit[at])) for at in (0, -1)] for one in (time, memory))
    return (
        f"By {axis.label}, {time.sizes[0]:,} to {time.sizes[-1]:,}. {time.unit.label}: {first} to {last}. "
        f"{memory.unit.label}: {less} to {more}"
    )


def plain(value: float) -> str:
    """Return a number to three digits, without an exponent below a million: ``17,600``."""
    return f"{float(f'{value:.3g}'):,g}"


def growing(power: float) -> str:
    """Return how something grows: ``∝ x^−0.44``."""
    return f"∝ x^{power:.2f}".replace("-", "−")


def amount(value: float, scale: Scale) -> str:
    """Return a cost with the largest unit of which it has at least one: ``29 ms``."""
    size, name = next(((size, name) for size, name in scale if value >= size), scale[-1])
    return f"{value / size:.3g} {name}"
