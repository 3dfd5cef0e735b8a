"""Final test scores by method and number of peers, at equal local updates and at equal bytes."""

from collections.abc import Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from experiments.drawing import RULE, styled
from experiments.study.deciding import without_width
from experiments.study.marks import baseline, upright
from experiments.study.outcome import (
    ABOUT,
    AS_MANY_BYTES,
    OWN,
    Trained,
    by_updates,
    bytes_moved,
    local_updates,
    own_score,
    score,
    trained,
)
from experiments.study.points import Point, Value, at, known, point, seen
from experiments.study.results import Estimate, Result, estimate
from experiments.study.sheet import (
    Heading,
    measured_on,
    nothing,
    panel_title,
    percent_axis,
    sheet,
)
from experiments.study.style import band_key, marker_key
from experiments.study.way import ALONE, BRAINTORRENT, NOBODY, POOLED
from experiments.study.way_looks import method_looks, short
from experiments.wording import percent

MOVED, MADE = "bytes moved", "local updates in all"
_UPDATES = "local updates"


def protocol_points(results: Sequence[Result]) -> list[Point]:
    """Return every cell's test score, its peers' own models' mean, and what it moved and computed; abused ones, too."""
    return [one for cell in trained(results) for one in _points(cell)]


def draw_protocols(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw a panel a split: the score of each method over the number of peers, pooled training as a level."""
    scores = [one for one in points if one.where["abuse"] == NOBODY and is_main(one)]
    pooled = known(at(scores, method=POOLED))
    mine = [one for one in scores if one.where["method"] != POOLED]
    splits = [split for split in seen(mine, "split") if split]
    sizes = sorted({_number(one.where["peers"]) for one in mine})
    looks = method_looks(str(one.where["method"]) for one in mine)
    legend = [marker_key(short(method), look) for method, look in looks.items()]
    legend += [band_key(POOLED)] if pooled else []
    there = set(looks)
    low, high = _limits(scores)
    intervals = [end for _, found in known(scores) for end in (found.low, found.high) if end is not None]
    beyond = any(not low <= end <= high for end in intervals)
    heading = heading.noting(
        measured_on(scores),
        _lengths(scores),
        f"{ALONE}: mean of the peers' own models." if ALONE in there else "",
        "Intervals that reach beyond a panel are cut at its edge." if beyond else "",
    )
    with styled():
        figure, [panels] = sheet(heading, height=2.6, columns=max(1, len(splits)), legend=legend)
        for number, (axes, split) in enumerate(zip(panels, splits or [""], strict=True)):
            for _, level in pooled:
                baseline(axes, level)
            lanes = list(looks)
            step = 0.8 / max(1, len(lanes))
            for lane, (method, look) in enumerate(looks.items()):
                for one, found in known(at(mine, split=split, method=method)):
                    x = sizes.index(_number(one.where["peers"])) + (lane - (len(lanes) - 1) / 2) * step
                    upright(axes, x, found, look, aside=0.35 * step, size=5.5, cut=True)
            if not known(at(mine, split=split)):
                nothing(axes)
            for x in range(1, len(sizes)):
                axes.axvline(x - 0.5, color=RULE, linewidth=0.8, zorder=0)
            panel_title(axes, f"Split: {split}" if split else "")
            axes.set_xlim(-0.5, len(sizes) - 0.5)
            axes.set_xticks(range(len(sizes)), [str(one) for one in sizes])
            axes.set_ylim(low, high)
            percent_axis(axes.yaxis)
            axes.grid(axis="y")
            axes.set_xlabel("peers")
            if number:
                axes.tick_params(axis="y", labelleft=False)
        panels[0].set_ylabel(str(next(iter(seen(scores, "metric")), "score")))
        return [("", figure)]


def _limits(scores: Sequence[Point]) -> tuple[float, float]:
    """Return a scale on which all means and single repeats can be told apart, however wide their intervals are."""
    single = [value for _, found in known(scores) for value in (found.mean, *found.values)]
    low, high = min(single, default=0.0), max(single, default=1.0)
    reach = max(0.05, high - low)
    return max(-0.03, low - 0.35 * reach), min(1.03, high + 0.25 * reach)


def _lengths(scores: Sequence[Point]) -> str:
    """Return how long methods trained whose names say so, and the rest, in a note; empty where no name does."""
    bytes_alike = [one for one in scores if str(one.where["method"]).startswith(AS_MANY_BYTES)]
    neither = [one for one in scores if str(one.where["method"]).startswith(by_updates(_number(one.where[_UPDATES])))]
    rest = [one for one in scores if one not in bytes_alike and one not in neither]
    told = []
    if bytes_alike:
        told.append(
            f"{AS_MANY_BYTES}: trained until it has moved what {BRAINTORRENT} moves, within {percent(ABOUT, 0)} on "
            "average over repeats."
        )
    for updates in sorted({_number(one.where[_UPDATES]) for one in neither}):
        told.append(f"{by_updates(updates)}: as many neither in bytes nor in local updates.")
    if told and len({one.where[_UPDATES] for one in rest}) == 1:
        told.append("All others made as many local updates.")
    return " ".join(told)


def _points(cell: Trained) -> list[Point]:
    where = cell.where()
    found = [point(cell.results, where | {"metric": cell.task}, score)]
    own = point(cell.results, where | {"metric": cell.task + OWN}, own_score)
    found += [own] if own.estimate is not None else []
    for metric, measured in ((MOVED, bytes_moved), (MADE, local_updates)):
        found.append(Point(where | {"metric": metric}, _counted(estimate(cell.results, measured))))
    return found


def is_main(one: Point) -> bool:
    """Tell whether a point is the score that a method is judged by."""
    return str(one.where["metric"]) not in (MOVED, MADE) and not is_own(one)


def is_own(one: Point) -> bool:
    """Tell whether a point is the mean of the peers' own models."""
    return str(one.where["metric"]).endswith(OWN)


def _counted(found: Estimate | None) -> Estimate | None:
    """Return a count without an interval where all repeats are equal: it cannot vary."""
    return replace(found, low=None, high=None) if found is not None and without_width(found) else found


def _number(value: Value) -> int:
    return int(value) if isinstance(value, int | float) else 0
