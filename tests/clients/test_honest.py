"""The honest client trains on what it has and enters what it spent."""

import torch

from common.privacy import Ledger


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_it_prepares_nothing_and_sends_what_it_learnt(build, model, records):
    honest = build()
    assert honest.prepare(records, model) is records
    update = {"weight": torch.ones(2)}
    assert honest.send(update, {"weight": torch.zeros(2)}) is update


def test_without_a_plan_it_trains_plainly_and_spends_nothing(build, model, records):
    honest = build()
    before = weights(model)
    assert set(honest.train(model, records)) == {"train-loss", "train-accuracy"}
    assert not weights(model).equal(before)
    assert honest.setting.ledger.entries == ()


def test_with_a_plan_it_trains_privately_and_spends_it(build, model, records):
    honest = build(private=True, round=2)
    assert "train-loss" not in honest.train(model, records)
    (entry,) = honest.setting.ledger.entries
    plan = honest.setting.plan
    assert (entry.round, entry.steps) == (2, 5)
    assert (entry.noise_multiplier, entry.sampling_rate) == (plan.noise_multiplier, 0.2)


def test_a_restart_within_a_round_spends_it_once(build, model, records):
    start = {name: value.clone() for name, value in model.state_dict().items()}
    ledger, sent = Ledger(), []
    for _ in range(2):
        model.load_state_dict(start)
        build(private=True, ledger=ledger).train(model, records)
        sent.append(weights(model))
    assert sent[0].equal(sent[1])
    assert len(ledger.entries) == 1


def test_all_rounds_together_spend_at_most_the_budget(build, model, records):
    ledger = Ledger()
    for number in (1, 2, 3):
        build(private=True, ledger=ledger, round=number).train(model, records)
    assert 0.99 * 8 <= ledger.epsilon("rdp", 1e-5) <= 8


def test_seeds_differ_between_clients_and_rounds_as_they_should(build):
    first, later, other = build(), build(round=2), build(number=1)
    assert first.setting.fixed_seed("x") == later.setting.fixed_seed("x") != other.setting.fixed_seed("x")
    assert len({s.setting.round_seed("x") for s in (first, later, other)}) == 3
    assert build(seed=2).setting.fixed_seed("x") != first.setting.fixed_seed("x")
