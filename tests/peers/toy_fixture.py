"""A federation of peers whose training is arithmetic: no images, no network, and the paper's protocol all the same."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.config import Experiment, parse
from common.local_update import Failed, Job, Learned
from common.seeds import torch_generator
from peers.peer import Peer
from peers.simulation import simulate

RUN = "0123456789abcdef"


def toy(
    peers: int = 4, rounds: int = 3, misbehaviour: Mapping[int, Mapping[str, Any]] | None = None, **changes: Any
) -> Experiment:
    """A description; keyword ``a__b`` changes key ``a.b``, ``misbehaviour`` is by number of the peer."""
    clients: list[dict[str, Any]] = [{"name": f"peer {number}"} for number in range(peers)]
    for number, conduct in (misbehaviour or {}).items():
        clients[number]["misbehaviour"] = dict(conduct)
    tree = {"protocol": "braintorrent", "federation": {"rounds": rounds}, "clients": clients}
    return parse(tree, "toy").change({key.replace("__", "."): value for key, value in changes.items()})


def initial() -> dict[str, Tensor]:
    """Weights to start from: two tensors, of 6 and 3 numbers."""
    return {"body.weight": torch.arange(6.0).reshape(2, 3) / 10, "head.bias": torch.zeros(3)}


def records_of(number: int) -> int:
    """Records of a peer: 10, 20, 30 …"""
    return 10 * (number + 1)


def learn(job: Job) -> Learned:
    """Move the weights by a seeded step that depends on the peer and the version; count steps as an optimiser would."""
    generator = torch_generator(7, job.number, job.version)
    arrays = {name: 0.9 * array + torch.randn(array.shape, generator=generator) for name, array in job.arrays.items()}
    steps = job.optimizer.get("head.bias/step", torch.tensor(0.0)) + 1
    return Learned(
        arrays, dict(arrays), records_of(job.number), {"loss": 1 / job.version}, f"ledger {job.version}",
        {"head.bias/step": steps},
    )  # fmt: skip


def learn_all(jobs: Sequence[Job]) -> Iterator[Learned | Failed]:
    """One after the other."""
    return (learn(job) for job in jobs)


def gathered(experiment: Experiment, folder: Path) -> list[Peer]:
    """All peers, each at its last finished turn in its folder."""
    return [
        Peer(experiment, number, initial=initial(), run=RUN, folder=folder / str(client.name), learn=learn)
        for number, client in enumerate(experiment.roster())
    ]


def played(experiment: Experiment, folder: Path) -> list[Peer]:
    """All peers at the end."""
    peers = gathered(experiment, folder)
    simulate(peers, experiment, learn_all, lambda number: None)
    return peers
