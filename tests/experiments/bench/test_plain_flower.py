"""Flower's side of the bench does the training that is asked for, and not more: what it needs is opened once."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

from common.data import partition, prepare
from common.seeds import derive
from common.training import train
from experiments.bench import plain_flower
from experiments.bench.federation import described
from experiments.inprocess import InProcessGrid
from server.federation import initial_model

CLIENTS, ROUNDS = 3, 2
OPENS = ("load", "prepare", "partition", "initial_model")


@pytest.fixture
def _afresh() -> Iterator[None]:
    plain_flower._opened.cache_clear()
    yield
    plain_flower._opened.cache_clear()


@pytest.mark.usefixtures("_afresh")
def test_an_actor_opens_data_and_network_once_and_trains_each_client_from_the_round_s_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = described(CLIENTS, 8, rounds=ROUNDS, model__width=4)
    file = tmp_path / "bench.toml"
    file.write_text(experiment.to_toml(), encoding="utf-8")
    calls: Counter[str] = Counter()

    def counted(name: str, straight: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            calls[name] += 1
            return straight(*given)

        return call

    for name in OPENS:
        monkeypatch.setattr(plain_flower, name, counted(name, getattr(plain_flower, name)))
    dataset = prepare(experiment.data)
    start = initial_model(experiment, dataset).state_dict()
    app = ClientApp()
    app.train()(plain_flower.train_one_round)
    grid = InProcessGrid(app, CLIENTS)
    asked = [(server_round, number) for server_round in range(1, ROUNDS + 1) for number in range(CLIENTS)]
    content = {
        server_round: RecordDict(
            {
                "arrays": ArrayRecord(start),
                "config": ConfigRecord({plain_flower.FILE: str(file), "server-round": server_round}),
            }
        )
        for server_round in range(1, ROUNDS + 1)
    }
    messages = [
        Message(content[server_round], dst_node_id=number + 1, message_type="train") for server_round, number in asked
    ]
    shares = partition(dataset.train.strata, CLIENTS, experiment.data)
    for (server_round, number), reply in zip(asked, grid.send_and_receive(messages), strict=True):
        model = initial_model(experiment, dataset)
        seed = derive(experiment.seed, "client", number, "round", server_round, "training")
        train(model, dataset.train.records(shares[number]), experiment.training, seed=seed)
        sent = reply.content.array_records["arrays"].to_torch_state_dict()
        assert all(torch.equal(sent[name], value) for name, value in model.state_dict().items())
        assert reply.content.metric_records["metrics"]["num-examples"] == len(shares[number])
    assert calls == dict.fromkeys(OPENS, 1)
