"""Tables: the numbers of a figure as CSV (fractions), Markdown and LaTeX (per cent, with interval and repeats)."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.folder import write_text
from experiments.study.points import Point, Value, seen, words
from experiments.study.results import Estimate
from experiments.wording import NONE, duration, percent, size

PER_CENT = (
    "accuracy", "accuracy loss", "attack success", "size reduction", "Dice",
    *(score + end for score in ("Dice", "accuracy") for end in (" of own models", " on public images")),
    *(end + score for score in ("Dice", "accuracy") for end in ("lowest ", "highest ")),
)  # fmt: skip
"""Metrics that are fractions."""
UNITS: Mapping[str, Callable[[float], str]] = {
    "bytes up": size,
    "bytes moved": size,
    "bytes of fp32": size,
    "bytes of int8": size,
    "seconds of federation": duration,
    "seconds of evaluation": duration,
}
"""Other metrics → how one value of them is written; the rest are plain numbers."""
HEADS = {
    "epsilon": "privacy",
    "use": "adversarial data",
    "training attack": "made by",
    "budget": "eps",
    "abuse": "abused by",
}
_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "ε": r"$\varepsilon$", "δ": r"$\delta$", "≤": r"$\leq$", "≥": r"$\geq$", "±": r"$\pm$", "×": r"$\times$",
    "−": "$-$", "–": "--", "—": "---", "…": r"\dots{}", "\n": " ",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Numbers with their places.

    Attributes:
        title: what it is.
        points: its numbers.
        across: the columns of ``Point.where`` that lie side by side when it is printed; the others go down. A column
            with one value only is said once, above the table.
        notes: sentences that belong to it, beside those of its points.
    """

    title: str
    points: tuple[Point, ...]
    across: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def to_csv(table: Table) -> str:
    """Return one line a number, long form: its place, mean, interval, repeats, images, and every repeat's value.

    Fractions stay fractions, and floats read back equal. A number that was expected and not measured has an empty mean.
    """
    places = _columns(table)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*places, "mean", "low", "high", "n", "images", "values"])
    for one in table.points:
        where = ["" if (value := one.where.get(column)) is None else value for column in places]
        found = one.estimate
        numbers = ["", "", "", 0] if found is None else [
            found.mean, "" if found.low is None else found.low, "" if found.high is None else found.high, found.n
        ]  # fmt: skip
        values = " ".join(map(repr, found.values if found else ()))
        writer.writerow([*where, *numbers, " ".join(map(str, one.images)), values])
    return text.getvalue()


def to_markdown(table: Table) -> str:
    """Return the table for people, with its title, what all of it has in common, and what the numbers are."""
    head, body = _laid_out(table)
    lines = [f"**{_plain(table.title)}**", ""]
    if not body:
        return "\n".join([*lines, "Nothing was measured.", ""])
    names = [*head.down, *(", ".join(part for part in one if part) for one in head.across)]
    numbers_from = len(head.down)
    lines += [f"{_plain(_legend(table))}", ""]
    lines.append("| " + " | ".join(map(_plain, names)) + " |")
    lines.append("|" + "|".join("---" if place < numbers_from else "---:" for place in range(len(names))) + "|")
    lines += ["| " + " | ".join(map(_plain, row)) + " |" for row in body]
    return "\n".join([*lines, ""])


def to_latex(table: Table) -> str:
    r"""Return a ``table`` with booktabs' rules; the document needs ``\usepackage{booktabs}`` and, if wide, graphicx."""
    head, body = _laid_out(table)
    caption = f"{table.title}. {_legend(table) if body else 'Nothing was measured.'}"
    lines = [r"% needs \usepackage{booktabs,graphicx}", r"\begin{table}", r"\centering", rf"\caption{{{tex(caption)}}}"]
    if body:
        lines += [
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{'l' * len(head.down)}{'r' * len(head.across)}}}",
            r"\toprule",
            *_tex_head(head),
            r"\midrule",
            *(" & ".join(map(tex, row)) + r" \\" for row in body),
            r"\bottomrule",
            r"\end{tabular}}",
        ]
    return "\n".join([*lines, r"\end{table}", ""])


def tex(text: str) -> str:
    """Return text as LaTeX prints it: what would command something is escaped, Greek and signs are set as maths."""
    return "".join(_TEX.get(letter, letter) for letter in text)


def number(estimate: Estimate | None, metric: str) -> str:
    """Return an estimate in words: ``42.1 % (39.8–44.4; n = 3)``; without an interval ``42.1 % (n = 1)``."""
    if estimate is None:
        return NONE
    repeats = f"n = {estimate.n}"
    share = metric in PER_CENT
    write: Callable[[float], str] = percent if share else UNITS.get(metric, lambda value: f"{value:.3g}")
    mean = write(estimate.mean).replace("-", "−")
    if estimate.low is None or estimate.high is None:
        return f"{mean} ({repeats})"
    ends = [f"{100 * end:.1f}" if share else write(end) for end in (estimate.low, estimate.high)]
    apart = "–" if share and estimate.low >= 0 else " to "
    return f"{mean} ({apart.join(ends).replace('-', '−')}; {repeats})"


def write_table(table: Table, stem: str, out: Path) -> list[Path]:
    """Write ``STEM.csv``, ``.md`` and ``.tex`` into a folder; returns the paths. Raises UserError: a full disk."""
    contents = {"csv": to_csv(table), "md": to_markdown(table), "tex": to_latex(table)}
    for suffix, text in contents.items():
        write_text(out / f"{stem}.{suffix}", text)
    return [out / f"{stem}.{suffix}" for suffix in contents]


@dataclass(frozen=True)
class _Head:
    """Names of the columns: of those that say where, and (one name a level) of the numbers."""

    down: tuple[str, ...]
    across: tuple[tuple[str, ...], ...]


def _columns(table: Table) -> list[str]:
    return list(dict.fromkeys(column for one in table.points for column in one.where))


def _varying(table: Table) -> list[str]:
    return [column for column in _columns(table) if len(seen(table.points, column)) > 1]


def _laid_out(table: Table) -> tuple[_Head, list[list[str]]]:
    varying = _varying(table)
    across = [column for column in table.across if column in varying]
    down = [column for column in varying if column not in across]
    numbers = {(_key(one, down), _key(one, across)): one for one in table.points}
    rows = dict.fromkeys(key for key, _ in numbers)
    columns = _ordered(dict.fromkeys(key for _, key in numbers))
    head = _Head(
        tuple(HEADS.get(column, column) for column in down),
        tuple(tuple(map(words, across, key)) or ("",) for key in columns) if across else ((_metric(table),),),
    )
    body = [
        [*map(words, down, row), *(_number(numbers.get((row, column))) for column in columns)]
        for row in rows
    ]  # fmt: skip
    return head, body if table.points else []


def _ordered(keys: Mapping[tuple[Value, ...], None]) -> list[tuple[Value, ...]]:
    """Return the keys so that equal first parts stand together, each part in order of its first appearance."""
    first: dict[tuple[int, Value], int] = {}
    for key in keys:
        for level, part in enumerate(key):
            first.setdefault((level, part), len(first))
    return sorted(keys, key=lambda key: [first[level, part] for level, part in enumerate(key)])


def _key(one: Point, columns: Sequence[str]) -> tuple[Value, ...]:
    return tuple(one.where.get(column) for column in columns)


def _number(one: Point | None) -> str:
    return NONE if one is None else number(one.estimate, str(one.where.get("metric")))


def _metric(table: Table) -> str:
    metrics = seen(table.points, "metric")
    return str(metrics[0]) if len(metrics) == 1 else "value"


def _legend(table: Table) -> str:
    """Return what all numbers have in common, how they are written, and on how many images they were measured."""
    varying = _varying(table)
    common = [
        f"{HEADS.get(column, column)}: {told}"
        for column in _columns(table)
        if column not in varying and (told := words(column, table.points[0].where.get(column))) not in ("", "none")
    ]
    images = sorted({count for one in table.points for count in one.images})
    on = f" Test images: {'–'.join(str(end) for end in dict.fromkeys((images[0], images[-1])))}." if images else ""
    apart = "; ".join(common)
    notes = [*table.notes, *dict.fromkeys(one.note for one in table.points if one.note)]
    return (
        (f"{apart}. " if apart else "")
        + "Mean over n repeats of the training (95 % interval by Student's t)."
        + on
        + (f" {NONE}: not measured." if any(one.estimate is None for one in table.points) else "")
        + "".join(f" {note}" for note in notes)
    )


def _tex_head(head: _Head) -> list[str]:
    depth = max(len(one) for one in head.across)
    if depth == 1:
        return [" & ".join(map(tex, (*head.down, *(one[0] for one in head.across)))) + r" \\"]
    blank = [""] * len(head.down)
    spans: list[tuple[str, int]] = []
    for one in head.across:
        if spans and spans[-1][0] == one[0]:
            spans[-1] = (one[0], spans[-1][1] + 1)
        else:
            spans.append((one[0], 1))
    rules, place = [], len(head.down) + 1
    for _, width in spans:
        rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
        place += width
    top = [*blank, *(rf"\multicolumn{{{width}}}{{c}}{{{tex(name)}}}" for name, width in spans)]
    below = [*map(tex, head.down), *(tex(", ".join(part for part in one[1:] if part)) for one in head.across)]
    return [" & ".join(top) + r" \\", " ".join(rules), " & ".join(below) + r" \\"]


def _plain(text: str) -> str:
    r"""Return text that neither ends a cell of a Markdown table nor is read as markup."""
    flat = " ".join(text.split())
    for letter in "\\|*_`<>":
        flat = flat.replace(letter, f"\\{letter}")
    return flat
