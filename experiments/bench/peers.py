"""``python -m experiments.bench.peers``: what a local update costs with peers, with a server, and with p2pfl.

Four tables, each in one run with its sides in turn: the same data, network, local training and number of local updates
in one process and in real processes; how the costs of a local update grow with the number of peers; and what Ray saves
where many peers train at once. CPU seconds count most in one process: wall seconds also depend on what else the machine
does, and on who may train at the same time.

p2pfl's nodes train in threads of one process, all of them in every round; BrainTorrent's peers do one after the other
as in the paper, or all at once (``peers.initiators``), and a server's clients one after the other in one process.

Bytes of peers are the questions and answers of local updates, of a server the models that go down and up; not what
peers ask to know whose turn it is, nor the frames of gRPC, HTTP and TLS.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from common.config import Experiment, parse
from common.data import normalisation, partition, prepare
from common.errors import UserError
from experiments.bench.one_federation import FLOWER, Cost
from experiments.bench.one_program import PATIENCE, answer
from experiments.bench.p2pfl_environment import SIZE, VERSION, p2pfl_python
from server.federation import initial_model
from server.provenance import machine


@dataclass(frozen=True)
class Size:
    """How large the federations are.

    Attributes:
        peers: or clients.
        rounds: N local updates of N peers each; at least 3, since the first and the last are no usual ones.
        records: of each peer, for training.
        width: of the ResNet-9.
    """

    peers: int
    rounds: int
    records: int
    width: int


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        run: runs one federation in an empty folder; raises RuntimeError where it fails.
        federation: sides with the same one come to the same model, bit for bit; empty: nobody else's.
    """

    run: Callable[[Path], Cost]
    federation: str = ""


def description(size: Size, *, protocol: str = "braintorrent", initiators: int = 1) -> Experiment:
    """Return a federation on phantom images of 28 pixels, with or without a server, but for that the same.

    Args:
        size: how large.
        protocol: ``braintorrent`` or ``server``.
        initiators: peers that update at the same time; only without a server.
    """
    tree: dict[str, Any] = {
        "name": "bench",
        "protocol": protocol,
        "data": {
            "image_size": 28,
            "train_records": size.peers * size.records,
            "public_records": 48,
            "test_records": 24,
        },
        "model": {"width": size.width},
        "training": {"batch_size": 32},
        "federation": {"rounds": size.rounds, "round_timeout": PATIENCE, "join_timeout": 300.0},
        "clients": [{"count": size.peers}],
    }
    if protocol != "server":
        tree["peers"] = {"initiators": initiators}
    return parse(tree, "bench")


def ours(experiment: Experiment, runner: str) -> Side:
    """Return a way to run a description with one of psreval's runners, or with Flower's own programs."""

    def run(place: Path) -> Cost:
        file, runs = place / "bench.toml", place / "runs"
        file.write_text(experiment.to_toml(), encoding="utf-8")
        runs.mkdir()
        command = [sys.executable, "-m", "experiments.bench.one_federation", str(file), str(runs), runner]
        return Cost(**answer(command, place))

    return Side(run, experiment.digest(federation_only=True))


def p2pfl(python: Path, experiment: Experiment, *, protocol: str, waits: str) -> Side:
    """Return a way to run p2pfl on what a description says.

    Args:
        python: of an environment that has p2pfl.
        experiment: the description.
        protocol: ``memory``, or ``grpc`` over loopback.
        waits: ``default``, or ``short``.
    """

    def run(place: Path) -> Cost:
        file = place / "bench.npz"
        write_arrays_for(experiment, file)
        options = ["--protocol", protocol, "--waits", waits]
        told = answer([str(python), "-m", "experiments.bench.p2pfl", str(file), *options], place)
        known = {one.name for one in fields(Cost)}
        return Cost(**{key: value for key, value in told.items() if key in known})

    return Side(run)


def write_arrays_for(experiment: Experiment, file: Path) -> None:
    """Write what a federation starts from, without any code of ours: weights, each client's records, public records."""
    dataset = prepare(experiment.data)
    mean, std = normalisation(dataset.public)
    weights = initial_model(experiment, dataset).state_dict()
    arrays = {f"model/{name}": array.numpy() for name, array in weights.items()}
    shares = partition(dataset.train.strata, len(experiment.roster()), experiment.data)
    parts = {str(number): dataset.train.records(share) for number, share in enumerate(shares)}
    for name, records in (parts | {"public": dataset.public.records()}).items():
        arrays[f"{name}/images"], arrays[f"{name}/labels"] = records.images.numpy(), records.labels.numpy()
    told = {
        "peers": len(shares),
        "rounds": experiment.federation.rounds,
        "epochs": experiment.training.local_epochs,
        "batch_size": experiment.training.batch_size,
        "learning_rate": experiment.training.learning_rate,
        "width": experiment.model.width,
        "channels": dataset.channels,
        "classes": len(dataset.classes),
        "mean": list(mean),
        "std": list(std),
    }
    np.savez(file, told=np.array(json.dumps(told)), **arrays)


def in_turn(sides: Mapping[str, Side], repeats: int, console: Console) -> dict[str, list[Cost]]:
    """Run all sides in turn, so often; one that fails is told and left out from then on."""
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name, side in sides.items():
            if len(costs[name]) < repeat:
                continue
            with tempfile.TemporaryDirectory() as folder:
                try:
                    costs[name].append(side.run(Path(folder).resolve()))
                except RuntimeError as error:
                    console.print(f"{name}: {error}", markup=False)
    return {name: found for name, found in costs.items() if found}


def a_local_update(cost: Cost, peers: int) -> tuple[float, float, float]:
    """Return wall seconds, CPU seconds and bytes of one local update.

    Wall seconds are those of the usual rounds, CPU seconds those of the whole federation with its beginning and end.
    """
    wall = median(cost.round_seconds) / peers if cost.round_seconds else float("nan")
    return wall, cost.cpu_seconds / cost.local_updates, cost.bytes / cost.local_updates


def comparison(title: str, costs: Mapping[str, Sequence[Cost]], peers: int, model_bytes: int) -> Table:
    """Return a table of all sides, a local update each; ratios are to the first side, repeat by repeat."""
    table = Table(title, "CPU s", "ratio", "wall s", "ratio", "bytes", "models", "the whole, s", "MB", "accuracy")
    base = [a_local_update(cost, peers) for cost in next(iter(costs.values()))]
    for name, side in costs.items():
        found = [a_local_update(cost, peers) for cost in side]
        moved = median(cost[2] for cost in found)
        ratios = [(ours[0] / first[0], ours[1] / first[1]) for ours, first in zip(found, base, strict=False)]
        table.add_row(
            name,
            spread([cost[1] for cost in found]),
            spread([ratio[1] for ratio in ratios]),
            spread([cost[0] for cost in found]),
            spread([ratio[0] for ratio in ratios]),
            f"{moved:,.0f}",
            f"{moved / model_bytes:.2f}",
            spread([cost.seconds for cost in side]),
            f"{median(cost.peak_memory for cost in side) / 1e6:.0f}",
            f"{median(cost.accuracy for cost in side):.2f}",
        )
    return table


def growth(costs: Mapping[int, Mapping[str, Sequence[Cost]]], model_bytes: int) -> Table:
    """Return a table of how a local update's costs grow: number of peers → side → its repeats."""
    table = Table("peers", "with", "CPU ms", "wall ms", "models moved", "MB")
    for peers, sides in costs.items():
        for name, side in sides.items():
            found = [a_local_update(cost, peers) for cost in side]
            table.add_row(
                str(peers),
                name,
                spread([1000 * cost[1] for cost in found]),
                spread([1000 * cost[0] for cost in found]),
                f"{median(cost[2] for cost in found) / model_bytes:.2f}",
                f"{median(cost.peak_memory for cost in side) / 1e6:.0f}",
            )
    return table


def spread(values: Sequence[float]) -> str:
    """Return the median, and in brackets the least and the most where there are several: ``0.12 (0.11-0.15)``."""
    if not values or any(map(math.isnan, values)):
        return "-"
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return f"{median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all comparisons and print three tables."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench.peers", description=__doc__)
    parser.add_argument("--peers", type=int, default=4, help="of the comparison")
    parser.add_argument("--rounds", type=int, default=5, help="local updates of each peer, on average; at least 3")
    parser.add_argument("--records", type=int, default=64, help="training images of each peer")
    parser.add_argument("--width", type=int, default=16, help="of the ResNet-9")
    parser.add_argument("--repeats", type=int, default=3, help="of each side")
    parser.add_argument("--growth", type=int, nargs="*", default=[4, 8, 16, 32, 64], help="numbers of peers")
    parser.add_argument("--at-once", type=int, default=64, help="peers of the comparison with Ray; 0 leaves it out")
    parser.add_argument("--no-processes", action="store_true", help="leave real processes out")
    parser.add_argument("--no-p2pfl", action="store_true", help=f"leave p2pfl out, which is installed else ({SIZE})")
    parser.add_argument("--p2pfl", type=Path, help="Python of an environment that has p2pfl")
    chosen = parser.parse_args(arguments)
    if chosen.rounds < 3:
        parser.error("--rounds must be at least 3: the first and the last are no usual ones")
    console = Console(width=180)
    size = Size(chosen.peers, chosen.rounds, chosen.records, chosen.width)
    python = None if chosen.no_p2pfl else chosen.p2pfl or _installed(console)
    console.print(_head(size, chosen.repeats, python), markup=False)
    tables = {"a local update, in one process": in_one_process(size, python)}
    if not chosen.no_processes:
        tables["a local update, real processes (CPU: their starts included)"] = in_processes(size, python)
    models: dict[str, set[str]] = {}
    for title, sides in tables.items():
        costs = in_turn(sides, chosen.repeats, console)
        _note(models, sides, costs)
        console.print(comparison(title, costs, size.peers, model_bytes(size)))
    if chosen.growth:
        console.print("\nin one process, one peer at a time, 24 images each, ResNet-9 of width 8; a local update:")
        console.print(_growth(chosen.growth, chosen.rounds, chosen.repeats, console))
    if chosen.at_once:
        many = Size(chosen.at_once, 3, chosen.records, chosen.width)
        sides = at_once(many)
        costs = in_turn(sides, chosen.repeats, console)
        _note(models, sides, costs)
        console.print(comparison(f"{many.peers} peers, all at once", costs, many.peers, model_bytes(many)))
    differing = sum(len(found) > 1 for found in models.values())
    console.print(
        f"{differing} of {len(models)} federations came to DIFFERENT models"
        if differing
        else "the same federation came to the same model everywhere, bit for bit"
    )


def in_one_process(size: Size, python: Path | None) -> dict[str, Side]:
    """Return the sides of the first table; ``python`` has p2pfl, None leaves it out."""
    paper = description(size)
    sides = {
        "BrainTorrent, one at a time": ours(paper, "inprocess"),
        "BrainTorrent, all at once": ours(description(size, initiators=size.peers), "inprocess"),
        "a server, Flower's apps": ours(description(size, protocol="server"), "inprocess"),
    }
    if python is not None:
        sides["p2pfl, waits cut short"] = p2pfl(python, paper, protocol="memory", waits="short")
        sides["p2pfl as it comes"] = p2pfl(python, paper, protocol="memory", waits="default")
    return sides


def in_processes(size: Size, python: Path | None) -> dict[str, Side]:
    """Return the sides of the second table; p2pfl's nodes are threads all the same, and speak gRPC without TLS."""
    paper, server = description(size), description(size, protocol="server")
    sides = {
        "BrainTorrent, one at a time": ours(paper, "processes"),
        "BrainTorrent, all at once": ours(description(size, initiators=size.peers), "processes"),
        "a server, our processes": ours(server, "processes"),
        "a server, Flower's programs": ours(server, FLOWER),
    }
    if python is not None:
        sides["p2pfl, gRPC in one process"] = p2pfl(python, paper, protocol="grpc", waits="short")
    return sides


def at_once(size: Size) -> dict[str, Side]:
    """Return the sides of the last table: many peers that train at the same time, here and on Ray."""
    experiment = description(size, initiators=size.peers)
    return {"in one process": ours(experiment, "inprocess"), "on Ray": ours(experiment, "ray")}


def _growth(numbers: Sequence[int], rounds: int, repeats: int, console: Console) -> Table:
    sizes = {peers: Size(peers, rounds, 24, 8) for peers in numbers}
    costs = {
        peers: in_turn(
            {
                "BrainTorrent": ours(description(size), "inprocess"),
                "server": ours(description(size, protocol="server"), "inprocess"),
            },
            repeats,
            console,
        )
        for peers, size in sizes.items()
    }
    return growth(costs, model_bytes(next(iter(sizes.values()))))


def _note(models: dict[str, set[str]], sides: Mapping[str, Side], costs: Mapping[str, Sequence[Cost]]) -> None:
    """Note which models each federation came to."""
    for name, found in costs.items():
        if sides[name].federation:
            models.setdefault(sides[name].federation, set()).update(cost.model for cost in found)


def _installed(console: Console) -> Path | None:
    try:
        return p2pfl_python()
    except UserError as error:
        console.print(f"{error}; the comparison goes on without it", markup=False)
        return None


def model_bytes(size: Size) -> int:
    """Return the bytes of one model's weights; a message has a few more."""
    experiment = description(size)
    return sum(array.nbytes for array in initial_model(experiment, prepare(experiment.data)).state_dict().values())


def _head(size: Size, repeats: int, python: Path | None) -> str:
    facts = machine()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "flwr", "ray"))
    there = f"p2pfl {VERSION}" if python is not None else "no p2pfl"
    return (
        f"{facts['cpu']}, {facts['cores']} cores; {packages}, {there}; one thread a training\n"
        f"{size.peers} peers, {size.rounds} local updates each, {size.records} images each, ResNet-9 of width "
        f"{size.width} ({model_bytes(size):,} bytes), {repeats} repeats in turn: medians, the least and the most"
    )


if __name__ == "__main__":
    main()
