"""Sign flip and scaling, by hand-computed numbers."""

import pytest
import torch

RECEIVED = {"weight": torch.tensor([1.0, -2.0]), "steps": torch.tensor(3)}
UPDATE = {"weight": torch.tensor([1.5, -3.0]), "steps": torch.tensor(4)}


@pytest.mark.parametrize(
    ("factor", "sent"), [(-1, [0.5, -1.0]), (10, [6.0, -12.0]), (1, [1.5, -3.0]), (0, [1.0, -2.0]), (-2.0, [0.0, 0.0])]
)
def test_it_scales_what_it_learnt_about_what_it_received(factor, sent, build):
    got = build("update-poisoner", {"factor": factor}).send(UPDATE, RECEIVED)
    assert got["weight"].tolist() == sent
    assert got["steps"].item() == 4


def test_by_default_it_flips_the_sign(build):
    assert build("update-poisoner").send(UPDATE, RECEIVED)["weight"].tolist() == [0.5, -1.0]


def test_it_trains_as_an_honest_client_does_but_is_none(build, records, model):
    poisoner = build("update-poisoner")
    assert not poisoner.honest
    assert poisoner.prepare(records, model) is records
    start = {name: value.clone() for name, value in model.state_dict().items()}
    poisoner.train(model, records)
    lied = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(start)
    build().train(model, records)
    assert all(value.equal(lied[name]) for name, value in model.state_dict().items())
