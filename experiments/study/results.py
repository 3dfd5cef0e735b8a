"""Results of a study: its finished cells with all that was measured, and means over repeats with their intervals."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.folder import RunFolder, read_json, read_lines
from common.intervals import student
from experiments.study.grid import Cell
from experiments.study.setting import Setting, setting_of
from experiments.tables import clean, read_measures, worst
from server.measures import Measure


@dataclass(frozen=True)
class Result:
    """One finished cell.

    Attributes:
        cell: which one; its coordinates and its description.
        setting: where it lies on the paper's axes.
        measures: the rows of its ``results.csv``.
        evaluation: its ``evaluation.json`` (compression, warnings, verdict).
        manifest: its ``manifest.json`` (seconds, bytes, machine); ``seconds.federation`` is that of all its rounds.
        epsilon: the worst honest client's ε over all rounds, from its ledger; None: no guarantee.
        path: its folder.
    """

    cell: Cell
    setting: Setting
    measures: tuple[Measure, ...]
    evaluation: Mapping[str, Any]
    manifest: Mapping[str, Any]
    epsilon: float | None
    path: Path

    def accuracy(self, target: str, threat: str = "clean", generator: str | None = None) -> float | None:
        """Return accuracy under a threat (worst over attacks, image by image), or None if it was not measured.

        Args:
            target: ``fp32`` or ``int8``.
            threat: ``clean``, ``white-box``, ``insider``, ``transfer``, ``query`` or ``all``.
            generator: of a transfer attack; None: the worst of all generators.
        """
        found = clean(self.measures, target) if threat == "clean" else worst(
            self.measures, target, threat, generator=generator
        )  # fmt: skip
        return None if found is None else found.value


@dataclass(frozen=True)
class Estimate:
    """A mean over repeats.

    Attributes:
        mean: over ``values``.
        low, high: its 95 % interval by Student's t over repeats of the *training*; None with a single repeat.
        values: one a repeat.
    """

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """How many repeats."""
        return len(self.values)


def read_result(cell: Cell, folder: RunFolder) -> Result:
    """Read a finished cell. Raises UserError if a file of it is missing or damaged."""
    return Result(
        cell=cell,
        setting=setting_of(cell.experiment),
        measures=read_measures(folder.results),
        evaluation=read_json(folder.evaluation),
        manifest=_with_training(read_json(folder.manifest), folder),
        epsilon=read_json(folder.ledger)["worst_honest_epsilon"],
        path=folder.path,
    )


def _with_training(manifest: dict[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Return a manifest with the seconds of all rounds, whatever run trained the federation and however it resumed."""
    training = sum(float(line["seconds"]) for line in read_lines(folder.rounds))
    return {**manifest, "seconds": {**manifest["seconds"], "federation": round(training, 2)}}


def by_setting(results: Iterable[Result]) -> dict[Setting, tuple[Result, ...]]:
    """Return the results of each setting, in order of first appearance, repeats in order."""
    groups: dict[Setting, list[Result]] = {}
    for result in results:
        groups.setdefault(result.setting, []).append(result)
    return {setting: tuple(sorted(found, key=lambda r: r.cell.repeat)) for setting, found in groups.items()}


def values(results: Iterable[Result], measured: Callable[[Result], float | None]) -> dict[int, float]:
    """Return the measure of each repeat that has it. Where two cells share a repeat, the first that has it counts."""
    found: dict[int, float] = {}
    for result in results:
        value = measured(result)
        if value is not None:
            found.setdefault(result.cell.repeat, value)
    return dict(sorted(found.items()))


def estimate(results: Iterable[Result], measured: Callable[[Result], float | None]) -> Estimate | None:
    """Return the mean of a measure over the repeats that have it, or None if none has."""
    return estimated(list(values(results, measured).values()))


def difference(
    first: Iterable[Result], second: Iterable[Result], measured: Callable[[Result], float | None]
) -> Estimate | None:
    """Return the mean of ``first - second`` over the repeats that both have, paired repeat by repeat."""
    one, other = values(first, measured), values(second, measured)
    return estimated([one[repeat] - other[repeat] for repeat in one if repeat in other])


def estimated(numbers: Sequence[float]) -> Estimate | None:
    """Return the mean of some repeats with its interval; None for no repeats."""
    if not numbers:
        return None
    low, high = student(numbers) or (None, None)
    return Estimate(sum(numbers) / len(numbers), low, high, tuple(numbers))
