"""``python -m experiments.bench.growth``: how time and memory of a federation grow with what is made larger.

Clients from 2 to 1,000, images from 10² to 10⁵, the network's width from 8 to 64, rounds from 3 to 100; one at a time,
the rest small. Each point runs in a program of its own, on one thread, and its images are drawn before its clock starts
(that is counted by itself, once). Memory is what the program has at most beyond its beginning.

A point that takes long is measured once, the others ``--repeats`` times, in turn. ``--write FOLDER`` writes
``growth.json`` and a figure for each axis (``growth-AXIS.svg``) there. About 15 minutes on two cores; ``--quick``, one.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from common.folder import write_bytes, write_text
from experiments.bench.growth_axes import AXES, Axis
from experiments.bench.growth_figures import figure
from experiments.bench.growth_page import section
from experiments.bench.one_program import answer
from experiments.bench.parts import STOPPED, check_choice, check_folder, circumstances
from experiments.study.figure_files import figure_bytes

LONG = 15.0
"""Seconds of wall time from which on a point is measured once."""
Points = dict[str, list[dict[str, Any]]]
"""Of each axis by name: ``x``, ``prepared`` and ``runs``, each a ``growth_point.Cost`` as JSON."""


def measured(axes: Sequence[Axis], repeats: int, place: Path, console: Console, *, quick: bool = False) -> Points:
    """Return what all points cost; one that fails is told and left out, and so is an axis with less than two.

    Args:
        axes: which.
        repeats: of each point that does not take long.
        place: an empty folder of the caller's own.
        console: where progress is told.
        quick: leave out the larger sizes.
    """
    sizes = {axis.name: [x for x in axis.values if not quick or x <= axis.quick] for axis in axes}
    files = {(axis.name, x): place / f"{axis.name}-{x}.toml" for axis in axes for x in sizes[axis.name]}
    for axis in axes:
        for x in sizes[axis.name]:
            files[axis.name, x].write_text(axis.describe(x).to_toml(), encoding="utf-8")
    console.print(f"drawing the images of {len(files)} points")
    drawn = dict(zip(files, _answer(place, "prepare", *files.values()), strict=True))
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {point: [] for point in files}
    for repeat in range(repeats):
        for (name, x), file in files.items():
            before = runs[name, x]
            if repeat and (len(before) < repeat or before[0]["wall"] >= LONG):
                continue
            try:
                before.append(_answer(place, "measure", file))
            except RuntimeError as error:
                console.print(f"{name} {x}: {error}", markup=False)
                continue
            told = f"{before[-1]['cpu']:.3g} CPU s, {before[-1]['memory'] / 2**20:.3g} MiB"
            console.print(f"{repeat + 1}/{repeats} {name} {x:,}: {told}", markup=False)
    points: Points = {
        name: [{"x": x, "prepared": drawn[name, x], "runs": runs[name, x]} for x in values if runs[name, x]]
        for name, values in sizes.items()
    }
    return {name: found for name, found in points.items() if len(found) > 1}


def _answer(place: Path, what: str, *files: Path) -> Any:
    """Return what ``growth_point`` tells. Raises RuntimeError: it failed."""
    command = [sys.executable, "-m", "experiments.bench.growth_point", what, *map(str, files)]
    return answer(command, place, PSREVAL_CACHE=str(place / "cache"))  # or what was drawn before would cost nothing


def write(told: dict[str, Any], folder: Path) -> None:
    """Write ``growth.json`` and a figure for each axis."""
    write_text(folder / "growth.json", json.dumps(told, indent=1) + "\n")
    for name, points in told["axes"].items():
        write_bytes(folder / f"growth-{name}.svg", figure_bytes(figure(AXES[name], points), "svg"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write where that is asked for; stopped before its end, it writes nothing."""
    try:
        _measure(arguments)
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def _measure(arguments: Sequence[str] | None) -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.bench.growth", description=__doc__)
    parser.add_argument("axes", nargs="*", metavar="AXIS", help=f"of {', '.join(AXES)}; without any: all")
    parser.add_argument("--repeats", type=int, default=3, help="of each point that does not take long")
    parser.add_argument("--quick", action="store_true", help="leave out the larger sizes")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="folder of growth.json and the figures")
    chosen = parser.parse_args(arguments)
    check_choice(parser, "axis", chosen.axes, AXES, chosen.repeats)
    if chosen.write is not None:
        check_folder(parser, "--write", chosen.write)
    console = Console()
    before, started = circumstances(), time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        axes = [AXES[name] for name in chosen.axes or AXES]
        points = measured(axes, chosen.repeats, Path(place), console, quick=chosen.quick)
    seconds = round(time.monotonic() - started, 1)
    told = {**before, "repeats": chosen.repeats, "seconds": seconds, "axes": points}
    console.print(section(points, "."), markup=False, soft_wrap=True)
    if chosen.write is not None:
        write(told, chosen.write)
    if missing := [axis.name for axis in axes if axis.name not in points]:
        sys.exit(f"failed: {', '.join(missing)}")


if __name__ == "__main__":
    main()
