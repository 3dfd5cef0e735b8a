"""A participant's own model is scored as the evaluator scores the model of all."""

import numpy as np
import pytest
import torch

from common.config import Experiment, parse
from common.data import Dataset, prepare
from server.adversaries import Targets, attack_all, in_worst_case
from server.evaluator import calibration_images
from server.federation import initial_model
from server.int8 import compress
from server.marks import marks_of
from server.own_models import score_own

TREE = {
    "data": {"image_size": 28, "train_records": 30, "public_records": 24, "test_records": 24},
    "model": {"width": 4},
    "evaluation": {"attacks": ["fgsm", "pgd"], "steps": 2, "repeats": 2},
}


def described(**changes: object) -> tuple[Experiment, Dataset]:
    experiment = parse(TREE, "own").change({key.replace("__", "."): value for key, value in changes.items()})
    return experiment, prepare(experiment.data)


def test_it_is_what_the_evaluators_parts_make_of_the_model() -> None:
    experiment, dataset = described()
    model = initial_model(experiment, dataset)
    own = score_own(experiment, dataset, model)
    int8 = compress(model, calibration_images(experiment, dataset), experiment.compression)
    clean = marks_of(int8.kernels, dataset.test.images, dataset.test.labels)
    assert own.int8 is not None
    assert np.array_equal(own.int8.scores, clean.scores)
    everyone = np.arange(len(dataset.test))
    records = dataset.test.records(everyone)
    answers = attack_all(
        experiment.evaluation.model_copy(update={"threats": ("white-box",), "repeats": 1}),
        Targets(model, int8.kernels, int8.twin), {}, records.images, records.labels, everyone[:0],
        experiment.attack_seed(),
    )  # fmt: skip
    scored = [one for one in answers.scored if one.target == "int8"]
    assert {one.generator for one in scored} == {"fp32", "twin"}
    assert np.array_equal(own.attacked["int8"].scores, in_worst_case(scored, clean).scores)


def test_an_attack_never_helps_and_takes_the_images_that_the_description_asks_for() -> None:
    experiment, dataset = described(evaluation__records=9)
    own = score_own(experiment, dataset, initial_model(experiment, dataset))
    assert set(own.attacked) == {"fp32", "int8"}
    assert [len(marks) for marks in own.attacked.values()] == [9, 9]
    assert own.attacked["fp32"].scores.sum() <= own.fp32.scores.sum()


@pytest.mark.parametrize(("threats", "attacked"), [([], False), (["query"], False), (["white-box"], True)])
def test_only_the_white_box_threat_attacks_it_and_without_any_threat_only_clean_scores_are_taken(
    threats: list[str], attacked: bool
) -> None:
    experiment, dataset = described(evaluation__threats=threats)
    own = score_own(experiment, dataset, initial_model(experiment, dataset))
    assert bool(own.attacked) is attacked
    assert (own.int8 is None) is (not threats)


def test_the_model_is_left_as_it_was() -> None:
    experiment, dataset = described()
    model = initial_model(experiment, dataset)
    before = {name: array.clone() for name, array in model.state_dict().items()}
    score_own(experiment, dataset, model)
    assert all(torch.equal(array, before[name]) for name, array in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
