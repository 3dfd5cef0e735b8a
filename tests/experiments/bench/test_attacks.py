"""What both sides of the attack bench do is the same work; what it measures is no test."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attacks.craft import craft
from attacks.predict import predict
from experiments.bench import attacks as bench
from experiments.bench.attacks import Subject, early, fab, fooled_by_both, full, records, trained

TINY = Subject("resnet9", 8, 0, images=6)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "PRODUCT", 64)
    monkeypatch.setattr(bench, "STEPS", 2)


def test_images_are_equal_for_equal_seeds_and_their_classes_faint() -> None:
    first, again, other = records(20, 1), records(20, 1), records(20, 2)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert first.images.shape == (20, 3, 32, 32)
    assert first.labels.tolist() == 2 * list(range(10))


def test_every_row_is_there_with_its_target() -> None:
    model = trained(TINY)
    findings = [*early(TINY, model, 1), *full(TINY, model, 1), *fab(TINY, model, 1)]
    targets = [finding.target.words(finding.measure) for finding in findings if finding.target is not None]
    assert [words.split()[-1] for words in targets] == ["5", "1.6", "peak", "2", "2"]
    assert all(len(finding.ours) == 1 for finding in findings)
    assert "misses 0 of those" in findings[0].note
    assert all(parameter.grad is None for parameter in model.parameters())


def test_both_sides_attack_within_the_same_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(TINY)
    images, labels = bench._attacked(TINY)
    labels = predict(model, images)
    sides: list[Callable[[], Tensor]] = [
        lambda: bench._torchattacks_pgd(model, images, labels, bench.EPS),
        lambda: craft("pgd", model, images, labels, eps=bench.EPS, step_size=bench.STEP, steps=2, seed=1),
    ]
    for side in sides:
        assert 0.5 * bench.EPS < float((side() - images).abs().max()) <= bench.EPS + 1e-6
    theirs = bench._torchattacks_fab(model, images, labels)
    ours = craft("fab", model, images, labels, eps=bench.SMALL_EPS, step_size=0, steps=2, seed=1)
    assert torch.equal(predict(model, theirs) != labels, predict(model, ours) != labels)


def test_who_is_missed_would_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(TINY)
    images, _ = bench._attacked(TINY)
    labels = predict(model, images)
    monkeypatch.setattr(bench, "_torchattacks_pgd", lambda *given: 1 - images)
    monkeypatch.setattr(bench, "pgd", lambda model, images, *given, **options: images)
    fooled = int((predict(model, 1 - images) != labels).sum())
    told, equal = fooled_by_both(model, images, labels)
    assert f"torchattacks fools {fooled} of 6, ours 0 and misses {fooled}" in told
    assert not equal
