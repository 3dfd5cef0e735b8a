"""``python -m experiments.bench.secure``: what the secure protocol costs, and how that grows.

Each round runs in a program of its own, all roles in one process and one thread, and must come to the plain rule's
result. CPU seconds are all peers' together; beside them is what plain aggregation of the same updates takes in the same
program. ``--write DOCS`` writes the tables and the figure into a folder of documents.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from common.code import ROOT
from common.folder import write_text
from experiments.bench.growth_fit import UPPER, exponent
from experiments.bench.one_program import answer
from experiments.drawing import FP32, INK, INT8, styled, svg
from server.provenance import machine


@dataclass(frozen=True)
class Cell:
    """One round.

    Attributes:
        rule: as ``secure.rule`` names it.
        peers: n.
        faults: f, and as large a coalition.
        size: d, numbers of an update.
    """

    rule: str
    peers: int
    faults: int
    size: int


LARGE = Cell("rsa", 100, 20, 1_000_000)
"""The published size."""
RULES = [Cell(rule, 20, 4, 100_000)
         for rule in ("rsa", "box-clipping", "norm-bounded-mean", "fltrust", "multi-krum", "median")]  # fmt: skip
BY_PEERS = [Cell("rsa", peers, peers // 5, 10_000) for peers in (10, 20, 40, 80, 160)]
BY_SIZE = [Cell("rsa", 20, 4, size) for size in (1_000, 10_000, 100_000, 1_000_000)]
"""d from 10³ to 10⁶."""


def measured(cell: Cell) -> dict[str, Any]:
    """Return what one round costs (``experiments.secure_cost``). Raises RuntimeError: it failed."""
    command = [sys.executable, "-m", "experiments.secure_cost", "--rule", cell.rule]
    command += ["--peers", str(cell.peers), "--faults", str(cell.faults), "--size", str(cell.size)]
    try:
        told: dict[str, Any] = answer(command, ROOT, OPENBLAS_NUM_THREADS="1")
    except RuntimeError as error:
        raise RuntimeError(f"{cell}: {error}") from None
    return told


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the median, and the least and the most where there are several."""
    middle = f"{median(values):.{digits}g}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}g} to {max(values):.{digits}g})"


def phases_table(repeats: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of a table of phases: CPU seconds of all peers, of each, and their share."""
    peers = repeats[0]["peers"]
    lines = ["| phase | CPU-s, all peers | a peer | share |", "|---|---|---|---|"]
    whole = median([sum(one["phases"].values()) for one in repeats])
    for phase in repeats[0]["phases"]:
        seconds = [one["phases"][phase] for one in repeats]
        middle = median(seconds)
        lines.append(f"| {phase} | {spread(seconds)} | {middle / peers:.2g} | {middle / whole:.0%} |")
    return lines


def cells_table(measures: Sequence[Sequence[dict[str, Any]]]) -> list[str]:
    """Return the lines of a table of rounds: what each costs, and how that compares with plain aggregation."""
    lines = [
        "| rule | n | f = t | d | secrets on a polynomial | CPU-s, all peers | a peer | MB sent by a peer | peak GB "
        "| ratio to plain FedAvg's sum | to the plain votes' |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for repeats in measures:
        one, seconds = repeats[0], [told["seconds"] for told in repeats]
        mean, votes = (
            median([told["seconds"] / told["plain"][name] for told in repeats]) for name in ("fedavg", "rsa")
        )
        lines.append(
            f"| `{one['rule']}` | {one['peers']} | {one['faults']} | {one['size']:,} | {one['packing']} "
            f"| {spread(seconds)} | {median(seconds) / one['peers']:.2g} | {one['up'] / 1e6:,.3g} "
            f"| {median([told['memory'] for told in repeats]) / 1e9:.2g} | {mean:,.0f} | {votes:,.0f} |"
        )
    return lines


def growth(measures: Sequence[Sequence[dict[str, Any]]], axis: str) -> dict[str, float]:
    """Return the exponents of what grows along ``peers`` or ``size``, fitted to its upper three points."""
    points = [(one[0][axis], one) for one in measures][-UPPER:]
    return {
        "CPU seconds of all": exponent([(x, median([told["seconds"] for told in one])) for x, one in points]),
        "bytes of a peer": exponent([(x, float(one[0]["up"])) for x, one in points]),
        "peak memory": exponent([(x, median([told["memory"] for told in one])) for x, one in points]),
    }


def figure(by_peers: Sequence[Sequence[dict[str, Any]]], by_size: Sequence[Sequence[dict[str, Any]]]) -> str:
    """Return both growths as an SVG, CPU seconds and bytes of one peer on logarithmic axes."""
    with styled():
        drawn = Figure(figsize=(7.6, 3.1), layout="constrained")
        sides = ((by_peers, "peers", "peers n"), (by_size, "size", "numbers of an update d"))
        for axes, (measures, axis, label) in zip(drawn.subplots(1, 2), sides, strict=True):
            x = [one[0][axis] for one in measures]
            seconds = [[told["seconds"] / told["peers"] for told in one] for one in measures]
            middle = np.array([median(one) for one in seconds])
            low, high = (np.array([least(one) for one in seconds]) for least in (min, max))
            axes.errorbar(x, middle, [middle - low, high - middle], color=FP32, marker="o", label="CPU-s of a peer")
            axes.plot(x, [one[0]["up"] / 1e6 for one in measures], color=INT8, marker="s", label="MB sent by a peer")
            axes.set(xscale="log", yscale="log", xlabel=label)
            for ticks in (axes.xaxis, axes.yaxis):
                ticks.set_major_formatter(lambda value, _: f"{value:,g}")
            axes.grid(visible=True, alpha=0.6)
            axes.legend(frameon=False, labelcolor=INK, loc="upper left")
            axes.margins(y=0.25)
        told = "What a round of the secure protocol costs a peer, by the number of peers and of weights"
        return str(svg(drawn, "secure-growth", told))


def report(repeats: int, *, large: bool, console: Console) -> tuple[str, str]:
    """Measure everything; return the tables as Markdown, and the figure."""
    cells = [*([LARGE] if large else []), *RULES, *BY_PEERS, *BY_SIZE]
    found: dict[Cell, list[dict[str, Any]]] = {}
    for repeat in range(repeats):  # in turn, so that a slow spell of the machine hits all
        for cell in dict.fromkeys(cells):
            found.setdefault(cell, []).append(measured(cell))
            console.print(f"{repeat + 1}/{repeats} {cell}: {found[cell][-1]['seconds']:.3g} CPU-s", markup=False)
    facts = machine()
    told = "repeat" if repeats == 1 else "repeats in turn: median (least to most)"
    lines = [f"{facts['cpu']}, {facts['cores']} cores, one thread; {repeats} {told}.", ""]
    by_peers, by_size = [found[cell] for cell in BY_PEERS], [found[cell] for cell in BY_SIZE]
    shown = [found[cell] for cell in dict.fromkeys(cells)]
    lines += [*cells_table(shown), ""]
    if large:
        lines += [f"Phases at n = {LARGE.peers}, d = {LARGE.size:,}:", "", *phases_table(found[LARGE]), ""]
    for axis, measures in (("n", by_peers), ("d", by_size)):
        fitted = growth(measures, "peers" if axis == "n" else "size")
        lines += [f"Exponents in {axis}: " + ", ".join(f"{name} {value:.2f}" for name, value in fitted.items()) + "."]
    return "\n".join(lines) + "\n", figure(by_peers, by_size)


def main() -> None:
    """Measure, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="without the round of 100 peers and a million numbers")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="folder of documents to write tables and figure to")
    told = parser.parse_args()
    console = Console()
    tables, drawn = report(told.repeats, large=not told.small, console=console)
    console.print(tables, markup=False)
    if told.write is not None:
        write_text(told.write / "figures" / "tables" / "secure-costs.md", tables)
        write_text(told.write / "figures" / "secure-growth.svg", drawn)


if __name__ == "__main__":
    main()
