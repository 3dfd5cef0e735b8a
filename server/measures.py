"""Measures: one row each, long form, as results.csv holds them."""

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

from common.intervals import wilson

PROPORTIONS = ("accuracy", "sensitivity", "specificity", "attack_success")
"""Metrics that are shares of ``n`` records, so that a Wilson interval belongs to them."""


@dataclass(frozen=True)
class Measure:
    """One number of the evaluation, with everything that it depends on; a row of ``results.csv``.

    Attributes:
        target: which weights were scored, ``fp32`` or ``int8``.
        threat: ``clean``, the threat model's name, or ``all``.
        attack: ``none``, the attack's name, or ``worst`` (image by image over attacks, sources and repeats).
        generator: whose gradients: ``fp32``, ``twin``, ``queries``, a transfer generator's; empty for none or worst.
        eps, step_size: in units of [0, 1]; None where they do not apply.
        steps: likewise.
        repeat: counts from 0; None for the worst or the mean over repeats.
        metric: ``accuracy``, ``auroc``, ``sensitivity``, ``specificity`` or ``attack_success``; for segmentation
            ``dice`` (the mean over images of the mean over their structures) or ``dice:STRUCTURE``.
        value: a fraction in [0, 1].
        n: the records that it is measured on.
        low, high: the 95 % interval; None where there is none.
    """

    target: str
    threat: str
    attack: str
    generator: str
    eps: float | None
    step_size: float | None
    steps: int | None
    repeat: int | None
    metric: str
    value: float
    n: int
    low: float | None
    high: float | None

    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval as stored; Wilson's for a proportion stored without one; else None."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        return wilson(self.value, self.n) if self.metric in PROPORTIONS else None


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
    repeat: int | None = None,
    interval: tuple[float, float] | None = None,
) -> Measure:
    """Return a row with its interval: Wilson's for a proportion; else the one given; AUROC gets none."""
    low, high = wilson(value, n) if metric in PROPORTIONS else interval or (None, None)
    return Measure(target, threat, attack, generator, *budget, repeat, metric, value, n, low, high)


def to_csv(rows: Iterable[Measure]) -> str:
    """Return the rows as CSV with a header, None as nothing; floats are written so that they read back equal."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Measure)])
    writer.writerows(astuple(row) for row in rows)
    return text.getvalue()
