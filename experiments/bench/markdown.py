"""Tables of benches as Markdown, and numbers in them."""

from collections.abc import Sequence
from statistics import median


def head(columns: Sequence[str]) -> str:
    """Return the first two lines of a table."""
    return f"{line(columns)}{'|---' * len(columns)}|\n"


def line(cells: Sequence[str]) -> str:
    """Return a line of a table."""
    return "| " + " | ".join(cells) + " |\n"


def spread(values: Sequence[float]) -> str:
    """Return the median, with least and most in brackets where there are several; three digits.

    One number that several others are compared with is there several times, to the last digit; it has no spread.
    """
    if not values:
        return ""
    middle = f"{median(values):.3g}"
    return middle if len(set(values)) == 1 else f"{middle} ({min(values):.3g}–{max(values):.3g})"
