"""A peer's training: the strategies, plans and ledgers of a server's clients, as a function of a job."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from clients.holding import simulated_holding
from clients.image_facts import image_facts
from clients.learner import Learner, simulated_learner
from common.config import Experiment
from common.data import prepare
from common.errors import UserError
from common.exchange import arrays_of
from common.local_update import Failed, Job, Learned
from common.privacy import Ledger
from server.federation import initial_model
from tests.clients.client_fixture import FOLDED, FOLDING, PRIVATE, ask, join, simulated, tiny

PEERS = {"protocol": "braintorrent"}


def learner(folder: Path, number: int = 0, updates: int = 3, **changes: Any) -> Learner:
    made = tiny(**PEERS, **changes)
    return simulated_learner(
        made, number, simulated_holding(made, number), image_facts(prepare(made.data)), folder, updates
    )


def start(made: Experiment | None = None) -> dict[str, torch.Tensor]:
    made = made or tiny()
    return arrays_of(initial_model(made, prepare(made.data)))


def learned(result: Learned | Failed) -> Learned:
    assert isinstance(result, Learned), result.reason
    return result


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("number", [0, 1])
def test_the_first_update_is_the_first_round_of_a_servers_client_bit_for_bit(tmp_path: Path, number: int) -> None:
    mine = learned(learner(tmp_path, number).learn(Job(number, 1, start())))
    grid = simulated()
    reply = ask(grid, tiny(), "train", number + 1)
    theirs = {name: torch.from_numpy(array.numpy()) for name, array in reply["arrays"].items()}
    assert equal(mine.sent, theirs)
    assert mine.records == reply["metrics"]["num-examples"]


def test_equal_jobs_come_to_equal_ends(tmp_path: Path) -> None:
    job = Job(0, 2, start())
    one, other = (learned(learner(tmp_path / name).learn(job)) for name in ("one", "other"))
    assert equal(one.arrays, other.arrays)
    assert equal(one.optimizer, other.optimizer)
    assert not equal(one.arrays, learned(learner(tmp_path / "one").learn(Job(0, 3, start()))).arrays)
    assert equal(job.arrays, start()), "the job is as it was"


def test_the_optimiser_goes_on_where_it_ended_unless_that_is_not_wanted(tmp_path: Path) -> None:
    first = learned(learner(tmp_path).learn(Job(0, 1, start())))
    assert first.optimizer
    on = learned(learner(tmp_path).learn(Job(0, 2, start(), first.optimizer)))
    afresh = learned(learner(tmp_path).learn(Job(0, 2, start())))
    assert not equal(on.arrays, afresh.arrays)
    steps = next(key for key in on.optimizer if key.endswith("/step"))
    assert float(on.optimizer[steps]) == 2 * float(first.optimizer[steps])
    without = learned(learner(tmp_path, peers__keep_optimizer=False).learn(Job(0, 2, start(), first.optimizer)))
    assert without.optimizer == {}
    assert equal(without.arrays, afresh.arrays)


def test_a_private_peer_plans_for_its_own_number_of_updates_and_enters_each_once(tmp_path: Path) -> None:
    few, many = (learner(tmp_path / str(n), updates=n, **PRIVATE).introduce().plan for n in (1, 9))
    assert few is not None
    assert many is not None
    assert few.noise_multiplier < many.noise_multiplier
    assert many.epsilon <= tiny(**PRIVATE).privacy.epsilon * (1 + 1e-6)
    one = learner(tmp_path, updates=2, **PRIVATE)
    results = [learned(one.learn(Job(0, version, start()))) for version in (1, 1, 2)]
    assert equal(results[0].sent, results[1].sent)
    entries = json.loads(results[2].ledger)["entries"]
    assert [entry["round"] for entry in entries] == [1, 2]
    plan = one.introduce().plan
    assert plan is not None
    spent = Ledger.from_json(results[2].ledger).epsilon(plan.accountant, plan.delta)
    assert spent == pytest.approx(plan.epsilon, rel=1e-6)


def test_another_start_or_optimiser_is_another_release(tmp_path: Path) -> None:
    one = learner(tmp_path, updates=2, **PRIVATE)
    first = learned(one.learn(Job(0, 1, start())))
    moved = {name: array + 0.01 for name, array in start().items()}
    learned(one.learn(Job(0, 1, moved)))
    last = learned(one.learn(Job(0, 1, start(), first.optimizer)))
    entries = json.loads(last.ledger)["entries"]
    assert len({entry["release"] for entry in entries}) == len(entries) == 3


def test_a_mistake_is_a_sentence_and_what_it_spent_stays_spent(tmp_path: Path) -> None:
    failed = learner(tmp_path).learn(Job(0, 1, {"weight": torch.zeros(2)}))
    assert isinstance(failed, Failed)
    assert "not those of its model" in failed.reason
    wild = {name: torch.full_like(array, 1e30) for name, array in start().items()}
    failed = learner(tmp_path, training__optimizer="sgd", training__learning_rate=1e30).learn(Job(0, 1, wild))
    assert isinstance(failed, Failed)
    assert "diverged" in failed.reason


def test_a_ledger_that_is_lost_stops_everything(tmp_path: Path) -> None:
    one = learner(tmp_path, updates=2, **PRIVATE)
    one.introduce()
    (file,) = tmp_path.rglob("ledger.json")
    file.unlink()
    with pytest.raises(UserError, match="ledger is lost"):
        one.learn(Job(0, 1, start()))


def test_a_simulated_servers_client_is_as_it_was(tmp_path: Path) -> None:
    reply = join(simulated(), tiny(), (1,))[-1]
    assert "arrays" in reply


@pytest.mark.parametrize("private", [True, False])
def test_why_a_private_peer_s_model_is_refused_is_told_and_nothing_is_spent(tmp_path: Path, private: bool) -> None:
    (tmp_path / "rows.py").write_text(FOLDING)
    model = {"name": f"{tmp_path}/rows.py:build"}
    peer = learner(tmp_path, model=model, **PRIVATE if private else {})
    result = peer.learn(Job(0, 1, start(tiny(model=model))))
    assert isinstance(result, Failed if private else Learned)
    if isinstance(result, Failed):
        assert result.reason.startswith(FOLDED)
        assert not Ledger.from_json(result.ledger).entries


MINE = """
from clients.honest import Honest
from common.errors import UserError


class Mine(Honest):
    def train(self, model, records):
        raise RAISED
"""
OWN_WORDS = "UserError(f'saw {records.labels.tolist()}')"


@pytest.mark.parametrize(
    ("raised", "folds", "told"),
    [
        (OWN_WORDS, False, "strategy Mine.train raised UserError; the client's own log tells more"),
        ("KeyError", True, "strategy Mine.train raised KeyError; the client's own log tells more"),
        (OWN_WORDS, True, FOLDED),
    ],
)
def test_a_private_peer_s_strategy_keeps_its_words(tmp_path: Path, raised: str, folds: bool, told: str) -> None:
    (tmp_path / "rows.py").write_text(FOLDING)
    (tmp_path / "mine.py").write_text(MINE.replace("RAISED", raised))
    model = {"name": f"{tmp_path}/rows.py:build"} if folds else {"name": "resnet9", "width": 4}
    strategies = [{"name": "a", "strategy": f"{tmp_path}/mine.py:Mine"}, {"name": "b"}]
    result = learner(tmp_path, clients=strategies, model=model, **PRIVATE).learn(Job(0, 1, start(tiny(model=model))))
    assert isinstance(result, Failed)
    assert result.reason.startswith(told)


def test_a_trial_that_fails_otherwise_explains_nothing_and_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("clients.learner.refuse_unfit_model", fails)
    (tmp_path / "mine.py").write_text(MINE.replace("RAISED", OWN_WORDS))
    strategies = [{"name": "a", "strategy": f"{tmp_path}/mine.py:Mine"}, {"name": "b"}]
    result = learner(tmp_path, clients=strategies, **PRIVATE).learn(Job(0, 1, start()))
    assert isinstance(result, Failed)
    assert result.reason.startswith("strategy Mine.train raised UserError")
