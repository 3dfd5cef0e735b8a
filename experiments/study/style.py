"""How the study's figures tell things apart: by colour, and by marker, line or hatch as well."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.drawing import CLASSES, FP32, INK, INT8, MUTED
from experiments.study.points import attack_name

Dashes = Literal["-"] | tuple[float, tuple[float, ...]]
DASHED: Dashes = (0, (3.0, 1.4))


@dataclass(frozen=True)
class Look:
    """What a series looks like: colour, marker, line, and the hatch of its bars."""

    colour: str
    marker: str = "o"
    line: Dashes = "-"
    hatch: str = ""
    filled: bool = True


TARGETS = {"fp32": Look(FP32, "o", "-", ""), "int8": Look(INT8, "s", DASHED, "////")}
GENERATORS = {
    "clean": Look("#8a929c", "D", "-", ""),
    "private": Look(CLASSES[3], "o", "-", "////"),
    "non-private": Look(CLASSES[2], "s", "-", "...."),
}
"""Who crafted the images; ``clean`` is nobody."""
_ATTACKS = {"fgsm": Look(CLASSES[2], "o"), "pgd": Look(CLASSES[3], "s"), "fab": Look(CLASSES[1], "^")}
_SPARE = (Look(CLASSES[4], "D"), Look(MUTED, "v"), Look(INK, "P"), Look(FP32, "X"), Look(INT8, "*"))
SERIES = tuple(
    Look(colour, marker)
    for colour, marker in zip(
        (FP32, INT8, *CLASSES[1:5], MUTED, INK), ("o", "s", "^", "D", "v", "<", ">", "p"), strict=True
    )
)
"""For as many lines as eight; more cannot be told apart."""


def attack_looks(attacks: Iterable[str]) -> dict[str, Look]:
    """Return a look for each attack, in a fixed order: the paper's three first, always alike."""
    names = dict.fromkeys(attacks)
    ordered = [name for name in _ATTACKS if name in names] + sorted(set(names) - set(_ATTACKS))
    spare = [name for name in ordered if name not in _ATTACKS]
    return {name: _ATTACKS.get(name) or _SPARE[spare.index(name) % len(_SPARE)] for name in ordered}


def line_key(label: str, look: Look) -> Artist:
    """Return a legend's entry for a line with markers."""
    face = look.colour if look.filled else "white"
    return Line2D(
        [], [], color=look.colour, linestyle=look.line, marker=look.marker, markerfacecolor=face, linewidth=1.5,
        markersize=5.5, markeredgecolor=look.colour, label=label,
    )  # fmt: skip


def marker_key(label: str, look: Look) -> Artist:
    """Return a legend's entry for markers without a line."""
    face = look.colour if look.filled else "white"
    return Line2D(
        [], [], color=look.colour, linestyle="none", marker=look.marker, markerfacecolor=face, markersize=6,
        markeredgecolor=look.colour, label=label,
    )  # fmt: skip


def bar_key(label: str, look: Look) -> Artist:
    """Return a legend's entry for bars."""
    return Patch(facecolor=look.colour if look.filled else "white", edgecolor="white" if look.filled else look.colour,
                 hatch=look.hatch, label=label)  # fmt: skip


def band_key(label: str) -> Artist:
    """Return a legend's entry for a baseline with its band."""
    return Line2D([], [], color=INK, linewidth=1.2, linestyle=(0, (1, 1.2)), label=label)


def attack_key(attack: str, look: Look) -> Artist:
    """Return a legend's entry for an attack."""
    return line_key(attack_name(attack), look)
