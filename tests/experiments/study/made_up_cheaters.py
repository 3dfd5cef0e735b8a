"""Finished cells of protocols under poisoners and cheating aggregators; numbers made up."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.study.results import Result
from tests.experiments.study.made_up_ways import result

METHODS: Mapping[str, dict[str, Any]] = {
    "FedAvg": {},
    "server, multi-krum": {"federation.aggregation": "multi-krum"},
    "BrainTorrent": {"protocol": "braintorrent"},
    "BrainTorrent, median": {"protocol": "braintorrent", "peers.merge": "median"},
    "secure, rsa": {"protocol": "secure", "secure.rule": "rsa"},
    "secure, box-clipping": {"protocol": "secure", "secure.rule": "box-clipping"},
}
"""Name of the method → what its description says."""
SCATTER = (0.001, -0.001, 0.0)
"""By which repeats differ."""


def cell(
    folder: Path,
    method: str,
    score: float,
    *,
    poisoners: int = 0,
    cheaters: tuple[str, ...] = (),
    server: str = "",
    both: bool = False,
    repeat: int = 0,
) -> Result:
    """Return a finished cell of ten clients: honest ones, then cheaters by kind, then label flippers.

    With ``both`` the cheaters flip labels, too, beside ``poisoners`` others.
    """
    honest = 10 - poisoners - len(cheaters)
    clients: list[dict[str, Any]] = [{"name": "peer", "count": honest}]
    strategy = "label-flipper" if both else "honest"
    clients += [
        {"name": f"cheater {place}", "strategy": strategy, "misbehaviour": {"kind": kind}}
        for place, kind in enumerate(cheaters)
    ]
    clients += [{"name": "liar", "count": poisoners, "strategy": "label-flipper"}] if poisoners else []
    changes = {**METHODS[method], "clients": clients}
    if server:
        changes["federation.server_misbehaviour"] = {"kind": server}
    return result(folder, "FedAvg", 10, score, repeat=repeat, dice=False, changes=changes)


def cells(folder: Path, method: str, score: float, **attack: Any) -> list[Result]:
    """Return three repeats of a cell, the score in their middle."""
    return [
        cell(folder, method, score + apart, repeat=repeat, **attack) for repeat, apart in enumerate(SCATTER)
    ]  # fmt: skip


def whole(folder: Path) -> list[Result]:
    """Return a study in which servers and BrainTorrent fall, and all else stands."""
    found = []
    for method in METHODS:
        secure = method.startswith("secure")
        for poisoners, left in ((0, 0.8), (3, 0.79 if secure else 0.6), (5, 0.78 if secure else 0.4)):
            found += cells(folder, method, left, poisoners=poisoners)
        if secure:
            found += cells(folder, method, 0.79, cheaters=("wrong-sum", "equivocation"))
            found += cells(folder, method, 0.77, cheaters=("wrong-sum", "equivocation"), poisoners=1, both=True)
            found += cells(folder, method, 0.6, cheaters=("wrong-sum", "equivocation"), poisoners=3)
        elif method.startswith("BrainTorrent"):
            left = 0.3 if method == "BrainTorrent" else 0.79
            found += cells(folder, method, left, cheaters=("sign-flip", "sign-flip"))
        else:
            found += cells(folder, method, 0.33, server="wrong-mean")
    return found
