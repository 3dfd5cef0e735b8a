"""The study file: a base experiment, axes that vary it, and scales that size it; TOML in, validated."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from common.config import Experiment, load
from common.errors import UserError
from common.loading import suggest
from common.section import Count, Section, validated
from common.toml_file import read_toml

PAPER = Path(__file__).resolve().parent.parent / "paper"
"""The studies of the paper's figures."""


class Grid(Section):
    """Cells that differ along axes of their own; a study may be several grids side by side."""

    changes: dict[str, Any] = Field(default_factory=dict)
    """Dotted keys of the experiment, as in ``--set``."""
    axes: dict[str, Any] = Field(default_factory=dict)
    """Beside the study's own axes."""


class Scale(Section):
    """One size of a study; all that may differ between two sizes."""

    description: str = ""
    """What machine and how long it is meant for."""
    repeats: Count | None = None
    changes: dict[str, Any] = Field(default_factory=dict)
    axes: dict[str, Any] = Field(default_factory=dict)
    """Replace the study's or a grid's axes of the same names, for example by fewer values."""


class StudyFile(Section):
    """What a study file may hold."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}$")]
    title: str = ""
    description: str = ""
    experiment: str | None = None
    """The base experiment's file, relative to the study's; None: all defaults."""
    include: tuple[str, ...] = ()
    """Other studies, relative to this one; their cells belong to this study, too."""
    figures: tuple[str, ...] = ("grid",)
    claims: bool | Literal["braintorrent", "secure"] = False
    """Write the page of claims: true, of the paper on robustness, with facts measured beside the cells."""
    repeats: Count = 1
    """Trainings of every cell, each with another seed."""
    changes: dict[str, Any] = Field(default_factory=dict)
    axes: dict[str, Any] = Field(default_factory=dict)
    """A list is an axis over the key that it stands for. A table is an axis with a name: of lists of equal length, keys
    that vary together; or of tables, one a point with the keys that it changes."""
    grids: tuple[Grid, ...] = ()
    """None: one grid of the study's own axes."""
    scale: dict[str, Scale] = Field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A study file read at one scale.

    Attributes:
        file: what it says.
        path: where it was read.
        scale: the name of the chosen scale, its own or that of the studies that it includes; empty where none has any.
        size: that scale.
        base: the experiment that the axes vary.
        included: the studies that it includes, at the same scale.
        last: changes of the command line, which win over everything.
    """

    file: StudyFile
    path: Path
    scale: str
    size: Scale
    base: Experiment
    included: tuple["Study", ...]
    last: Mapping[str, Any]

    @property
    def repeats(self) -> int:
        """Trainings of every cell."""
        return self.size.repeats or self.file.repeats


def load_study(
    path: str | Path,
    scale: str | None = None,
    changes: Mapping[str, Any] | None = None,
    *,
    within: tuple[Path, ...] = (),
) -> Study:
    """Read a study at a scale, with the studies that it includes.

    Args:
        path: the study's file.
        scale: one of its scales; None: ``small``, or the first that it has.
        changes: dotted keys of every cell, which win over axes.
        within: the studies that include this one.

    Raises:
        UserError: missing or malformed file, unknown key or scale, a study that includes itself, repeats = 0.
    """
    place = Path(path)
    if place.resolve() in within:
        chain = " includes ".join(str(one.name) for one in (*within, place.resolve()))
        raise UserError(f"{place}: include goes in a circle ({chain}); take one of them out")
    file = _read(place)
    chosen = _scale_of(file, place, scale)
    passed_on = chosen or scale
    base = load(place.parent / file.experiment) if file.experiment else Experiment(name=file.name)
    included = tuple(
        load_study(place.parent / other, passed_on or None, changes, within=(*within, place.resolve()))
        for other in file.include
    )
    size = file.scale[chosen] if chosen else Scale()
    for one in file.scale.values():
        _check_axes(file, one, place)
    _check_last(file, size, changes or {}, place)
    return Study(file, place, passed_on or "", size, base, included, dict(changes or {}))


def _read(place: Path) -> StudyFile:
    tree = read_toml(place, elsewhere=f"ready studies are in {PAPER}")
    if "clients" in tree or "federation" in tree:
        raise UserError(f"{place} is an experiment, not a study; run it with `psreval run {place}`")
    return validated(StudyFile, tree, str(place))


def _scale_of(file: StudyFile, place: Path, asked: str | None) -> str:
    if asked is None:
        return "small" if "small" in file.scale else next(iter(file.scale), "")
    if asked not in file.scale and (file.scale or not file.include):
        hint = suggest(asked, file.scale) if file.scale else "; it has no scales at all"
        raise UserError(f"--scale {asked}: {place} has none of that name{hint}")
    return asked if file.scale else ""


def _check_last(file: StudyFile, size: Scale, last: Mapping[str, Any], place: Path) -> None:
    """Refuse changes of the command line that an axis varies: its cells would all be alike, and called otherwise."""
    axes = {name: value for grid in ({}, *(grid.axes for grid in file.grids)) for name, value in grid.items()}
    for name, value in {**file.axes, **axes, **size.axes}.items():
        keys = [name]
        if isinstance(value, dict):
            inner = [item for item in value.values() if isinstance(item, dict)]
            keys = [key for item in inner for key in item] if inner else list(value)
        for key in last:
            if any(f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.") for other in keys):
                raise UserError(f"--set {key}: {place} varies it along its axis '{name}'; change the file instead")


def _check_axes(file: StudyFile, size: Scale, place: Path) -> None:
    known = {name for axes in (file.axes, *(grid.axes for grid in file.grids)) for name in axes}
    for name in size.axes:
        if name not in known:
            raise UserError(f"{place}: scale.axes.{name} replaces no axis of the study{suggest(name, known)}")
