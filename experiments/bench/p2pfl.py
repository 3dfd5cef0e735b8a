"""The p2pfl side of ``bench.peers``: one federation of p2pfl's nodes, measured; runs in an environment of its own.

p2pfl is another program, under GPL-3.0, and needs other versions of packages than psreval; nothing of it is copied or
installed with psreval. ``python -m experiments.bench.p2pfl FILE.npz`` prints one line of JSON at the end.

Its nodes get what our peers get: the same network from the same initial weights, the same records, batches and
optimiser, the same public records to score on; all nodes are connected and all train in every round. Its data
sets are Hugging Face's, whose row-by-row reading would cost more than the training here, so nodes hold tensors.

Bytes are what p2pfl notes of every message that was sent, heartbeats among them; not the frames of gRPC. With p2pfl
0.4.4, eight nodes over gRPC in one process did not come to an end with short waits; four did.
"""

import argparse
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from common.models.blocks import Normalised
from common.models.resnet9 import ResNet9
from common.vision import import_torchvision

SHORT = 0.05
"""Seconds that p2pfl's nodes wait between two looks, with ``--waits short``; less costs it more than it saves."""
PATIENCE = 300.0
"""Seconds that a federation may take."""


class Images(Dataset[dict[str, Tensor]]):
    """Records in memory, read batch by batch.

    Args:
        images: [N, C, H, W], uint8.
        labels: [N].
    """

    def __init__(self, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
        self._images, self._labels = torch.from_numpy(images), torch.from_numpy(labels).long()

    def __len__(self) -> int:
        """Return how many records there are."""
        return len(self._labels)

    def __getitem__(self, index: Any) -> dict[str, Tensor]:
        """Return a batch: images as float32 in [0, 1], labels."""
        return {"image": self._images[index].float() / 255, "label": self._labels[index]}

    def loader(self, batch_size: int, *, shuffled: bool) -> DataLoader[dict[str, Tensor]]:
        """Return the batches of an epoch."""
        order = RandomSampler(self) if shuffled else SequentialSampler(self)
        return DataLoader(self, sampler=BatchSampler(order, batch_size, drop_last=False), batch_size=None)


def network(told: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> nn.Module:
    """Return the network that all start from."""
    channels, classes = int(told["channels"]), int(told["classes"])
    model = Normalised(ResNet9(channels, classes, int(told["width"])), told["mean"], told["std"], channels)
    model.load_state_dict({name: torch.from_numpy(arrays[f"model/{name}"]) for name in model.state_dict()})
    return model


def build_nodes(told: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]], protocol: str) -> list[Any]:
    """Return p2pfl's nodes, started and each connected with all others."""
    import lightning
    from p2pfl.communication.protocols.protobuff.grpc import GrpcCommunicationProtocol
    from p2pfl.communication.protocols.protobuff.memory import MemoryCommunicationProtocol
    from p2pfl.learning.dataset.p2pfl_dataset import P2PFLDataset
    from p2pfl.learning.frameworks.pytorch.lightning_model import LightningModel
    from p2pfl.node import Node
    from p2pfl.utils.topologies import TopologyFactory, TopologyType
    from p2pfl.utils.utils import wait_convergence

    class Network(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = network(told, arrays)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.inner(images)
            return logits

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.NAdam(self.parameters(), lr=float(told["learning_rate"]))

        def training_step(self, batch: dict[str, Tensor], number: int) -> Tensor:
            return cross_entropy(self(batch["image"]), batch["label"])

        def test_step(self, batch: dict[str, Tensor], number: int) -> Tensor:
            # What is logged here, Lightning writes to one file for all nodes of a process, and some of them fail at it.
            right: Tensor = (self(batch["image"]).argmax(dim=1) == batch["label"]).float().mean()
            return right

    class Held(P2PFLDataset):  # type: ignore[misc]
        def __init__(self, train: Images, test: Images) -> None:
            super().__init__(data=None, batch_size=int(told["batch_size"]), dataset_name="bench")
            self._parts = {True: train, False: test}

        def export(self, strategy: Any, train: bool = True, **more: Any) -> DataLoader[dict[str, Tensor]]:
            return self._parts[train].loader(self.batch_size, shuffled=train)

        def get_num_samples(self, train: bool = True) -> int:
            return len(self._parts[train])

    public = Images(arrays["public/images"], arrays["public/labels"])
    nodes = []
    for number in range(int(told["peers"])):
        held = Held(Images(arrays[f"{number}/images"], arrays[f"{number}/labels"]), public)
        transport = MemoryCommunicationProtocol() if protocol == "memory" else GrpcCommunicationProtocol()
        address = f"node-{number}" if protocol == "memory" else "127.0.0.1"
        node = Node(LightningModel(Network()), held, addr=address, protocol=transport)
        node.start()
        nodes.append(node)
    TopologyFactory.connect_nodes(TopologyFactory.generate_matrix(TopologyType.FULL, len(nodes)), nodes)
    wait_convergence(nodes, len(nodes) - 1, only_direct=False, wait=60)
    return nodes


def settle(waits: str) -> None:
    """Choose p2pfl's settings: its defaults, or as little waiting as it can do with."""
    from p2pfl.management.logger import logger
    from p2pfl.settings import Settings

    Settings.heartbeat.EXCLUDE_BEAT_LOGS = False  # they are bytes, too
    Settings.ssl.USE_SSL = False
    Settings.training.AGGREGATION_TIMEOUT = Settings.training.VOTE_TIMEOUT = int(PATIENCE)
    Settings.heartbeat.TIMEOUT = PATIENCE  # a node whose thread had to wait for a core is not gone
    if waits == "short":
        Settings.heartbeat.PERIOD = 1.0
        Settings.gossip.MESSAGES_PER_PERIOD = Settings.gossip.AMOUNT_LAST_MESSAGES_SAVED = 10_000
        Settings.heartbeat.WAIT_CONVERGENCE = Settings.gossip.PERIOD = SHORT
        Settings.gossip.MODELS_PERIOD = SHORT
        Settings.gossip.MODELS_PER_ROUND = 64
        Settings.gossip.EXIT_ON_X_EQUAL_ROUNDS = 10_000
    logger.set_level("ERROR")


def rounds_seen(nodes: Sequence[Any], ended: threading.Event) -> Iterator[float]:
    """Yield the time at which each round has ended for all nodes, the last one apart: p2pfl forgets it at the end."""
    wanted = 1
    while not ended.is_set():
        rounds = [node.state.round for node in nodes]
        if all(number is not None and number >= wanted for number in rounds):
            yield time.perf_counter()
            wanted += 1
        ended.wait(0.005)


def measure(nodes: Sequence[Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Let the nodes learn; return seconds, bytes and local updates.

    Raises:
        Exception: a node failed, or it takes longer than ``PATIENCE``.
    """
    from p2pfl.management.logger import logger

    rounds, ended, passed = int(told["rounds"]), threading.Event(), list[float]()
    watch = threading.Thread(target=lambda: passed.extend(rounds_seen(nodes, ended)), daemon=True)
    started, worked = time.perf_counter(), time.process_time()
    watch.start()
    nodes[0].set_start_learning(rounds=rounds, epochs=int(told["epochs"]), trainset_size=len(nodes))
    while not all(node.learning_workflow.finished for node in nodes):
        for node in nodes:
            node.assert_running(True)  # one that fails stops itself, and the others would wait for it
        if time.perf_counter() - started > PATIENCE:
            raise RuntimeError(f"p2pfl's nodes did not finish within {PATIENCE:g} s")
        time.sleep(0.005)
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    ended.set()
    watch.join()
    trainings = [node.learning_workflow.history.count("TrainStage") for node in nodes]
    time.sleep(1.0)  # its log is written by a thread
    sent = logger.get_messages(direction="sent")
    kinds = {kind: [message for message in sent if message["package_type"] == kind] for kind in ("weights", "message")}
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "round_seconds": [after - before for before, after in pairwise(passed)][: rounds - 2],
        "local_updates": sum(trainings),
        "bytes": sum(message["package_size"] for message in sent),
        "weight_bytes": sum(message["package_size"] for message in kinds["weights"]),
        "weight_messages": len(kinds["weights"]),
        "other_messages": len(kinds["message"]),
    }


def score(model: nn.Module, images: Images) -> float:
    """Return the share of records that a model gets right."""
    batch = images[slice(None)]
    with torch.no_grad():
        return float((model.eval()(batch["image"]).argmax(dim=1) == batch["label"]).float().mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one federation and print what it took."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench.p2pfl", description=__doc__)
    parser.add_argument("file", type=Path, help="what experiments.bench.peers prepared")
    parser.add_argument("--protocol", choices=("memory", "grpc"), default="memory", help="how nodes talk")
    parser.add_argument("--waits", choices=("short", "default"), default="short", help="of p2pfl")
    chosen = parser.parse_args(arguments)
    os.environ["TQDM_DISABLE"] = "1"
    out, sys.stdout = sys.stdout, sys.stderr  # its progress and tables are not our answer
    import_torchvision("torchvision.datasets")  # p2pfl imports it, and a CPU-only torch needs help with that
    from p2pfl.settings import Settings

    Settings.general.DISABLE_RAY = True  # its actors need seconds more to start, and cannot import this torchvision
    torch.set_num_threads(1)
    with np.load(chosen.file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "told"}
        told = json.loads(str(stored["told"]))
    code = 1
    try:
        settle(chosen.waits)
        nodes = build_nodes(told, arrays, chosen.protocol)
        result = measure(nodes, told)
        result["peak_memory"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        public = Images(arrays["public/images"], arrays["public/labels"])
        result["accuracy"] = score(nodes[0].get_model().get_model(), public)
        print(json.dumps(result), file=out, flush=True)
        code = 0
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    os._exit(code)  # some of its threads never end


if __name__ == "__main__":
    main()
