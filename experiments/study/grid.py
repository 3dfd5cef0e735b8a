"""A grid: every cell of a study, each a whole experiment at one point of all axes."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from common.config import Experiment
from common.errors import UserError
from experiments.study.description import Grid, Study


@dataclass(frozen=True)
class Cell:
    """One point of a study.

    Attributes:
        study: the name of the study that asks for it.
        coordinates: axis name → label of the value there, in the order of the study file; without the repeat.
        repeat: counts from 0; another repeat is another seed of the training.
        experiment: the resolved description, its transfer generators included.
    """

    study: str
    coordinates: Mapping[str, str]
    repeat: int
    experiment: Experiment

    def title(self) -> str:
        """Return a short name for people, such as ``fig5 share=0.1 repeat 2``."""
        parts = [f"{axis}={label}" for axis, label in self.coordinates.items()]
        return " ".join([self.study, *parts, f"repeat {self.repeat + 1}"])


@dataclass(frozen=True)
class Point:
    """One value of an axis: what it is called, and the keys that it changes."""

    label: str
    changes: Mapping[str, Any]


def count(study: Study) -> int:
    """Return how many cells a study has, repeats and included studies with it, without making them."""
    own = sum(study.repeats * prod(len(points) for points in _axes(study, grid).values()) for grid in _grids(study))
    return own + sum(count(other) for other in study.included)


def cells_of(study: Study) -> Iterator[Cell]:
    """Yield the cells of the included studies, then the study's own, in the order of the file; repeats vary fastest.

    A transfer generator that names no seed is the federation of the next repeat (of the first, after the last; with a
    single repeat, one of the next seed): other weights, and nothing is trained for it alone.

    Raises:
        UserError: an axis over an unknown key, or a value that does not fit, with the cell where it was met.
    """
    for other in study.included:
        yield from cells_of(other)
    for grid in _grids(study):
        axes = _axes(study, grid)
        for points in product(*axes.values()):
            coordinates = {axis: point.label for axis, point in zip(axes, points, strict=True)}
            layers = (study.file.changes, grid.changes, study.size.changes, *(point.changes for point in points))
            yield from _repeats(study, coordinates, layered(*layers, study.last))


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes of all layers in their order; a key that comes again is changed where it comes last.

    The order matters where one key holds another: ``clients.0.options`` after ``clients.0.options.attack`` replaces it.
    """
    changes: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            changes.pop(key, None)
            changes[key] = value
    return changes


def _repeats(study: Study, coordinates: Mapping[str, str], changes: Mapping[str, Any]) -> Iterator[Cell]:
    try:
        experiment = study.base.change(changes, study.path.parent)
    except UserError as error:
        where = ", ".join(f"{axis} = {label}" for axis, label in coordinates.items())
        raise UserError(f"{study.path}{f' at {where}' if where else ''}: {error}") from None
    for repeat in range(study.repeats):
        yield Cell(study.file.name, coordinates, repeat, _repeated(experiment, repeat, study.repeats))


def _repeated(experiment: Experiment, repeat: int, repeats: int) -> Experiment:
    """Return the experiment with the seed of a repeat, and its generators with that of the next."""
    following = experiment.seed + (repeat + 1) % max(repeats, 2)
    generators = tuple(
        generator
        if "seed" in generator.changes
        else generator.model_copy(update={"changes": {**generator.changes, "seed": following}})
        for generator in experiment.evaluation.generators
    )
    evaluation = experiment.evaluation.model_copy(update={"generators": generators})
    return experiment.model_copy(update={"seed": experiment.seed + repeat, "evaluation": evaluation})


def _grids(study: Study) -> tuple[Grid, ...]:
    """Return the study's grids; a study that only includes others has none of its own."""
    file = study.file
    if file.grids:
        return file.grids
    return () if file.include and not file.axes and not file.changes else (Grid(),)


def _axes(study: Study, grid: Grid) -> dict[str, tuple[Point, ...]]:
    axes = {**study.file.axes, **grid.axes}
    axes |= {name: value for name, value in study.size.axes.items() if name in axes}
    return {name: points(name, value, str(study.path)) for name, value in axes.items()}


def points(name: str, value: Any, origin: str) -> tuple[Point, ...]:
    """Return the points of an axis as a study file says them.

    Args:
        name: the axis; for a list also the key that it varies.
        value: a list of values; a table of lists that vary together, labelled by the first; or a table of named points.
        origin: for sentences.

    Raises:
        UserError: no values, lists of unequal length, or neither a list nor a table of lists or of tables.
    """
    if isinstance(value, list) and value:
        return _told_apart(name, [Point(_label(item), {name: item}) for item in value], origin)
    if isinstance(value, dict) and value:
        if all(isinstance(item, dict) for item in value.values()):
            return tuple(Point(label, changes) for label, changes in value.items())
        if all(isinstance(item, list) and item for item in value.values()):
            lengths = {key: len(items) for key, items in value.items()}
            if len(set(lengths.values())) > 1:
                told = ", ".join(f"{key} has {length}" for key, length in lengths.items())
                raise UserError(f"{origin}: axes.{name}: keys that vary together need as many values each; {told}")
            rows = [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
            first = [_label(next(iter(row.values()))) for row in rows]
            whole = [", ".join(map(_label, row.values())) for row in rows]
            labels = first if len(set(first)) == len(first) else whole
            return _told_apart(name, [Point(label, row) for label, row in zip(labels, rows, strict=True)], origin)
    raise UserError(
        f"{origin}: axes.{name} = {json.dumps(value, default=str)}: give a list of one value or more, a table of "
        "lists, or a table of points"
    )


def _told_apart(name: str, points: list[Point], origin: str) -> tuple[Point, ...]:
    labels = [point.label for point in points]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UserError(f"{origin}: axes.{name} has the value {twice} twice; take one of them out")
    return tuple(points)


def _label(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
