import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

import server.evaluator
from common.config import Experiment, parse
from common.data import Dataset, prepare
from common.folder import RunFolder, read_json, write_arrays, write_json
from common.records import as_float
from common.seeds import numpy_generator
from server.adversarial_sets import AdversarialSets, digest_of
from server.adversaries import Targets, attack_all, in_worst_case
from server.deployment import measure_compression, run_onnx
from server.evaluator import calibration_images, evaluate, predicted_classes, sample
from server.federation import initial_model
from server.int8 import with_rounded_weights
from server.marks import Marks
from server.score import logits_of
from tests.server import federation_fixture as fixture
from tests.server.torn_fixture import Torn

TINY = {
    "data": {"image_size": 28, "train_records": 30, "public_records": 24, "test_records": 24},
    "model": {"width": 4},
    "evaluation": {"records": 12, "stress_records": 6, "steps": 2, "seed": 5, "threats": ["transfer"]},
}


def test_no_number_means_all_records() -> None:
    labels = fixture.dataset().test.labels
    assert sample(labels, None, np.random.default_rng(0)).tolist() == list(range(len(labels)))
    assert len(sample(labels, 5, np.random.default_rng(0))) == 5


def tiny(**changes: object) -> Experiment:
    return parse(TINY, "tiny").change({key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture(scope="module")
def data() -> Dataset:
    return prepare(tiny().data)


def evaluated(
    folder: Path, experiment: Experiment, data: Dataset, generators: Mapping[str, nn.Module], **options: object
) -> RunFolder:
    """Evaluate the untrained model of an experiment."""
    return evaluated_model(folder, experiment, data, initial_model(experiment, data), generators, **options)


def evaluated_model(
    folder: Path,
    experiment: Experiment,
    data: Dataset,
    model: nn.Module,
    generators: Mapping[str, nn.Module],
    **options: object,
) -> RunFolder:
    run = RunFolder(folder)
    write_arrays(run.model, model.state_dict())
    write_json(run.ledger, {"worst_honest_epsilon": None})
    evaluate(experiment, data, run, generators, **{"latencies": False, **options})  # type: ignore[arg-type]
    return run


def test_a_generator_s_set_is_crafted_once_for_three_targets_and_no_measure_changes(
    tmp_path: Path, data: Dataset
) -> None:
    sets = AdversarialSets(tmp_path / "sets")
    for seed in (1, 2, 3):
        experiment = tiny(seed=seed)
        generators = {"other": initial_model(tiny(seed=9), data).eval()}
        plain = evaluated(tmp_path / f"plain-{seed}", experiment, data, generators)
        cached = evaluated(tmp_path / f"cached-{seed}", experiment, data, generators, sets=sets)
        for path in (plain.results, plain.examples, plain.int8_model):
            assert (cached.path / path.name).read_bytes() == path.read_bytes(), path.name
        told = [read_json(run.evaluation) for run in (plain, cached)]
        assert told[0]["warnings"] == told[1]["warnings"]
    assert (sets.crafts, sets.hits) == (2, 4)  # fgsm and pgd


def test_own_sets_of_fp32_and_of_the_twin_are_kept_apart_and_serve_a_second_evaluation(
    tmp_path: Path, data: Dataset
) -> None:
    experiment = tiny(evaluation__threats=["white-box", "insider"], evaluation__attacks=["pgd"], evaluation__repeats=2)
    sets = AdversarialSets(tmp_path / "sets")
    plain = evaluated(tmp_path / "plain", experiment, data, {})
    first = evaluated(tmp_path / "first", experiment, data, {}, sets=sets)
    assert (sets.crafts, sets.hits) == (4, 0)
    second = evaluated(tmp_path / "second", experiment, data, {}, sets=sets)
    assert (sets.crafts, sets.hits) == (4, 4)
    assert plain.results.read_bytes() == first.results.read_bytes() == second.results.read_bytes()


def test_what_a_model_meets_as_its_own_attack_others_meet_as_a_transfer(tmp_path: Path, data: Dataset) -> None:
    sets = AdversarialSets(tmp_path / "sets")
    evaluated(tmp_path / "a", tiny(seed=9, evaluation__threats=["insider"]), data, {}, sets=sets)
    evaluated(tmp_path / "b", tiny(seed=1), data, {"other": initial_model(tiny(seed=9), data)}, sets=sets)
    assert (sets.crafts, sets.hits) == (2, 2)


def test_nothing_is_kept_of_a_budget_of_nothing(tmp_path: Path, data: Dataset) -> None:
    sets = AdversarialSets(tmp_path / "sets")
    experiment = tiny(evaluation__eps=0, evaluation__threats=["insider"])
    evaluated(tmp_path / "a", experiment, data, {}, sets=sets)
    assert not sets.path.exists()


def test_latencies_are_left_out_where_nobody_wants_them(
    tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.evaluator, "LATENCY_SECONDS", 0.05)
    experiment = tiny(evaluation__threats=["insider"], evaluation__attacks=["fgsm"])
    without = read_json(evaluated(tmp_path / "a", experiment, data, {}).evaluation)["compression"]
    measured = read_json(evaluated(tmp_path / "b", experiment, data, {}, latencies=True).evaluation)["compression"]
    assert (without["latency_ms"], without["repeats"]) == ({}, {})
    assert len(measured["latency_ms"]) == 4
    assert {key: value for key, value in without.items() if key not in ("latency_ms", "repeats")} == {
        key: value for key, value in measured.items() if key not in ("latency_ms", "repeats")
    }


def test_each_measure_is_that_of_the_model_whose_name_it_bears(tmp_path: Path) -> None:
    experiment = tiny(
        seed=3, data__test_records=60, compression__activation_bits=7, evaluation__records=50, evaluation__eps=0.0002,
        evaluation__threats=["white-box", "insider"],
    )  # fmt: skip
    torn = Torn(experiment)
    data, sets = torn.data, AdversarialSets(tmp_path / "sets")
    run = evaluated_model(tmp_path, experiment, data, torn.model, {}, sets=sets)
    rows, told = list(csv.DictReader(run.results.open())), read_json(run.evaluation)

    def value(**wanted: object) -> float:
        (row,) = [row for row in rows if wanted.items() <= row.items()]
        return float(row["value"])

    for name, right in torn.right.items():
        assert value(target=name, threat="clean", metric="accuracy") == right.mean()
    assert told["verdict"]["useful"]["value"] == torn.right["int8"].mean()
    plain = measure_compression(torn.model, torn.int8, run.int8_model, data.test.images, seconds=None)
    assert plain["agreement"]["int8_fp32"] < plain["agreement"]["onnx_int8"]
    assert told["compression"]["agreement"] == plain["agreement"]

    attacked = sample(data.test.labels, 50, numpy_generator(5, "attacked images"))
    records = data.test.records(attacked)
    targets = Targets(torn.model, torn.int8.kernels, with_rounded_weights(torn.int8.twin))
    followed = [digest_of(experiment.model, getattr(targets, kind), kind)[:16] for kind in ("fp32", "twin")]
    assert sorted(folder.name for folder in sets.path.iterdir()) == sorted(followed)
    answers = attack_all(experiment.evaluation, targets, {}, records.images, records.labels, attacked[:0], seed=5)
    for answer in answers.scored:
        which = {name: getattr(answer, name) for name in ("target", "threat", "attack", "generator")}
        before = torn.right[answer.target][attacked]
        assert value(**which, metric="accuracy") == answer.marks.mean
        assert value(**which, metric="attack_success") == pytest.approx(1 - answer.marks.scores[before].mean())
    by_int8 = [answer for answer in answers.scored if answer.target == "int8"]
    fooled = in_worst_case(by_int8, Marks(torn.right["int8"][attacked].astype(float)))
    assert told["verdict"]["robust"]["value"] == fooled.mean

    with safe_open(run.examples, "pt") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    images = as_float(torch.from_numpy(np.array(data.test.images)))
    places = [int((images == clean).flatten(1).all(1).nonzero()) for clean in arrays["clean"]]
    assert arrays["labels"].tolist() == data.test.labels[places].tolist()
    assert arrays["clean_prediction"].tolist() == torn.said["int8"][places].tolist()
    assert arrays["clean_prediction"].tolist() != torn.said["fp32"][places].tolist()
    said = logits_of(torn.int8.kernels, arrays["adversarial"]).argmax(1)
    assert arrays["adversarial_prediction"].tolist() == said.tolist()


def test_predictions_go_by_the_models_names_and_there_are_none_of_masks() -> None:
    fp32, int8 = (Marks(np.ones(3), np.eye(4)[classes]) for classes in ([0, 1, 2], [3, 1, 0]))
    for clean in ({"fp32": fp32, "int8": int8}, {"int8": int8, "fp32": fp32}):
        first, second = predicted_classes(clean) or ()
        assert (first.tolist(), second.tolist()) == ([0, 1, 2], [3, 1, 0])
    masks = Marks(np.ones(3), structures=np.ones((3, 2)))
    assert predicted_classes({"fp32": masks, "int8": masks}) is None


def drawn(
    folder: Path, experiment: Experiment, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> tuple[torch.Tensor, int]:
    """Return the images that an evaluation attacks, and the seed that it gives to the attacks."""
    seen: list[tuple[torch.Tensor, int]] = []
    real = server.evaluator.attack_all

    def spy(*arguments: object) -> object:
        seen.append((arguments[3], arguments[6]))  # type: ignore[arg-type]
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(server.evaluator, "attack_all", spy)
    evaluated(folder, experiment, data, {})
    return seen[0]


def test_the_evaluation_s_seed_chooses_images_and_starts_and_the_training_s_does_not(
    tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"evaluation__threats": ["insider"], "evaluation__attacks": ["fgsm"]}
    first, second, other = (
        drawn(tmp_path / name, tiny(**asked, seed=seed, evaluation__seed=attack), data, monkeypatch)
        for name, seed, attack in (("a", 1, 5), ("b", 2, 5), ("c", 1, 6))
    )
    assert torch.equal(first[0], second[0])
    assert first[1] == second[1] == 5
    assert not torch.equal(first[0], other[0])


def test_without_a_seed_of_its_own_the_evaluation_has_the_experiment_s(
    tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = parse(TINY | {"evaluation": {"records": 12, "threats": ["insider"], "attacks": ["fgsm"]}}, "tiny")
    images, seed = drawn(tmp_path / "a", plain, data, monkeypatch)
    same, _ = drawn(tmp_path / "b", tiny(seed=3, evaluation__seed=1), data, monkeypatch)
    assert seed == plain.seed == 1
    assert torch.equal(images, same)


def test_calibration_images_follow_the_experiment_s_seed(data: Dataset) -> None:
    one, two, three = (
        calibration_images(tiny(compression__calibration_records=8, **changes), data)
        for changes in ({"seed": 1}, {"seed": 1, "evaluation__seed": 7}, {"seed": 2})
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


MASKS = {
    "data": {"source": "brain", "image_size": 32, "train_records": 14, "public_records": 14, "test_records": 14},
    "model": {"name": "unet", "width": 4},
    "evaluation": {"records": 7, "query_records": 4, "queries": 20, "stress_records": 4, "steps": 2},
}


def test_masks_are_evaluated_from_int8_to_the_examples(tmp_path: Path) -> None:
    experiment = parse(MASKS, "masks")
    brains = prepare(experiment.data)
    run = evaluated(tmp_path, experiment, brains, {})
    told, rows = read_json(run.evaluation), list(csv.DictReader(run.results.open()))
    assert {row["metric"] for row in rows} == {"dice", *(f"dice:{name}" for name in brains.classes[1:])}
    clean = next(row for row in rows if (row["target"], row["threat"], row["metric"]) == ("int8", "clean", "dice"))
    assert told["verdict"]["useful"]["value"] == float(clean["value"])
    assert "mean Dice" in told["verdict"]["robust"]["sentence"]
    assert 0 < told["unseeing"] < 1
    assert told["compression"]["agreement"]["onnx_int8"] > 0.9
    with safe_open(run.examples, "np") as file:
        shapes = {name: file.get_tensor(name).shape for name in file.keys()}  # noqa: SIM118
    assert shapes["labels"] == shapes["clean_prediction"] == shapes["adversarial_prediction"] == (6, 32, 32)
    assert run_onnx(run.int8_model, brains.test.images[:3]).shape == (3, 6, 32, 32)
