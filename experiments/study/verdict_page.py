"""A study's one page: which combination is best against whom, and what each defence costs and buys."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.folder import RunFolder
from experiments import wording
from experiments.study import phrasing
from experiments.study.combinations import (
    Best,
    Combination,
    Effect,
    Scenario,
    best,
    combinations,
    effects,
    scenarios,
    threats_of,
    together,
)
from experiments.study.deciding import without_width
from experiments.study.evidence import Numbers, flagged, unique
from experiments.study.outcome import task_of
from experiments.study.provenance import provenance
from experiments.study.results import Estimate, Result, estimated
from experiments.study.way import way_of

NAMED = 3
"""Rivals that a tie names; the rest are counted."""
UNATTACKED = "Nothing was attacked, so nothing is known of robustness."


@dataclass(frozen=True)
class Answer:
    """Which combination is best under one threat, in words."""

    heading: str
    detail: str
    style: str
    word: str
    winner: str
    accuracy: str
    others: str


@dataclass(frozen=True)
class Number:
    """A printed mean, its interval and n, and whether it is for the better (``right``) or for the worse (``wrong``)."""

    mean: str
    interval: str = ""
    style: str = ""


@dataclass(frozen=True)
class Cost:
    """What a defence changes: clean accuracy and accuracy by threat, attack success, and ratios of seconds, of the
    model's bytes and of the bytes that clients send."""

    defence: str
    pairs: int
    accuracies: tuple[Number, ...]
    successes: tuple[Number, ...]
    times: tuple[Number, ...]


@dataclass(frozen=True)
class Row:
    """One combination in the table of all: its accuracies, what it costs, and its runs as (repeat, address)."""

    label: str
    accuracies: tuple[Number, ...]
    facts: tuple[str, ...]
    runs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Board:
    """One scenario on the page."""

    title: str
    answers: tuple[Answer, ...]
    tried: tuple[str, ...]
    rows: tuple[Row, ...]


def verdict_page(
    title: str,
    results: Sequence[Result],
    figures: Mapping[str, str],
    failures: Sequence[tuple[str, str]],
    scale: str = "",
    *,
    description: str = "",
    cells: int | None = None,
    command: str = "",
    folder: Path | None = None,
) -> str:
    """Return a study's page as one HTML file that loads nothing.

    Args:
        title: the study's.
        results: its finished cells; none are fine.
        figures: caption → figure as SVG text; text without ``<svg`` is shown as a sentence.
        failures: (cell, reason) of those that failed or were not reached.
        scale: the scale's name and description.
        description: the study's.
        cells: how many cells it has in all; None: those finished or failed.
        command: what runs it again.
        folder: where the page will lie, for links to the runs' folders; None: links are absolute.
    """
    found = unique(results)
    boards = scenarios(combinations(found))
    compared = ways_compared(found, bool(figures)) if headline(boards) == UNATTACKED else ""
    repeats = len({result.cell.repeat for result in found})
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals.update(words=wording)
    environment.filters.update(whole=_whole)
    return environment.get_template("verdict_page.html.j2").render(
        title=title or "Study",
        description=description,
        scale=wording.sentence(scale),
        headline=compared or headline(boards),
        compared=bool(compared),
        done=len(results),
        cells=cells if cells is not None else len(results) + len(failures),
        repeats=repeats,
        boards=[_board(scenario, members, folder, repeats) for scenario, members in boards.items()],
        overview=_overview(boards),
        costs=_costs(boards, repeats),
        figures=[(caption, drawing(figure)) for caption, figure in figures.items()],
        failures=failures,
        doubted=_doubted(found),
        synthetic=any(result.manifest.get("data", {}).get("synthetic") for result in found),
        provenance=provenance(found) if found else "",
        command=command,
        studies=list(dict.fromkeys(result.cell.study for result in results)),
    )


def headline(boards: Mapping[Scenario, Sequence[Combination]]) -> str:
    """Return the page's one sentence: who is best in the worst case, over all attacks that were tried."""
    found = [best(members, "all") for members in boards.values()]
    tried = [one for one in found if one is not None]
    if not boards:
        return "No cell is finished yet."
    if not tried:
        return UNATTACKED
    if len(tried) > 1:
        clear = sum(one.clear for one in tried)
        where = f"in {clear} of {len(tried)} scenarios" if clear else f"in any of {len(tried)} scenarios"
        return f"{'A' if clear else 'No'} clear winner in the worst case {where}."
    only = tried[0]
    left = wording.percent(only.accuracy.mean, 0)
    if only.clear:
        return f"Best in the worst case: {only.winner.label}, at {left}."
    if only.tried == 1:
        return f"One combination alone: {only.winner.label} keeps {left} in the worst case."
    if only.accuracy.low is None:
        return f"A single repeat decides nothing; {only.winner.label} leads with {left} in the worst case."
    alike = (only.winner, *only.rivals)
    who = _named(alike) if len(alike) <= NAMED else f"{len(alike)} of {only.tried} combinations"
    return f"No clear winner in the worst case: {who} tie at about {left}."


def ways_compared(results: Sequence[Result], drawn: bool) -> str:
    """Return what a study compares whose cells train without a server; empty where none does.

    Args:
        results: its finished cells, none of them attacked at inference.
        drawn: whether figures stand on the page.
    """
    if not any(result.cell.experiment.protocol == "braintorrent" for result in results):
        return ""
    ways = [way_of(result.cell.experiment) for result in results]
    methods = len({way.method for way in ways})
    what = f"{methods} ways to train together" if methods > 1 else "One way to train together"
    honest = " and without" if any(not way.abuse for way in ways) else ""
    abused = f", with{honest} peers that misbehave," if any(way.abuse for way in ways) else ""
    scores = wording.listed(sorted({task_of(result) for result in results}, key=str.lower))
    return (
        f"{what}{abused} scored by {scores} on unchanged test images: see the {'figures and ' if drawn else ''}tables."
    )


def drawing(figure: str) -> Markup:
    """Return a figure ready for the page: an SVG without what only a file of its own needs, or a sentence.

    One whose colours are the page's variables stands on the page; any other has its own, for white paper, and gets it.
    """
    begin = figure.find("<svg")
    if begin < 0:
        return figure if isinstance(figure, Markup) else Markup("<p>{}</p>").format(figure)
    text = re.sub(r"<metadata>.*?</metadata>", "", figure[begin:], flags=re.DOTALL)
    opening = re.match(r"<svg[^>]*>", text)
    if opening is None:
        return Markup("<p>The figure could not be read.</p>")
    # The page decides how wide a figure is.
    sized = re.sub(r'\s(width|height)="[^"]*"', "", opening[0])
    style = "wide" if "var(--ink" in text else "plate"
    return Markup(f'<div class="{style}">{sized}{text[opening.end() :]}</div>')


def _board(scenario: Scenario, members: Sequence[Combination], folder: Path | None, usual: int) -> Board:
    tried = threats_of(members)
    rows = []
    for one in members:
        accuracies = (_estimate(one.accuracy(threat)) for threat in ("clean", *tried))
        facts = (_epsilon(one), _mean(one.seconds(), wording.duration), _mean(one.size(), wording.size))
        shown = tuple(_number(accuracy, phrasing.share, usual) for accuracy in accuracies)
        rows.append(Row(one.label, shown, facts, tuple(_links(one, folder))))
    headings = tuple(wording.heading(threat) for threat in tried)
    return Board(scenario.title(), tuple(_answers(members, tried)), headings, tuple(rows))


def _answers(members: Sequence[Combination], tried: Iterable[str]) -> Iterable[Answer]:
    for threat in ("clean", *tried):
        found = best(members, threat)
        if found is None:
            continue
        heading, detail = wording.HEADINGS.get(threat, (threat, ""))
        if threat == "all":
            detail = next((told for one in members if (told := one.bounded())), detail)
        style, word = _word(found)
        accuracy = phrasing.share(found.accuracy)
        yield Answer(heading, detail, style, word, found.winner.label, accuracy, _others(found, members))


def _word(found: Best) -> tuple[str, str]:
    """Return (style, verdict in a word) of a comparison."""
    if found.clear:
        return "yes", f"clearly best of {found.tried}"
    if found.tried == 1:
        return "open", "alone"
    if found.accuracy.low is None:
        return "open", f"one repeat, of {found.tried}"
    return "open", f"tie, {len(found.rivals) + 1} of {found.tried}"


def _others(found: Best, members: Sequence[Combination]) -> str:
    """Return who else is in a tie, and what sets all in it apart from some that are not."""
    if not found.rivals or found.accuracy.low is None:
        return ""
    alike = (found.winner, *found.rivals)
    shared = [
        word if having[0] else f"not {word}"
        for word, has in (
            ("private", attrgetter("private")),
            ("compressed", attrgetter("compressed")),
            ("adversarially trained", attrgetter("trained")),
        )
        if len(set(having := [has(one) for one in alike])) == 1 and len({has(one) for one in members}) > 1
    ]
    told = f"with {_named(found.rivals)}"
    return told + (f"; all {wording.listed(shared)}" if shared else "")


def _whole(text: str) -> str:
    """Return a name whose numbers do not part from their units at the end of a line."""
    return text.replace(" %", "\u00a0%").replace("ε = ", "ε\u00a0=\u00a0")


def _named(found: Sequence[Combination]) -> str:
    names = [one.label for one in found[:NAMED]]
    more = len(found) - len(names)
    return wording.listed([*names, f"{more} more"] if more else names)


def _overview(boards: Mapping[Scenario, Sequence[Combination]]) -> list[tuple[str, Answer]]:
    """Return the worst case of each scenario, where there are several."""
    if len(boards) < 2:
        return []
    rows = [(scenario.title(), list(_answers(members, ["all"]))[-1:]) for scenario, members in boards.items()]
    return [(title, answers[0]) for title, answers in rows if answers and answers[0].heading != "No adversary"]


def _costs(boards: Mapping[Scenario, Sequence[Combination]], usual: int) -> dict[str, Any]:
    """Return the tables of what each defence changes: all scenarios together, then one by one, each a (title, rows)."""
    tried = threats_of(one for members in boards.values() for one in members)
    single = [(scenario.title(), effects(members)) for scenario, members in boards.items()]
    everything = [effect for _, found in single for effect in found]
    joint = together(everything)
    if len(everything) > len(joint):
        single = [("Over all strengths and scenarios", joint), *single]
    tables = [(title, [_cost(effect, tried, usual) for effect in found]) for title, found in single if found]
    attacks = [wording.heading(threat) for threat in tried]
    return {
        "tried": attacks,
        "attacked": [name for name in attacks if name != wording.heading("all")],
        "tables": tables,
    }


def _cost(effect: Effect, tried: Sequence[str], usual: int) -> Cost:
    accuracies = [effect.change(partial(Combination.accuracy, threat=threat)) for threat in ("clean", *tried)]
    successes = [effect.change(partial(Combination.success, threat=threat)) for threat in tried if threat != "all"]
    ratios = [effect.ratio(measured) for measured in (Combination.seconds, Combination.size, Combination.sent)]
    return Cost(
        defence=effect.defence,
        pairs=len(effect.pairs),
        accuracies=tuple(_number(one, phrasing.points, usual, _style(one)) for one in accuracies),
        successes=tuple(_number(one, phrasing.points, usual, _style(one, good=-1)) for one in successes),
        times=tuple(_number(one, phrasing.times, usual) for one in ratios),
    )


def _style(change: Estimate | None, good: int = 1) -> str:
    """Return ``right`` or ``wrong`` where a whole interval is for the better or for the worse, else nothing."""
    if change is None or change.low is None or change.high is None:
        return ""
    low, high = sorted((good * change.low, good * change.high))
    return "right" if low > 0 else "wrong" if high < 0 else ""


def _number(estimate: Estimate | None, show: Callable[[Estimate | None], str], usual: int, style: str = "") -> Number:
    """Return an estimate for a cell of a table: repeats only where they are not as usual, no interval without width."""
    mean, _, rest = show(estimate).replace(" points", "").partition(" (")
    told = rest.removesuffix(")").split("; ") if rest else []
    if estimate is not None and without_width(estimate):
        told = told[1:]
    return Number(mean, "; ".join(word for word in told if word != f"n = {usual}"), style)


GUESSING = "int8 is not shown to be better than always answering"
"""How ``server.notes`` notes a model that has learned nothing."""


def _doubted(results: Sequence[Result]) -> str:
    """Return which evaluations flagged themselves, as a sentence; empty if none did."""
    guessing = sum(
        any(warning["sentence"].startswith(GUESSING) for warning in one.evaluation.get("warnings", ()))
        for one in results
    )
    chance = (
        f"{guessing} of {len(results)} models are not shown to be better than always answering the commonest class: "
        "nothing can be learned of their robustness. "
        if guessing
        else ""
    )
    doubted = [one for one in results if not one.evaluation.get("credible", True)]
    if not doubted:
        return chance
    sentences = [sentence for target in ("int8", "fp32") for sentence in flagged(results, target)[1]]
    example = f" For example: {wording.sentence(sentences[0])}" if sentences else ""
    told = f"{len(doubted)} of {len(results)} evaluations flagged themselves: their models are probably less robust"
    return f"{chance}{told} than printed.{example}"


def _links(one: Combination, folder: Path | None) -> Iterable[tuple[str, str]]:
    """Yield (repeat, address) of each run: its report where one is drawn, else its folder."""
    for result in one.results:
        report = RunFolder(result.path).report
        place = report if report.is_file() else result.path
        address = place.as_posix() if folder is None else Path(os.path.relpath(place, folder)).as_posix()
        yield str(result.cell.repeat + 1), address


def _epsilon(one: Combination) -> str:
    reached = one.epsilon().values()
    return f"{max(reached):.2f}" if reached else wording.NONE


def _mean(numbers: Numbers, show: Callable[[float], str]) -> str:
    return show(sum(numbers.values()) / len(numbers)) if numbers else wording.NONE


def _estimate(numbers: Numbers) -> Estimate | None:
    return estimated(list(numbers.values()))
