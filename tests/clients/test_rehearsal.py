"""Before the first round: what would be refused in every round is found, and nothing else is."""

from pathlib import Path
from typing import Any

import pytest
import torch

from clients.holding import simulated_holding
from clients.rehearsal import plan_of, rehearse_client
from common.config import Experiment
from common.data import prepare
from common.errors import UserError
from server.federation import initial_model
from tests.clients.client_fixture import PRIVATE, tiny


def rehearsed(made: Experiment, model: torch.nn.Module | None = None) -> None:
    model = initial_model(made, prepare(made.data)) if model is None else model
    for number, client in enumerate(made.roster()):
        holding = simulated_holding(made, number)
        rehearse_client(made, client, number, holding, model, plan_of(made, client, len(holding)))


@pytest.mark.parametrize(
    "client",
    [
        {"adversarial_training": {"attack": "torchattacks:CW", "eps": 1.0}},
        {"strategy": "data-poisoner", "options": {"attack": "square"}},
    ],
)
def test_a_good_client_passes_its_rehearsal(client: dict[str, Any]) -> None:
    rehearsed(tiny(clients=[client, {}], **PRIVATE))


def test_a_class_that_there_is_none_of_is_refused_before_the_first_round() -> None:
    flipper = {"strategy": "label-flipper", "options": {"labels": "target:9"}}
    with pytest.raises(UserError, match="class number from 0 to"):
        rehearsed(tiny(clients=[{}, flipper], **PRIVATE))


def test_a_rehearsal_leaves_a_strategy_of_one_s_own_to_its_rounds(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from clients.honest import Honest\n"
        "class Mine(Honest):\n"
        "    def prepare(self, records, model): raise ValueError\n"
    )
    rehearsed(tiny(clients=[{"strategy": f"{tmp_path}/mine.py:Mine"}, {}], **PRIVATE))


def test_batch_norm_is_refused_in_rehearsal_for_private_clients_alone() -> None:
    made = tiny(**PRIVATE)
    mixing = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Flatten(), torch.nn.Linear(28 * 28, 3))
    with pytest.raises(UserError, match="BatchNorm2d"):
        rehearsed(made, mixing)
    rehearsed(made.change({"privacy.enabled": False, "clients.1.strategy": "honest"}), mixing)


def test_only_private_clients_have_a_plan() -> None:
    made = tiny(**PRIVATE)
    plan = plan_of(made, made.roster()[0], 20)
    assert plan is not None
    assert (plan.records, plan.steps_per_round, plan.epsilon <= 7) == (20, 3, True)
    assert plan_of(tiny(), tiny().roster()[0], 20) is None
