"""FLTrust's reference: one local update on the public records, the same for all who make it."""

import numpy as np
import pytest
import torch

from common.config import Experiment, parse
from common.data import prepare
from common.errors import UserError
from common.exchange import arrays_of, load_arrays
from common.records import Records
from common.seeds import derive
from common.training import train
from experiments.root_update import root_update
from peers.secure.vector import difference, size_of
from server.federation import initial_model


def described(**changes: object) -> Experiment:
    return parse(
        {
            "protocol": "secure", "data": {"train_records": 60, "public_records": 40}, "model": {"width": 4},
            "clients": [{"count": 5}], "secure": {"rule": "fltrust"}, **changes,
        },
        "here",
    )  # fmt: skip


def test_it_is_one_local_update_on_the_public_records() -> None:
    experiment = described()
    dataset = prepare(experiment.data)
    model, other = initial_model(experiment, dataset), initial_model(experiment, dataset)
    arrays = arrays_of(model)
    found = root_update(experiment, dataset, model, arrays, 3)
    load_arrays(other, arrays)
    records = Records(torch.tensor(dataset.public.images), torch.tensor(dataset.public.labels))
    train(other, records, experiment.training, seed=derive(experiment.seed, "root", 3))
    assert found is not None
    assert found.shape == (size_of(arrays),)
    assert np.array_equal(found, difference(arrays_of(other), arrays))


def test_each_round_has_another_and_what_the_model_was_before_does_not_count() -> None:
    experiment = described()
    dataset = prepare(experiment.data)
    model = initial_model(experiment, dataset)
    arrays = arrays_of(model)
    one, again, other = (root_update(experiment, dataset, model, arrays, number) for number in (1, 1, 2))
    assert one is not None
    assert again is not None
    assert other is not None
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_no_other_rule_has_one() -> None:
    experiment = described(secure={"rule": "rsa"})
    dataset = prepare(experiment.data)
    model = initial_model(experiment, dataset)
    assert root_update(experiment, dataset, model, arrays_of(model), 1) is None


def test_an_update_without_a_direction_is_refused() -> None:
    experiment = described(training={"learning_rate": 1e-45, "optimizer": "sgd", "momentum": 0.0})
    dataset = prepare(experiment.data)
    model = initial_model(experiment, dataset)
    with pytest.raises(UserError, match=r"public records changes nothing.*raise data.public_records"):
        root_update(experiment, dataset, model, arrays_of(model), 1)
