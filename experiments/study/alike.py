"""Cells that seem alike: told apart by their descriptions, so that none is drawn or counted in another's place."""

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.study.results import Result
from experiments.study.trial import queries_of, trial_of

_NOT_THE_CELL = ("name", "description", "seed", "thresholds")
"""Keys that change no number but by chance."""


@dataclass(frozen=True)
class Group:
    """The repeats of one cell.

    Attributes:
        results: repeat by repeat.
        apart: what tells it from others that seem alike, such as ``model.width = 16``; empty if no other does.
    """

    results: tuple[Result, ...]
    apart: str


def told_apart(
    results: Iterable[Result], alike: Callable[[Result], Hashable], *, evaluation: bool = True
) -> list[Group]:
    """Return the repeats of each cell, in order of first appearance.

    Args:
        results: finished cells of any studies.
        alike: what a reader sees of a cell; where it is equal, the descriptions are compared.
        evaluation: whether evaluations that differ make two cells; else federations and compression alone.
    """
    groups: dict[Hashable, dict[str, list[Result]]] = {}
    for result in results:
        groups.setdefault(alike(result), {}).setdefault(described(result, evaluation=evaluation), []).append(result)
    found = []
    for variants in groups.values():
        trees = [_flat(json.loads(text)) for text in variants]
        for tree, cells in zip(trees, variants.values(), strict=True):
            cells.sort(key=lambda one: one.cell.repeat)
            found.append(Group(tuple(cells), ", ".join(_differences(tree, trees))))
    return found


def described(result: Result, *, evaluation: bool = True, free: Sequence[str] = ()) -> str:
    """Return a cell's description as canonical JSON, without what repeats change.

    Args:
        result: the cell.
        evaluation: with how it is attacked; else the federation and its compression alone.
        free: further keys to leave out, of the description and of its clients.
    """
    tree = result.cell.experiment.model_dump(mode="json", exclude_none=True)
    for key in (*_NOT_THE_CELL, *free, *(() if evaluation else ("evaluation",))):
        tree.pop(key, None)
    if result.setting.epsilon is None:
        tree.pop("privacy", None)
    tree["clients"] = [{key: value for key, value in client.items() if key not in free} for client in tree["clients"]]
    if evaluation:
        tree["evaluation"].pop("seed", None)
        for generator in tree["evaluation"].get("generators", ()):
            generator.get("changes", {}).pop("seed", None)
    return json.dumps(tree, sort_keys=True)


def confused(results: Iterable[Result]) -> int:
    """Return how many cells lie where another of their setting and repeat lies that was trained or attacked otherwise.

    Cells of one federation that fewer threats were asked of do not count: what both measured is the same.
    """
    places: dict[Hashable, set[Hashable]] = {}
    queried: dict[Hashable, set[Hashable]] = {}
    for one in results:
        place = (one.setting, one.cell.repeat)
        federation = (described(one, evaluation=False), trial_of(one.cell.experiment))
        places.setdefault(place, set()).add(federation)
        asked = queries_of(one.cell.experiment)
        queried.setdefault((place, federation), set()).update({asked} if asked else ())
    return sum(len(found) - 1 for found in places.values()) + sum(max(0, len(found) - 1) for found in queried.values())


def _differences(tree: Mapping[str, Any], trees: Sequence[Mapping[str, Any]]) -> list[str]:
    if len(trees) == 1:
        return []
    keys = dict.fromkeys(key for other in (tree, *trees) for key in other)
    differing = [key for key in keys if len({json.dumps(other.get(key)) for other in trees}) > 1]
    return [f"{key} = {_written(tree[key])}" if key in tree else f"no {key}" for key in differing]


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Return a tree as dotted key → leaf."""
    if not isinstance(tree, dict | list) or not tree:
        return {path: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {key: leaf for name, part in items for key, leaf in _flat(part, f"{path}.{name}".lstrip(".")).items()}


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
