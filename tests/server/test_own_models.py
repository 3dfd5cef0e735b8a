"""A participant's own model is scored as the evaluator scores the model of all."""

from types import ModuleType

import numpy as np
import pytest
import torch

import server.adversaries
import server.own_models
from common.config import Experiment, parse
from common.data import Dataset, prepare
from server.adversaries import Targets, attack_all, in_worst_case
from server.federation import initial_model
from server.marks import Marks
from server.own_models import score_own
from tests.server.torn_fixture import Torn

TREE = {
    "data": {"image_size": 28, "train_records": 30, "public_records": 24, "test_records": 24},
    "model": {"width": 4},
    "evaluation": {"attacks": ["fgsm", "pgd"], "steps": 2, "repeats": 2},
}


def described(**changes: object) -> tuple[Experiment, Dataset]:
    experiment = parse(TREE, "own").change({key.replace("__", "."): value for key, value in changes.items()})
    return experiment, prepare(experiment.data)


def test_it_is_what_the_evaluators_parts_make_of_the_model() -> None:
    experiment, _ = described(
        seed=3, data__test_records=60, compression__activation_bits=7, evaluation__eps=0.0002, evaluation__repeats=1
    )
    torn = Torn(experiment)
    own = score_own(experiment, torn.data, torn.model)
    assert own.int8 is not None
    assert own.fp32.scores.tolist() == torn.right["fp32"].tolist()
    assert own.int8.scores.tolist() == torn.right["int8"].tolist()
    everyone = np.arange(len(torn.data.test))
    records = torn.data.test.records(everyone)
    answers = attack_all(
        experiment.evaluation.model_copy(update={"threats": ("white-box",)}),
        Targets(torn.model, torn.int8.kernels, torn.int8.twin), {}, records.images, records.labels, everyone[:0],
        experiment.attack_seed(),
    )  # fmt: skip
    for target, generators in (("fp32", {"fp32"}), ("int8", {"fp32", "twin"})):
        scored = [one for one in answers.scored if one.target == target]
        assert {one.generator for one in scored} == generators
        worst = in_worst_case(scored, Marks(torn.right[target].astype(float)))
        assert own.attacked[target].scores.tolist() == worst.scores.tolist()


def test_each_thing_is_made_once_however_often_the_description_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, dataset = described(evaluation__repeats=3)

    def counted(module: ModuleType, name: str) -> list[tuple[object, ...]]:
        real, calls = getattr(module, name), list[tuple[object, ...]]()

        def count(*arguments: object, **options: object) -> object:
            calls.append(arguments)
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, count)
        return calls

    compressed, scored = counted(server.own_models, "compress"), counted(server.own_models, "marks_of")
    crafted = counted(server.adversaries, "craft")
    model = initial_model(experiment, dataset)
    score_own(experiment, dataset, model)
    assert [arguments[0] for arguments in compressed] == [model]
    assert [arguments[0] is model for arguments in scored] == [True, False]
    assert [arguments[0] for arguments in crafted] == ["fgsm", "pgd"] * 2
    assert [arguments[1] is model for arguments in crafted] == [True] * 2 + [False] * 2  # then the twin's


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
