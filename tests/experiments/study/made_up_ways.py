"""Finished cells of federations with and without a server, their rounds on disk; numbers made up."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.config import Experiment, parse
from experiments.study.grid import Cell
from experiments.study.results import Result
from experiments.study.setting import setting_of
from server.measures import Measure

MODEL_BYTES = 40_000
ABUSES = ("count-inflation", "sign-flip", "garbage")


def described(
    method: str,
    peers: int,
    *,
    split: str = "iid",
    updates: int = 6,
    abuse: str = "",
    seed: int = 1,
    dice: bool = True,
    changes: Mapping[str, Any] | None = None,
) -> Experiment:
    """Return the description of a way; ``method`` is ``pooled``, ``FedAvg``, ``BrainTorrent``, ``fresh`` or a rule.

    ``changes`` are dotted keys, as in a study.
    """
    clients: list[dict[str, Any]] = [{"count": peers}]
    if abuse:
        clients = [{"count": peers - 1}, {"name": "liar", "misbehaviour": {"kind": abuse}}]
    tree: dict[str, Any] = {
        "name": "made-up",
        "seed": seed,
        "data": {"source": "brain" if dice else "phantom", "partition": split},
        "model": {"name": "unet" if dice else "resnet9", "width": 4},
        "federation": {"rounds": updates},
        "clients": clients,
        "evaluation": {"threats": []},
    }
    if method not in ("pooled", "FedAvg"):
        merge = "mean" if method in ("BrainTorrent", "fresh") else method
        tree |= {"protocol": "braintorrent", "peers": {"merge": merge, "keep_optimizer": method != "fresh"}}
    return parse(tree, "made up").change(changes or {})


def result(
    folder: Path,
    method: str,
    peers: int,
    value: float,
    *,
    repeat: int = 0,
    own: float | None = None,
    curve: Sequence[float] | None = None,
    moved: float | None = None,
    dice: bool = True,
    study: str = "made-up",
    **way: Any,
) -> Result:
    """Return a finished cell whose rounds lie in a folder below ``folder``.

    Args:
        folder: a temporary one.
        method, peers, way: as ``described``.
        value: the aggregated model's test score.
        repeat: counts from 0.
        own: every single model's test score; None: as ``value``.
        curve: its public score after each round; None: it rises to ``value``.
        moved: bytes a local update; None: as the protocols move.
        dice: whether it segments.
        study: its study.
    """
    experiment = described(method, peers, seed=repeat + 1, dice=dice, **way)
    rounds = experiment.federation.rounds
    heights = curve or [value * (1 - 0.5 ** (number + 1)) for number in range(rounds)]
    path = folder / f"{experiment.digest()}"
    path.mkdir(parents=True, exist_ok=True)
    each = _bytes(method, peers) if moved is None else moved
    text = "".join(json.dumps(_line(experiment, number + 1, height, each)) + "\n" for number, height in
                   enumerate(heights))  # fmt: skip
    (path / "rounds.jsonl").write_text(text)
    metric = "dice" if dice else "accuracy"
    rows = [_row("fp32", metric, value), _row("int8", metric, value)]
    if experiment.protocol == "braintorrent":
        score = value if own is None else own
        owned = [
            {"name": client.name, "honest": client.misbehaviour is None, "value": score, "n": 100}
            for client in experiment.roster()
        ]
        (path / "peers.json").write_text(json.dumps({"metric": metric, "peers": owned}))
    return Result(
        cell=Cell(study, {"method": method, "peers": str(peers)}, repeat, experiment),
        setting=setting_of(experiment),
        measures=tuple(rows),
        evaluation={"compression": {}, "warnings": []},
        manifest={
            "seconds": {"federation": 5.0, "evaluation": 1.0},
            "commit": "50a1c7c3b1f5f0a9d7b1e2c3d4e5f60718293a4b",
            "results_version": 2,
            "data": {"synthetic": True, "counts": {"train": [400], "public": [50], "test": [100]},
                     "image_size": 32, "channels": 1},
        },
        epsilon=None,
        path=path,
    )  # fmt: skip


def whole(folder: Path, *, repeats: int = 3, dice: bool = True, gain: float = 0.03) -> list[Result]:
    """Return a comparison at 4 and 10 peers, both splits, and one abuse after the other at 4 peers."""
    found = []
    for repeat in range(repeats):
        found.append(result(folder, "pooled", 1, 0.86 + _scatter("p", repeat), repeat=repeat, dice=dice))
        for split in ("iid", "sorted"):
            worse = 0.05 * (split != "iid")
            for peers in (4, 10):
                base = 0.83 - 0.004 * peers - worse
                for method, value, updates in (
                    ("FedAvg", base, 6),
                    ("FedAvg", base + 0.01, {4: 4, 10: 12}[peers]),
                    ("BrainTorrent", base + gain, 6),
                    ("median", base + gain - 0.01, 6),
                    ("alone", base - 0.15, 6),
                ):
                    found.append(
                        result(folder, method, peers, value + _scatter((method, peers, split), repeat), repeat=repeat,
                               split=split, updates=updates, dice=dice)
                    )  # fmt: skip
        for method, left in (("BrainTorrent", 0.3), ("median", 0.79)):
            for abuse in ABUSES:
                value = left + _scatter((method, abuse), repeat)
                found.append(result(folder, method, 4, value, repeat=repeat, abuse=abuse, dice=dice))
    return found


def _bytes(method: str, peers: int) -> float:
    share = {"pooled": 2.0, "FedAvg": 2.0, "alone": 0.0}.get(method, (peers - 1) / 2)
    return share * MODEL_BYTES


def _line(experiment: Experiment, number: int, height: float, each: float) -> dict[str, Any]:
    roster = [str(client.name) for client in experiment.roster()]
    half = round(each / 2)
    line: dict[str, Any] = {
        "round": number,
        "status": "aggregated",
        "reason": "",
        "accuracy": height,
        "accuracy_records": 50,
        "seconds": 1.0,
        "clients": [
            {"name": name, "status": "accepted", "reason": "", "bytes_up": half, "bytes_down": half,
             "accuracy": height - 0.02}
            for name in roster
        ],
    }  # fmt: skip
    if experiment.protocol == "braintorrent":
        line |= {"local_updates": number * len(roster), "bytes_moved": round((number - 1 / 4) * len(roster) * each)}
    return line


def _row(target: str, metric: str, value: float) -> Measure:
    return Measure(target, "clean", "none", "", None, None, None, None, metric, value, 100, None, None)


def _scatter(name: object, repeat: int) -> float:
    digest = hashlib.sha256(repr((name, repeat)).encode()).digest()
    return 0.01 * (digest[0] / 255 - 0.5)
