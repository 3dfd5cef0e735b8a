"""What both sides of the attack bench do is the same work; what it measures is no test."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attacks.craft import craft
from attacks.predict import predict
from experiments.bench import attacks as bench
from experiments.bench.attacks import Subject, early, fab, find, fooled_by_both, full, records, trained
from experiments.bench.findings import Taken, times_as_fast
from experiments.bench.traces import CLEAN, Traces, in_words

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


def test_every_row_is_measured_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def interleaved(sides: dict[str, Callable[[], object]], repeats: int, **_: bool) -> dict[str, list[Taken]]:
        asked.append(repeats)
        for name in ("ours", "other"):
            sides[name]()
        return {name: [Taken(1.0, 1.0)] * repeats for name in sides}

    monkeypatch.setattr(bench, "one_thread", lambda: None)
    monkeypatch.setattr(bench, "interleaved", interleaved)
    monkeypatch.setattr(bench, "EARLY", (TINY,))
    monkeypatch.setattr(bench, "FULL", TINY)
    monkeypatch.setattr(bench, "FAB", TINY)
    found = find(3)
    assert asked == [3] * 5
    assert {len(finding.ours) for finding in found} == {3}


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
    with torch.random.fork_rng(devices=[]):
        theirs = bench._in_batches(bench._fab_of(model), images, labels)
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


def changing(model: nn.Module, *, gradients: bool = False, draws: bool = False) -> Callable[..., Tensor]:
    """Return a stand-in for an attack, which leaves the traces that are asked for and the images alone."""

    def attack(images: Tensor, *labels: Tensor) -> Tensor:
        if gradients:
            model(images).sum().backward()
        if draws:
            torch.rand(1)
        return images

    return attack


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("draws", [False, True])
@pytest.mark.parametrize("side", ["theirs", "ours"])
def test_it_is_measured_which_side_leaves_what(
    side: str, gradients: bool, draws: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (images, _) = trained(TINY), bench._attacked(TINY)
    sides = {"theirs": changing(model), "ours": changing(model)}
    sides[side] = changing(model, gradients=gradients, draws=draws)
    monkeypatch.setattr(bench, "_fab_of", lambda model: sides["theirs"])
    monkeypatch.setattr(bench, "_pgd_of", lambda model, eps: sides["theirs"])
    state = torch.get_rng_state()
    found, _ = bench._fab("", TINY, model, lambda: sides["ours"](images), times_as_fast(0), 1, pgd=True)
    left = {"theirs": CLEAN, "ours": CLEAN, side: Traces(gradients, draws)}
    assert found.note.endswith(f"; {in_words(left['theirs'], left['ours'])}")
    assert found.reached() is (left["ours"] == CLEAN)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_torchattacks_fab_leaves_gradients_and_ours_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (images, _) = trained(TINY), bench._attacked(TINY)
    labels = predict(model, images)  # what is misclassified as it is, is not attacked
    monkeypatch.setattr(bench, "_attacked", lambda subject: (images, labels))
    found = [finding for finding in fab(TINY, model, 1) if finding.note]
    assert len(found) == 2
    for finding in found:
        assert "gradients left: theirs yes, ours no; random state changed: theirs yes, ours no" in finding.note
        assert finding.equal
