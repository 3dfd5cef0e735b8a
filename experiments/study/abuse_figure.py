"""Test scores under each abuse of the protocol, merge rule beside merge rule."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.drawing import INK, RULE, styled
from experiments.study.marks import level
from experiments.study.outcome import trained
from experiments.study.points import Point, at, known, seen, slug
from experiments.study.protocol_figure import is_main, is_own, protocol_points
from experiments.study.results import Result
from experiments.study.sheet import (
    SMALL,
    TEXT,
    Heading,
    Margins,
    measured_on,
    nothing,
    panel_title,
    percent_axis,
    sheet,
    whole_range,
    width_of,
)
from experiments.study.style import line_key
from experiments.study.way import NOBODY
from experiments.study.way_looks import method_looks, short


def abuse_points(results: Sequence[Result]) -> list[Point]:
    """Return what ``protocol_points`` does, of methods and places that were tried under abuse, too."""
    abused = [one for one in trained(results) if one.way.abuse]
    tried = {(one.where()["split"], one.way.peers, one.name, one.way.updates) for one in abused}
    return [
        one
        for one in protocol_points(results)
        if (one.where["split"], one.where["peers"], one.where["method"], one.where["local updates"]) in tried
    ]


def draw_abuses(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw a row an abuse, a mark a method: the aggregated model beside the honest peers' own models, on average.

    A figure a split and number of peers.
    """
    scores = [one for one in points if is_main(one) or is_own(one)]
    places = list(dict.fromkeys((one.where["split"], one.where["peers"]) for one in scores))
    return [
        (slug(f"{split} {peers} peers") if number else "", _sheet(at(scores, split=split, peers=peers), heading))
        for number, (split, peers) in enumerate(places)
    ]


def _sheet(points: Sequence[Point], heading: Heading) -> Figure:
    rows = [NOBODY, *(str(abuse) for abuse in seen(points, "abuse") if abuse != NOBODY)]
    looks = method_looks(str(one.where["method"]) for one in points)
    left = 0.2 + max(width_of(row, SMALL) for row in rows)
    peers, split = points[0].where["peers"], points[0].where["split"]
    heading = heading.noting(
        f"One of {peers} peers misbehaves as the row says; all else as in the first row. Split: {split}.",
        "Left: the model that the method makes of all peers' models, the liar's among them.",
        measured_on(points),
    )
    step = 0.8 / max(1, len(looks))
    with styled():
        figure, [panels] = sheet(
            heading, height=(0.16 + 0.12 * len(looks)) * len(rows) + 0.1, columns=2,
            legend=[line_key(short(method), look) for method, look in looks.items()],
            margins=Margins(left=left, right=0.25, bottom=0.55),
        )  # fmt: skip
        for number, (axes, wanted) in enumerate(zip(panels, (is_main, is_own), strict=True)):
            mine = [one for one in points if wanted(one)]
            for lane, (method, look) in enumerate(looks.items()):
                for one, estimate in known(at(mine, method=method)):
                    y = rows.index(str(one.where["abuse"])) + (lane - (len(looks) - 1) / 2) * step
                    level(axes, y, estimate, look, aside=0.3 * step, size=4.5)
            for y in range(1, len(rows), 2):
                axes.axhspan(y - 0.5, y + 0.5, color=RULE, alpha=0.35, linewidth=0, zorder=0)
            if not known(mine):
                nothing(axes)
            panel_title(axes, "Honest peers' own models" if number else "Aggregated model")
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.set_yticks(range(len(rows)), [] if number else rows)
            axes.tick_params(axis="y", labelcolor=INK)
            whole_range(axes.set_xlim)
            percent_axis(axes.xaxis, unit="")
            axes.grid(axis="x")
            axes.spines["left"].set_visible(False)
            score = next((str(one.where["metric"]) for one in points if is_main(one)), "score")
            axes.set_xlabel(f"{score} (%)", size=TEXT)
        return figure
