"""Laws of the faults: what both ways measure, where it can be worked out by hand."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.paper import released
from experiments.study import faults
from tests.experiments.study.facts_fixture import Always, Network, dataset, group


def by_name(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {fault["name"].partition(":")[0]: fault for fault in found}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_attack_on_normalised_images_breaks_the_budget_by_as_much_as_the_clamp_tells(channels: int) -> None:
    made = dataset(channels)
    found = by_name(
        faults.normalised_images(group(Network(channels, 0), Network(channels, 1), images=made), records=40, seed=0)
    )
    mean, std = released.MEAN_STD[channels]
    farthest = 255 * max(mean, 1 - mean - std)  # black or white, which every image holds
    assert found["largest change of a pixel"]["released"] == pytest.approx([farthest] * 2, abs=0.01)
    assert found["largest change of a pixel"]["ours"] == pytest.approx([8, 8], abs=0.01)
    dark = (np.asarray(made.test.images) / 255 < mean - 9 / 255).mean()
    bright = (np.asarray(made.test.images) / 255 > mean + std + 9 / 255).mean()
    assert found["pixels beyond the budget"]["released"] == pytest.approx([dark + bright] * 2, abs=0.1)
    assert found["pixels beyond the budget"]["ours"] == [0, 0]
    assert all(fault["n"] == 40 and len(fault["released"]) == len(fault["ours"]) == 2 for fault in found.values())


def test_the_clamp_alone_is_scored_on_the_same_images_without_attack() -> None:
    made, model = dataset(), Network(1, 0)
    found = by_name(faults.normalised_images(group(model, images=made), records=10_000, seed=0))
    images, labels = torch.from_numpy(made.test.images) / 255, torch.from_numpy(made.test.labels)
    with torch.no_grad():
        each = [
            float((model(shown).argmax(1) == labels).double().mean())
            for shown in (images.clamp(0.4739, 0.7109), images)
        ]
    fault = found["clamp of normalised images"]
    assert (fault["released"], fault["ours"], fault["n"]) == ([each[0]], [each[1]], 120)


@pytest.mark.parametrize(("number", "first", "drawn"), [(0, 1.0, 1 / 3), (2, 0.0, 1 / 3)])
def test_one_batch_in_the_order_of_the_disk_is_one_class(number: int, first: float, drawn: float) -> None:
    found = by_name(faults.first_batch(group(Always(number)), records=60, seed=0))
    assert list(found) == [
        "accuracy of one batch, clean",
        "accuracy of one batch, attacked within 2/255",
        "accuracy of one batch, attacked within 8/255",
    ]
    for fault in found.values():
        assert (fault["released"], fault["ours"], fault["n"]) == ([first], [pytest.approx(drawn)], 60)
        assert "first 32 images of the test set, not shuffled, are scored, 32 of them of one class" in fault["sentence"]


def test_a_test_set_of_less_than_a_batch_is_scored_whole() -> None:
    fault = faults.first_batch(group(Always(0), images=dataset(test=21)), records=60, seed=0)[0]
    assert (fault["released"], fault["ours"], fault["n"]) == ([pytest.approx(1 / 3)], [pytest.approx(1 / 3)], 21)


def test_int8_is_calibrated_on_as_many_test_images_as_public_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    made, calibrated = dataset(), []
    compress = faults.compress

    def noted(model: Any, images: Tensor, compression: Any) -> Any:
        calibrated.append(images)
        return compress(model, images, compression)

    monkeypatch.setattr(faults, "compress", noted)
    (fault,) = faults.calibration_on_test(group(Network(1, 0), Network(1, 1), images=made), records=1, seed=0)
    parts = {"test": made.test, "public": made.public}
    pixels = {name: {image.tobytes() for image in np.asarray(part.images)} for name, part in parts.items()}
    for images, part in zip(calibrated, ("test", "public", "test", "public"), strict=True):
        assert len(images) == 30
        assert {image.numpy().tobytes() for image in images} <= pixels[part]
    assert fault["n"] == 120
    assert fault["unit"] == "accuracy"


def test_a_step_with_fab_is_told_by_direction_and_length() -> None:
    model, made = Network(1, 0), dataset()
    found = by_name(faults.gradients_of_fab(group(model, images=made), records=8, seed=0))
    repeat = group(model, images=made).repeats[0]
    images, labels = faults._drawn(repeat, faults._draw(repeat, 8, 0))
    seen, true = released.gradients_after_fab(model, images, labels, eps=8 / 255, step_size=2 / 255, steps=10)
    direction, length = found["direction of a training step with FAB"], found["length of a training step with FAB"]
    assert direction["released"][0] == pytest.approx(float(seen @ true / seen.norm() / true.norm()), rel=1e-3, abs=1e-4)
    assert length["released"][0] == pytest.approx(float(seen.norm() / true.norm()), rel=1e-3)
    assert direction["ours"] == length["ours"] == [1.0]
    assert direction["n"] == 8


def test_train_mode_is_scored_in_whole_batches_and_seeds_differ() -> None:
    # 65 records in batches of 32 leave one alone, which batch norm cannot train on at 32 pixels.
    made = group(Always(0), Always(0), images=dataset(train=65))
    found = by_name(faults.train_mode(made, records=100, seed=0))
    assert set(found) == {"scored in train mode, clean", "scored in train mode, attacked"}
    assert all(fault["n"] == 96 for fault in found.values())
    assert all(0 <= value <= 1 for fault in found.values() for value in (*fault["released"], *fault["ours"]))
    models = [faults._batch_norm_model(repeat) for repeat in made.repeats]
    weights = [torch.cat([p.detach().flatten() for p in model.parameters()]) for model in models]
    again = torch.cat([p.detach().flatten() for p in faults._batch_norm_model(made.repeats[0]).parameters()])
    assert (weights[0] == again).all()
    assert not (weights[0] == weights[1]).all()
    assert by_name(faults.train_mode(made, records=100, seed=0)) == found


def test_batch_norm_is_trained_for_resnet_18_alone_or_else_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("normalised_images", "first_batch", "calibration_on_test", "gradients_of_fab", "train_mode"):
        monkeypatch.setattr(faults, name, lambda each, *, name=name, records, seed: [{"name": f"{name}: {each.data}"}])
    nine, eighteen = group(Always(0), data="a"), group(Always(0), data="b", model__name="resnet18")
    names = [fault["name"] for fault in faults.measure_faults([nine, eighteen], records=1, seed=0)]
    assert len(names) == 9
    assert names[-1] == "train_mode: b"
    assert faults.measure_faults([nine], records=1, seed=0)[-1]["name"] == "train_mode: a"
    assert faults.measure_faults([], records=1, seed=0) == []


def test_nothing_else_is_changed() -> None:
    models = [Network(1, 0).eval(), Network(1, 1).eval()]
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads()
    weights = [parameter.detach().clone() for model in models for parameter in model.parameters()]
    found = faults.measure_faults([group(*models)], records=32, seed=0)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads()
    assert (before[0] == after[0]).all()
    assert before[1:] == after[1:]
    kept = [parameter for model in models for parameter in model.parameters()]
    assert all((one == other).all() and other.grad is None for one, other in zip(weights, kept, strict=True))
    assert not any(model.training for model in models)
    for fault in found:
        assert set(fault) == {"name", "sentence", "released", "ours", "n", "unit"}
        assert fault["name"].endswith(": made up")
        assert len(fault["released"]) == len(fault["ours"]) == 2
