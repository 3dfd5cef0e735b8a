"""Publishing: a study's figures by name, each with the table of the same numbers, as files."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from common.errors import UserError
from common.loading import suggest
from experiments.study.abuse_figure import abuse_points, draw_abuses
from experiments.study.accuracy_figure import accuracy_points, draw_accuracies
from experiments.study.alike import confused
from experiments.study.budget_figures import budget_points, draw_budgets, draw_privacies, privacy_points
from experiments.study.cheater_figure import cheater_points, draw_cheaters
from experiments.study.coordinate_figure import coordinate_points, draw_coordinates
from experiments.study.cost_table import SECONDS, cost_points
from experiments.study.curve_figure import curve_points, draw_curves
from experiments.study.figure_files import inline, write_figure
from experiments.study.heat_map import draw_heat_map, heat_points
from experiments.study.points import Point, families, known
from experiments.study.protocol_figure import draw_protocols, protocol_points
from experiments.study.results import Result
from experiments.study.share_figures import draw_loss, draw_shares, loss_points, share_points
from experiments.study.sheet import Heading
from experiments.study.tables import Table, write_table
from experiments.study.trade_off import draw_trade_off, trade_off_points
from experiments.study.transfer_figures import draw_matrix, draw_transfer, matrix_points, transfer_points


@dataclass(frozen=True)
class Kind:
    """One kind of figure.

    Attributes:
        title: its own, where a study gives none.
        points: results → its numbers, expected ones without estimate among them.
        draw: numbers of one family and what stands around them → (suffix of the file's name, figure), the first bare.
        apart: the columns whose values get a figure each.
        across: the columns that its table has side by side.
        needs: what a result must have to be drawn, in words, for when none has.
        all_told: it tells apart all cells that differ in anything, so that none can be taken for another.
    """

    title: str
    points: Callable[[Sequence[Result]], list[Point]]
    draw: Callable[[Sequence[Point], Heading], list[tuple[str, Figure]]]
    apart: tuple[str, ...]
    across: tuple[str, ...]
    needs: str
    all_told: bool = False


_ALIKE = ("data", "model", "budget")
KINDS: Mapping[str, Kind] = {
    "transfer": Kind(
        "Accuracy under transfer attacks, private and not", transfer_points, draw_transfer, _ALIKE,
        ("target", "threat", "generator"), "a setting without adversarial data",
    ),
    "transfer-matrix": Kind(
        "Transfer between private and non-private models", matrix_points, draw_matrix, _ALIKE,
        ("target", "metric"), "a setting without adversarial data",
    ),
    "loss-by-share": Kind(
        "Accuracy lost to transfer attacks after adversarial training", loss_points, draw_loss,
        (*_ALIKE, "epsilon"), ("target", "training attack"), "a setting with adversarial training under transfer",
    ),
    "accuracy-by-share": Kind(
        "Accuracy with a train-time attacker", share_points, draw_shares, _ALIKE,
        ("epsilon", "target"), "a setting with a train-time attacker",
    ),
    "accuracies": Kind(
        "Clean accuracy of every setting", accuracy_points, draw_accuracies, ("data", "model"),
        ("epsilon", "target"), "a scored cell",
    ),
    "heat-map": Kind(
        "Accuracy by attack and defence", heat_points, draw_heat_map, _ALIKE,
        ("epsilon", "use", "target"), "a setting without a malicious client",
    ),
    "budget": Kind(
        "Accuracy by the adversary's budget", budget_points, draw_budgets, ("data", "model"),
        ("target", "budget"), "an attacked cell",
    ),
    "privacy": Kind(
        "Accuracy by ε", privacy_points, draw_privacies, _ALIKE,
        ("epsilon", "target"), "a setting without adversarial data",
    ),
    "trade-off": Kind(
        "Clean against robust accuracy", trade_off_points, draw_trade_off, _ALIKE,
        ("target", "threat"), "a setting without a malicious client",
    ),
    "grid": Kind(
        "Accuracy of every cell", coordinate_points, draw_coordinates, (), ("threat",), "a scored cell", True,
    ),
    "learning-curves": Kind(
        "Learning curves at equal local updates and at equal bytes", curve_points, draw_curves, ("data", "model"),
        ("axis",), "a federation with rounds that nobody abused", True,
    ),
    "protocols": Kind(
        "Final scores at equal local updates and at equal bytes", protocol_points, draw_protocols, ("data", "model"),
        ("metric",), "a scored cell", True,
    ),
    "protocol-attacks": Kind(
        "Final scores where a peer abuses the protocol", abuse_points, draw_abuses, ("data", "model"),
        ("metric",), "a peer that misbehaves", True,
    ),
    "cheaters": Kind(
        "Final scores under poisoners and cheating aggregators", cheater_points, draw_cheaters, ("data", "model"),
        ("metric",), "a scored cell", True,
    ),
}  # fmt: skip
"""Name → kind; the names that a study file may list as ``figures``."""


def kind_of(figure: str) -> Kind:
    """Return a kind of figure by its name. Raises UserError for a name that is none."""
    if figure not in KINDS:
        raise UserError(f"figures: there is no '{figure}'{suggest(figure, KINDS)}; known are {', '.join(KINDS)}")
    return KINDS[figure]


def draw(
    results: Sequence[Result], figure: str, title: str = "", notes: Sequence[str] = ()
) -> list[tuple[str, Figure]] | str:
    """Draw a figure of some results: one for each family of settings that belong together.

    Args:
        results: finished cells, as many as there are; what is missing is said in the figure.
        figure: a name of ``KINDS``.
        title: short; empty: the kind's own.
        notes: sentences to stand below it, for example how many cells are not finished.

    Returns:
        (stem of the file's name, figure), or a sentence where nothing can be drawn.

    Raises:
        UserError: no such figure.
    """
    kind = kind_of(figure)
    figures: list[tuple[str, Figure]] = []
    for family in families(results, kind.apart):
        points = kind.points(family.results)
        if known(points):
            heading = Heading(title or kind.title, family.subtitle, tuple(notes))
            if not kind.all_told:
                heading = heading.noting(_ambiguous(family.results))
            for suffix, one in kind.draw(points, heading):
                figures.append(("-".join(part for part in (figure, family.suffix, suffix) if part), one))
    return figures or f"Nothing to draw for '{figure}': it needs {kind.needs}, and no finished cell is one."


def table_of(results: Sequence[Result], figure: str, title: str = "") -> Table:
    """Return the numbers of all drawings of a figure as one table. Raises UserError: no such figure."""
    kind = kind_of(figure)
    points = [one for family in families(results, kind.apart) for one in kind.points(family.results)]
    note = "" if kind.all_told else _ambiguous(results)
    return Table(title or kind.title, tuple(points if known(points) else ()), kind.across, (note,) if note else ())


def cost_table(results: Sequence[Result], title: str = "What every setting costs") -> Table:
    """Return time, bytes, ε and sizes of every setting."""
    return Table(title, tuple(cost_points(results)), ("metric",), (SECONDS,))


def publish(
    results: Sequence[Result], figure: str, title: str, out: Path, *, notes: Sequence[str] = (), stem: str = ""
) -> list[Path]:
    """Write a figure and its table: ``FIGURE….svg``, ``.png``, ``.pdf`` and ``tables/FIGURE.csv``, ``.md``, ``.tex``.

    Args:
        results, figure, title, notes: as ``draw``.
        out: the study's folder.
        stem: what files are called instead of the figure's own name, for example ``fig5``.

    Returns:
        The files written; none where there is nothing to draw.

    Raises:
        UserError: no such figure, a full disk.
    """
    drawn = draw(results, figure, title, notes)
    if isinstance(drawn, str):
        return []
    files = [
        path for name, one in drawn for path in write_figure(one, (stem or figure) + name.removeprefix(figure), out)
    ]  # fmt: skip
    return files + write_table(table_of(results, figure, title), stem or figure, out / "tables")


def publish_costs(results: Sequence[Result], out: Path) -> list[Path]:
    """Write ``tables/costs.csv``, ``.md`` and ``.tex``; returns their paths. Raises UserError: a full disk."""
    return write_table(cost_table(results), "costs", out / "tables")


def inlined(results: Sequence[Result], figure: str, title: str = "", notes: Sequence[str] = ()) -> dict[str, Markup]:
    """Return a figure's drawings as ``<svg>`` elements for a page, by the stem of their files; a sentence as ``<p>``.

    Raises:
        UserError: no such figure.
    """
    drawn = draw(results, figure, title, notes)
    if isinstance(drawn, str):
        return {figure: Markup("<p>{}</p>").format(drawn)}
    return {name: inline(one, re.sub(r"[^a-z0-9-]", "-", name)) for name, one in drawn}


def _ambiguous(results: Sequence[Result]) -> str:
    """Return a sentence if cells share setting and repeat but not all of the rest, which no figure but grid shows."""
    more = confused(results)
    if not more:
        return ""
    return (
        f"{more} cell{'s differ' if more > 1 else ' differs'} from others in something that is not told apart here; of "
        "those alike the first counts."
    )
