"""Estimates in words, as the claims page and the verdict page print them."""

from collections.abc import Iterable, Sequence

from experiments.study.results import Estimate
from experiments.wording import NONE, percent

MINUS = "−"


def share(estimate: Estimate | None) -> str:
    """Return ``"42.1 % (39.8–44.4; n = 3)"``: mean, 95 % interval over repeats cut to [0, 1], repeats."""
    if estimate is None:
        return NONE
    low, high = (None if end is None else min(1.0, max(0.0, end)) for end in (estimate.low, estimate.high))
    told = "" if low is None or high is None else f"{100 * low:.1f}–{100 * high:.1f}"
    return percent(estimate.mean) + _within(estimate, told)


def points(estimate: Estimate | None) -> str:
    """Return ``"+1.2 points (−0.3 to +2.7; n = 3)"`` for a difference of shares."""
    if estimate is None:
        return NONE
    low, high = estimate.low, estimate.high
    told = "" if low is None or high is None else f"{signed(low)} to {signed(high)}"
    return f"{signed(estimate.mean)} points" + _within(estimate, told)


def distance(estimate: Estimate | None) -> str:
    """Return ``"1.2 points (0.3–2.7; n = 3)"`` for a distance between shares, which has no sign."""
    if estimate is None:
        return NONE
    low, high = estimate.low, estimate.high
    told = "" if low is None or high is None else f"{100 * low:.1f}–{100 * high:.1f}"
    return f"{100 * estimate.mean:.1f} points" + _within(estimate, told)


def times(estimate: Estimate | None) -> str:
    """Return ``"7.9× (7.5–8.3; n = 3)"`` for a ratio."""
    if estimate is None:
        return NONE
    low, high = estimate.low, estimate.high
    told = "" if low is None or high is None else f"{max(0.0, low):.3g}–{high:.3g}"
    return f"{estimate.mean:.3g}×" + _within(estimate, told)


def number(estimate: Estimate | None) -> str:
    """Return ``"0.0213 (0.01 to 0.03; n = 3)"`` for a quantity of any unit."""
    if estimate is None:
        return NONE
    low, high = estimate.low, estimate.high
    told = "" if low is None or high is None else f"{low:.3g} to {high:.3g}"
    return f"{estimate.mean:.3g}" + _within(estimate, told)


def signed(value: float) -> str:
    """Return a difference of shares in points: ``"+1.2"``, ``"−0.3"``, ``"0.0"``."""
    text = f"{abs(100 * value):.1f}"
    return text if float(text) == 0 else ("+" if value > 0 else MINUS) + text


def counted(number: int, one: str, many: str = "") -> str:
    """Return ``"1 cell"``, ``"3 cells"``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _within(estimate: Estimate, interval: str) -> str:
    """Return the bracket behind a mean. One value with an interval is exact and needs none."""
    if estimate.n == 1 and interval:
        return ""
    told = [interval] if interval else []
    return f" ({'; '.join([*told, f'n = {estimate.n}'])})"
