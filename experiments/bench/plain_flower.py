"""The other side of the federation bench: Flower's own simulation with its plain FedAvg, as its guides write it.

It trains a description's federation on Flower's Ray engine and writes the final weights. The clients train as ours do,
on the same records, from the same weights and seeds; there are no checks, scores, ledgers or checkpoints. Each actor
opens the data, splits them and makes its network once, as our workers do.
"""

import functools
import logging
import os
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from numpy.typing import NDArray
from torch import nn

from common.code import ROOT
from common.config import Experiment, load
from common.data import Split, partition, prepare
from common.folder import write_arrays
from common.seeds import derive
from common.threads import torch_threads
from common.training import train
from server.federation import initial_model

FILE = "file"
"""Of the run's configuration: the description's file."""


@functools.lru_cache(maxsize=1)
def _opened(file: str) -> tuple[Experiment, Split, tuple[NDArray[np.int64], ...], nn.Module]:
    """Return the description, its training images, which of them each client holds, and a network."""
    experiment = load(file)
    dataset = prepare(experiment.data)
    shares = partition(dataset.train.strata, len(experiment.roster()), experiment.data)
    return experiment, dataset.train, tuple(shares), initial_model(experiment, dataset)


def train_one_round(message: Message, context: Context) -> Message:
    """Train for one round and return the weights."""
    config = message.content.config_records["config"]
    number, server_round = int(context.node_config["partition-id"]), int(str(config["server-round"]))
    experiment, images, shares, model = _opened(str(config[FILE]))
    records = images.records(shares[number])
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    seed = derive(experiment.seed, "client", number, "round", server_round, "training")
    with torch_threads(1):
        metrics = train(model, records, experiment.training, seed=seed)
    told = MetricRecord({**metrics, "num-examples": len(records)})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": told}), reply_to=message)


def simulate(file: Path, model_file: Path) -> None:
    """Run a federation of simulated nodes, one core each, and write its model as safetensors."""
    for name in ("flwr", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    experiment = load(file)
    server_app, client_app = ServerApp(), ClientApp()
    client_app.train()(train_one_round)

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        model = initial_model(experiment, prepare(experiment.data))
        clients = len(experiment.roster())
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
        result = strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(model.state_dict()),
            train_config=ConfigRecord({FILE: str(file.resolve())}),
            num_rounds=experiment.federation.rounds,
        )
        model.load_state_dict(result.arrays.to_torch_state_dict())
        write_arrays(model_file, model.state_dict())

    run_simulation(
        server_app=server_app,
        client_app=client_app,
        num_supernodes=len(experiment.roster()),
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"log_to_driver": False}},
    )
