"""What the ways to train together look like: the same method in the same colour and marker in every figure."""

from collections.abc import Iterable

from experiments.drawing import CLASSES, FP32, INK, INT8, MUTED
from experiments.study.outcome import AS_MANY_BYTES
from experiments.study.style import DASHED, Look
from experiments.study.way import ALONE, BRAINTORRENT, FEDAVG, FRESH, POOLED

_KNOWN = {
    POOLED: Look(INK, "D"),
    FEDAVG: Look(FP32, "o"),
    AS_MANY_BYTES: Look(FP32, "o", DASHED, filled=False),
    BRAINTORRENT: Look(INT8, "s"),
    FRESH: Look(INT8, "s", DASHED, filled=False),
    ALONE: Look(MUTED, "v"),
}
_HARDENED = tuple(
    Look(colour, marker, filled=filled)
    for filled in (True, False)
    for colour, marker in zip((CLASSES[2], CLASSES[1], CLASSES[3], CLASSES[4]), ("^", "P", "X", "<"), strict=True)
)


def method_looks(methods: Iterable[str]) -> dict[str, Look]:
    """Return a look for each method: the usual ones in a fixed order first, hardened variants by name behind them."""
    names = set(methods)
    usual = [name for name in _KNOWN if name in names]
    others = sorted(names - set(_KNOWN))
    return {name: _KNOWN[name] for name in usual} | {
        name: _HARDENED[number % len(_HARDENED)] for number, name in enumerate(others)
    }


def short(method: str) -> str:
    """Return a method as a legend calls it: ``median + caps`` for ``BrainTorrent, median + caps``."""
    return method.removeprefix(f"{BRAINTORRENT}, ")
