"""The Flower ClientApp: load a partition, let the client's strategy prepare, train and send.

In a simulation the description says who does what; state that must outlive a restart (the privacy ledger) lies in
Flower's client state and, where ``PSREVAL_CLIENT_STATE`` names a folder, in a file there.
"""

import functools
import os
from pathlib import Path

import numpy as np
import torch
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from torch import nn

from clients.honest import Honest, Setting
from clients.prepare import REHEARSED, prepare, rehearse, send, train
from clients.strategies import CLIENTS, build_strategy
from common.config import Client, Experiment, parse_toml
from common.data import Dataset, normalisation, partition
from common.data import prepare as prepare_data
from common.errors import UserError
from common.exchange import ARRAYS, CLIENT, CONFIG, EXAMPLES, METRICS, arrays_of, from_record, load_arrays, to_record
from common.folder import write_text
from common.models import build
from common.privacy import Ledger, Plan, calibrate
from common.private_training import refuse_mixing_layers
from common.records import Records
from common.threads import torch_threads

app = ClientApp()
"""What ``clients.app:app`` in pyproject.toml names."""

STATE_VARIABLE = "PSREVAL_CLIENT_STATE"
"""Environment variable: the folder in which this machine's clients keep their ledgers over restarts."""


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Answer who this client is and how many records it holds."""
    try:
        experiment, number, client = _self(message, context)
        records = len(_share(experiment, number))
        strategy = build_strategy(client)
        plan_of(experiment, client, records)
        if experiment.is_private(client):
            # From now on a missing ledger is a lost one.
            rounds_done = int(str(message.content.config_records[CONFIG].get("server-round", 0)))
            _save_ledger(context, experiment, client, _load_ledger(context, experiment, client, rounds_done))
    except UserError as error:
        return _refusal(message, str(error))
    about = ConfigRecord(
        {
            "name": str(client.name),
            "number": number,
            "records": records,
            "strategy": client.strategy,
            "honest": type(strategy).honest,
            "private": experiment.is_private(client),
        }
    )
    return Message(RecordDict({CLIENT: about}), reply_to=message)


@app.train()
def train_one_round(message: Message, context: Context) -> Message:
    """Train for one round and answer with the weights; a mistake is answered with its sentence."""
    try:
        experiment, number, client = _self(message, context)
        with torch_threads(experiment.federation.threads):
            return _train(message, context, experiment, number, client)
    except UserError as error:
        return _refusal(message, str(error))


def _train(message: Message, context: Context, experiment: Experiment, number: int, client: Client) -> Message:
    dataset = _dataset(experiment)
    records = dataset.train.records(_share(experiment, number))
    received = from_record(message.content.array_records[ARRAYS])
    mean, std = normalisation(dataset.public)
    model = build(
        experiment.model, dataset.channels, len(dataset.classes), mean, std, seed=0, image_size=dataset.image_size
    )
    load_arrays(model, received)
    device = _device(experiment)
    model.to(device)
    round_number = int(str(message.content.config_records[CONFIG]["server-round"]))
    ledger = _load_ledger(context, experiment, client, round_number - 1)
    strategy = build_strategy(client)
    strategy.setting = Setting(
        experiment=experiment,
        client=client,
        number=number,
        round=round_number,
        classes=len(dataset.classes),
        device=device,
        ledger=ledger,
        plan=plan_of(experiment, client, len(records)),
    )
    try:
        update, metrics, examples = _rounds_work(strategy, model, records, received)
    finally:
        # Before anything leaves, an update or a refusal: a privacy cost is never forgotten.
        _save_ledger(context, experiment, client, ledger)
    content = RecordDict(
        {
            ARRAYS: to_record(update),
            METRICS: MetricRecord({**metrics, EXAMPLES: examples}),
            CLIENT: ConfigRecord({"ledger": ledger.to_json()}),
        }
    )
    return Message(content, reply_to=message)


def rehearse_client(
    experiment: Experiment, client: Client, number: int, dataset: Dataset, share: NDArray[np.int64], model: nn.Module
) -> None:
    """Check before the first round what a client would be refused for in every round.

    A strategy of this package prepares some records for trial; a user's own is only built.

    Args:
        experiment, client, number: the description, this client's part of it and its place among the clients.
        dataset: the data that all clients' records are from.
        share: numbers of this client's records, int64 [M].
        model: the untrained model, on the CPU; left as it is.

    Raises:
        UserError: a mistake in the client's strategy, options, privacy or adversarial training, or a model that cannot
            be trained privately.
    """
    strategy = build_strategy(client)
    plan = plan_of(experiment, client, len(share))
    if plan is not None:
        refuse_mixing_layers(model)
    if type(strategy) in CLIENTS.values():
        strategy.setting = Setting(experiment, client, number, 1, len(dataset.classes), "cpu", Ledger(), plan)
        rehearse(strategy, dataset.train.records(torch.from_numpy(share[:REHEARSED])), model)


def _rounds_work(
    strategy: Honest, model: nn.Module, records: Records, received: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, float], int]:
    prepared = prepare(strategy, records, model)
    metrics = train(strategy, model, prepared)
    return send(strategy, arrays_of(model), received), metrics, len(prepared)


def _self(message: Message, context: Context) -> tuple[Experiment, int, Client]:
    experiment = parse_toml(str(message.content.config_records[CONFIG]["experiment"]), "the server's description")
    number = int(context.node_config["partition-id"])
    roster = experiment.roster()
    if not 0 <= number < len(roster):
        raise UserError(f"partition-id = {number}: the description has clients 0 to {len(roster) - 1}")
    return experiment, number, roster[number]


def _dataset(experiment: Experiment) -> Dataset:
    return _prepared(experiment.data.model_dump_json())


@functools.lru_cache(maxsize=4)
def _prepared(data: str) -> Dataset:
    return prepare_data(type(Experiment().data).model_validate_json(data))


def _share(experiment: Experiment, number: int) -> torch.Tensor:
    dataset = _dataset(experiment)
    return torch.from_numpy(partition(dataset.train.labels, len(experiment.roster()), experiment.data)[number])


def plan_of(experiment: Experiment, client: Client, records: int) -> Plan | None:
    """Return how this client trains privately, None if it does not. Raises UserError for an unreachable budget."""
    if not experiment.is_private(client):
        return None
    return calibrate(
        experiment.privacy,
        records=records,
        batch_size=experiment.training.batch_size,
        local_epochs=experiment.training.local_epochs,
        rounds=experiment.federation.rounds,
    )


def _device(experiment: Experiment) -> torch.device:
    if experiment.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(experiment.device)


def _ledger_file(experiment: Experiment, client: Client) -> Path | None:
    folder = os.environ.get(STATE_VARIABLE)
    return Path(folder) / str(client.name) / "ledger.json" if folder else None


def _load_ledger(context: Context, experiment: Experiment, client: Client, rounds_done: int) -> Ledger:
    """Return the client's ledger, an empty one before the first round. Raises UserError if it is lost or damaged."""
    if CLIENT in context.state.config_records:
        return Ledger.from_json(str(context.state.config_records[CLIENT]["ledger"]))
    file = _ledger_file(experiment, client)
    if file is not None and file.exists():
        return Ledger.from_json(file.read_text(encoding="utf-8"))
    if rounds_done > 0 and experiment.is_private(client):
        raise UserError(
            f"clients: '{client.name}': its privacy ledger is missing after round {rounds_done}, so what it has spent "
            f"is unknown; restore it in the folder that {STATE_VARIABLE} names, or start a new run"
        )
    return Ledger()


def _save_ledger(context: Context, experiment: Experiment, client: Client, ledger: Ledger) -> None:
    context.state[CLIENT] = ConfigRecord({"ledger": ledger.to_json()})
    file = _ledger_file(experiment, client)
    if file is not None:
        write_text(file, ledger.to_json())


def _refusal(message: Message, sentence: str) -> Message:
    return Message(RecordDict({CLIENT: ConfigRecord({"refusal": sentence})}), reply_to=message)
