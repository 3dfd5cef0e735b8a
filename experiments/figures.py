"""The figures over rounds and clients, each from plain numbers to one ``<svg>`` element."""

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from common.intervals import wilson
from experiments.drawing import CLASSES, INK, INT8, MUTED, PAPER, RULE, canvas, percent_ticks, styled, svg
from experiments.wording import listed, percent

_Style = str | tuple[float, tuple[float, ...]]
_End = tuple[float, str, str, _Style]
"""The right end of a line: its last value, its name, its colour and its style."""
_DASHED: _Style = (0, (2.2, 1.2))
_OUTCOMES = {
    "accepted": (CLASSES[2], CLASSES[2], ""),
    "refused": (INK, INT8, "xxx"),
    "failed": (INT8, "none", "////"),
    "silent": (INK, "none", ""),
    "absent": (RULE, "none", ""),
    "excluded": (MUTED, RULE, "----"),
}
"""What becomes of a client in a round → (edge, face, hatch): told apart by pattern too, not by colour alone."""
_CELLS = 2500
"""Beyond so many cells equal neighbours are drawn as one."""


def accuracy_by_round(
    rounds: Sequence[int],
    overall: Sequence[float | None],
    records: Sequence[int],
    clients: Sequence[tuple[str, bool, Sequence[float | None]]],
    *,
    bands: Sequence[tuple[float, float] | None] | None = None,
    score: str = "accuracy",
    model: str = "global model",
) -> Markup:
    """Draw the global model's accuracy, or another score, by round with its 95 % band, and every client's update's.

    Args:
        rounds: round numbers; the other sequences follow them.
        overall: the global model's accuracy, None where it was not measured.
        records: the records that these accuracies are measured on.
        clients: (name, honest, accuracies); a malicious client's line is dashed.
        bands: the 95 % intervals; without them Wilson's.
        score: what is drawn.
        model: what the model of all is called.
    """
    named = len(clients) <= len(CLASSES)
    with styled():
        figure, axes = canvas(9.6, 3.3, (0.65, 0.5, 2.5, 0.15))
        axes.set(ylim=(0, 1.005), xlim=(min(rounds) - 0.25, max(rounds) + 0.25))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
        percent_ticks(axes.yaxis)
        axes.grid(axis="y")
        axes.tick_params(length=0, pad=6)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("round")
        ends: list[_End] = []
        for number, (name, honest, values) in enumerate(clients):
            colour = CLASSES[number % len(CLASSES)] if named else MUTED
            style = "-" if honest else _DASHED
            _line(
                axes, rounds, values, colour, 1.2 if named else 0.6, style, "o" if honest else "X", 4 if honest else 6
            )
            last = _last(values)
            if named and last is not None:
                ends.append((last, _cut(name) + ("" if honest else ", malicious"), colour, style))
        if bands is None:
            bands = [wilson(v, n) if v is not None else None for v, n in zip(overall, records, strict=True)]
        lows, highs = zip(*(band or (float("nan"),) * 2 for band in bands), strict=True)
        axes.fill_between(rounds, lows, highs, color=INK, alpha=0.12, linewidth=0)
        _line(axes, rounds, overall, INK, 2.2, "-", "D", 4.5)
        if (last := _last(overall)) is not None:
            ends.append((last, model, INK, "-"))
        _labels(axes, ends)
        final = "not measured" if last is None else percent(last)
        return svg(figure, "rounds", f"{score.capitalize()} by round; the {model} ends at {final}.")


def partitions(classes: Sequence[str], clients: Sequence[tuple[str, Sequence[int]]]) -> Markup:
    """Draw how many records of each class every client holds; ``clients`` are (name, count of each class)."""
    rows = len(clients)
    step = 0.34 if rows <= 40 else max(0.05, 14 / rows)
    with styled():
        figure, axes = canvas(9.6, step * rows + 1.0, (1.9, 0.5, 0.3, 0.5))
        axes.set(ylim=(rows - 0.5, -0.5))
        for number, name in enumerate(classes):
            lefts = [sum(counts[:number]) for _, counts in clients]
            axes.barh(
                range(rows), [counts[number] if number < len(counts) else 0 for _, counts in clients], left=lefts,
                height=0.66, color=CLASSES[number % len(CLASSES)], edgecolor=PAPER, linewidth=0.8 if rows <= 40 else 0,
                hatch="///" if number >= len(CLASSES) else None, label=name,
            )  # fmt: skip
        axes.set_yticks(
            range(rows) if rows <= 40 else [], [_cut(name, 26) for name, _ in clients] if rows <= 40 else []
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 2.5, 5, 10]))
        axes.grid(axis="x", zorder=-1)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, pad=6)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("records")
        if len(classes) <= 12:
            columns = max(1, min(6, len(classes), 84 // (max(map(len, classes)) + 4)))
            axes.legend(
                loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, borderaxespad=0,
                handlelength=0.9, handleheight=0.9, columnspacing=1.6,
            )  # fmt: skip
        words = [f"{name} {sum(counts)}" for name, counts in clients[:40]]
        return svg(figure, "partitions", f"Records by client: {listed(words)}.")


def presence(rounds: Sequence[int], clients: Sequence[tuple[str, Sequence[str | None]]]) -> Markup:
    """Draw what became of every client in every round; ``clients`` are (name, outcome of each round, None: unknown)."""
    rows, singly = len(clients), len(rounds) * len(clients) <= _CELLS
    step = 0.3 if rows <= 40 else max(0.05, 12 / rows)
    with styled():
        figure, axes = canvas(9.6, step * rows + 1.1, (1.9, 0.5, 0.3, 0.6))
        axes.set(ylim=(rows - 0.5, -0.5), xlim=(min(rounds) - 0.6, max(rounds) + 0.6))
        for outcome, (colour, face, hatch) in _OUTCOMES.items():
            for row, (_, found) in enumerate(clients):
                spans = _spans([one == outcome for one in found], singly)
                places = [(rounds[begin] - 0.42, length - 0.16) for begin, length in spans]
                axes.broken_barh(
                    places, (row - 0.33, 0.66), facecolor=face, edgecolor=colour, hatch=hatch, linewidth=0.9
                )  # fmt: skip
        axes.set_yticks(
            range(rows) if rows <= 40 else [], [_cut(name, 26) for name, _ in clients] if rows <= 40 else []
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
        axes.tick_params(length=0, pad=6)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_xlabel("round")
        seen = {one for _, found in clients for one in found}
        shown = [name for name in _OUTCOMES if name in seen]
        keys = [Patch(facecolor=f, edgecolor=c, hatch=h, label=o) for o, (c, f, h) in _OUTCOMES.items() if o in shown]
        axes.legend(
            handles=keys, loc="lower left", bbox_to_anchor=(0, 1), ncols=6, frameon=False, borderaxespad=0,
            handlelength=1.1, handleheight=1.1, columnspacing=1.6,
        )  # fmt: skip
        words = [f"{name} accepted in {list(found).count('accepted')} of {len(rounds)}" for name, found in clients[:40]]
        return svg(figure, "presence", f"Who took part in which round: {listed(words)}.")


def _spans(found: Sequence[bool], singly: bool) -> list[tuple[int, int]]:
    """Return (first place, length) of every run of True; ``singly``: of every single one."""
    spans: list[tuple[int, int]] = []
    for place, one in enumerate(found):
        if not one:
            continue
        if not singly and spans and sum(spans[-1]) == place:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((place, 1))
    return spans


def epsilon_by_round(clients: Sequence[tuple[str, bool, Sequence[float | None]]], threshold: float | None) -> Markup:
    """Draw how each private client's ε grows over the rounds; ``clients`` are (name, honest, ε after each round)."""
    longest = max(len(values) for _, _, values in clients)
    known = [value for _, _, values in clients for value in values if value is not None]
    named = len(clients) <= len(CLASSES)
    with styled():
        figure, axes = canvas(9.6, 2.6, (0.65, 0.5, 2.5, 0.15))
        ceiling = 1.12 * max([*known, threshold or 0, 0.1])
        axes.set(xlim=(0.75, longest + 0.25), ylim=(0, ceiling))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
        axes.grid(axis="y")
        axes.tick_params(length=0, pad=6)
        axes.spines["left"].set_visible(False)
        axes.set(xlabel="round", ylabel="ε so far")
        ends: list[_End] = []
        for number, (name, honest, values) in enumerate(clients):
            colour = CLASSES[number % len(CLASSES)] if named else MUTED
            style = "-" if honest else _DASHED
            _line(axes, range(1, len(values) + 1), values, colour, 1.4, style, "o", 4)
            last = _last(values)
            if named and last is not None:
                ends.append((last, f"{_cut(name)} {last:.2f}", colour, style))
        if threshold is not None:
            axes.axhline(threshold, color=INK, linewidth=0.9)
            ends.append((threshold, f"asked for ≤ {threshold:g}", INK, "-"))
        _labels(axes, ends)
        words = [f"{name} {_last(values) or 0:.2f}" for name, _, values in clients[:40]]
        return svg(figure, "epsilon", f"ε by round; at the end: {listed(words)}.")


def _line(
    axes: Axes,
    rounds: Sequence[int],
    values: Sequence[float | None],
    colour: str,
    width: float,
    style: _Style,
    marker: str,
    markersize: float,
) -> None:
    numbers = [float("nan") if value is None else value for value in values]
    axes.plot(
        rounds, numbers, color=colour, linewidth=width, linestyle=style, marker=marker if len(rounds) <= 40 else "",
        markersize=markersize, markeredgecolor=PAPER, markeredgewidth=0.6, clip_on=False,
    )  # fmt: skip


def _labels(axes: Axes, ends: Sequence[_End]) -> None:
    """Name the lines at their right ends, pushed apart until no two names overlap."""
    figure = axes.get_figure(root=True)
    low, high = axes.get_ylim()
    gap = 15 / 72 / (axes.get_position().height * (figure.get_figheight() if figure else 1)) * (high - low)
    ordered = sorted(ends, key=lambda end: end[:2])
    places = [end[0] for end in ordered]
    for number in range(1, len(places)):
        places[number] = max(places[number], places[number - 1] + gap)
    ceiling = high
    for number in reversed(range(len(places))):
        places[number] = min(places[number], ceiling)
        ceiling = places[number] - gap
    right = axes.get_yaxis_transform()
    for place, (_, name, colour, style) in zip(places, ordered, strict=True):
        axes.plot([1.02, 1.055], [place] * 2, color=colour, linewidth=2.5, ls=style, transform=right, clip_on=False)
        weight = "bold" if colour == INK else "normal"
        axes.text(1.07, place, name, transform=right, va="center", size=9.5, weight=weight)


def _cut(name: str, longest: int = 24) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)
