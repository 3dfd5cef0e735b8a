"""Measures: one row each, long form, as results.csv holds them."""

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

from common.intervals import wilson


@dataclass(frozen=True)
class Measure:
    """One number about one target.

    Attributes:
        target: ``fp32`` or ``int8``.
        threat: ``clean``, ``white-box``, ``insider``, ``transfer`` or ``query``.
        attack: ``none``, an attack's name, or ``worst`` (image by image over all attacks, sources and repeats).
        generator: whose gradients: ``fp32``, ``twin``, a transfer generator's name; empty for none or for worst.
        eps, step_size, steps: the budget in [0, 1] units.
        repeat: 0, 1, …; empty for a mean or worst over repeats.
        metric: ``accuracy``, ``attack_success``, ``auroc``, ``sensitivity`` or ``specificity``.
        value: a fraction.
        n: records behind it.
        low, high: 95 % Wilson interval over the records; empty for AUROC.
    """

    target: str
    threat: str
    attack: str
    generator: str
    eps: float
    step_size: float
    steps: int
    repeat: int | str
    metric: str
    value: float
    n: int
    low: float | str
    high: float | str


def measure(
    target: str,
    threat: str,
    attack: str,
    metric: str,
    value: float,
    n: int,
    *,
    generator: str = "",
    budget: tuple[float, float, int] = (0.0, 0.0, 0),
    repeat: int | str = "",
) -> Measure:
    """Return a row with its interval; AUROC is no proportion and gets none."""
    low, high = wilson(value, n) if metric != "auroc" else ("", "")
    return Measure(target, threat, attack, generator, *budget, repeat, metric, value, n, low, high)


def to_csv(rows: Iterable[Measure]) -> str:
    """Return the rows as CSV with a header; floats are written so that they read back equal."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Measure)])
    writer.writerows(astuple(row) for row in rows)
    return text.getvalue()
