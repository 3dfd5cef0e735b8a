"""The evaluation doubts itself when an attack failed, and only then."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import server.stress
from attacks.craft import craft
from attacks.credibility import Finding, check_budgets, check_gradients, check_unbounded, measure_gradients
from common.config import Experiment
from common.description import Evaluation
from common.seeds import derive
from server.adversaries import Answers, Scored, Targets
from server.marks import Marks, marks_of
from server.stress import doubts

N = 40


class Brightness(nn.Module):
    """Tells bright from dark images; ``masked`` rounds its input, so that gradients vanish but the answers stay."""

    def __init__(self, masked: bool = False) -> None:
        super().__init__()
        self.masked = masked
        self.gain = nn.Parameter(torch.tensor(20.0))

    def forward(self, images: Tensor) -> Tensor:
        seen = torch.round(images * 255) / 255 if self.masked else images
        light = self.gain * (seen.flatten(1).mean(1) - 0.5)
        return torch.stack([-light, light], dim=1)


def told(model: nn.Module, answers: Answers, labels: np.ndarray | None = None, **changes: object) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    labels = np.arange(N) % 2 if labels is None else labels
    base = 100 + 55 * torch.from_numpy(labels)[:, None, None, None]
    images = (base + torch.randint(-8, 8, (len(labels), 1, 8, 8), generator=generator)).to(torch.uint8)
    experiment = Experiment().change({"evaluation.threats": ["white-box", "transfer", "query"], **changes})
    targets = Targets(fp32=model, int8=model, twin=model)
    right = Marks(np.ones(len(labels)))
    return doubts(experiment, targets, images, labels, answers, {"fp32": right, "int8": right})


def answer(threat: str, right: int, attack: str = "pgd", target: str = "fp32") -> Scored:
    generator = "fp32" if threat == "white-box" else ""
    return Scored(target, threat, attack, generator, 0, np.arange(N), Marks((np.arange(N) < right).astype(float)))


def sentences(found: list[dict], severity: str = "unreliable") -> str:
    return " ".join(finding["sentence"] for finding in found if finding["severity"] == severity)


def test_an_honest_evaluation_is_not_doubted() -> None:
    found = told(Brightness(), Answers([answer("white-box", 10), answer("query", 12), answer("transfer", 15)]))
    assert found == []


def test_masked_gradients_are_doubted() -> None:
    said = sentences(told(Brightness(masked=True), Answers([answer("white-box", N)])))
    assert "unbounded" in said
    assert "gradient is exactly zero" in said


def test_a_query_attack_that_beats_white_box_is_doubted() -> None:
    said = sentences(told(Brightness(), Answers([answer("white-box", 30), answer("query", 10, "square")])))
    assert "a query attack leaves" in said


def test_a_transfer_attack_that_beats_white_box_is_doubted() -> None:
    said = sentences(told(Brightness(), Answers([answer("white-box", 30), answer("transfer", 10)])))
    assert "a transfer attack leaves" in said


def test_pgd_weaker_than_fgsm_is_doubted() -> None:
    said = sentences(told(Brightness(), Answers([answer("white-box", 35), answer("white-box", 10, "fgsm")])))
    assert "single one" in said


def test_the_same_numbers_in_another_order_are_not() -> None:
    found = told(Brightness(), Answers([answer("white-box", 10), answer("query", 30, "square")]))
    assert sentences(found) == ""


def test_what_was_not_tried_is_noted() -> None:
    found = told(Brightness(), Answers([answer("white-box", 10)]), **{"evaluation.threats": ["white-box"]})
    assert "not tried: transfer, query" in sentences(found, "note")


def test_a_white_box_attack_that_a_plain_pgd_beats_is_doubted() -> None:
    strong = Brightness()
    with torch.no_grad():
        strong.gain.fill_(20.0)
    lazy = Answers([answer("white-box", N, "torchattacks:VANILA")])
    said = sentences(told(strong, lazy, **{"evaluation.eps": 60 / 255}))
    assert "a PGD check attack leaves" in said


def test_the_sample_holds_every_class_although_images_lie_class_by_class(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    real = server.stress._stress

    def spy(*arguments: object) -> object:
        seen.append(np.bincount(arguments[4].labels))
        return real(*arguments)

    monkeypatch.setattr(server.stress, "_stress", spy)
    labels = np.repeat([0, 1], 150)
    told(Brightness(), Answers(), labels=labels)
    assert all(counts.tolist() == [50, 50] for counts in seen)


def test_a_budget_of_nothing_is_noted() -> None:
    found = told(Brightness(), Answers(), **{"evaluation.eps": 0})
    assert "the budget is 0" in sentences(found, "note")


def test_so_many_images_are_stressed_as_the_description_says(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    real = server.stress._stress

    def spy(*arguments: object) -> object:
        seen.append(np.array(arguments[4].images.float().sum(dim=(1, 2, 3))))
        return real(*arguments)

    monkeypatch.setattr(server.stress, "_stress", spy)
    labels = np.arange(300) % 2
    for changes in (
        {},
        {"evaluation.stress_records": 20},
        {"evaluation.stress_records": 20, "seed": 2},
        {"evaluation.stress_records": 20, "evaluation.seed": 1, "seed": 2},
    ):
        told(Brightness(), Answers(), labels=labels, **changes)
    usual, fewer, otherwise, pinned = seen[::2]  # fp32 and int8 have the same sample
    assert (len(usual), len(fewer)) == (server.stress.SAMPLE, 20)
    assert fewer.tolist() == pinned.tolist() != otherwise.tolist()


class Noisy(nn.Module):
    """Brightness that is rounded coarsely, as int8 rounds; its gradients are those of ``Brightness``."""

    def __init__(self, coarse: float, gain: float = 20.0) -> None:
        super().__init__()
        self.coarse, self.gain = coarse, nn.Parameter(torch.tensor(gain))

    def forward(self, images: Tensor) -> Tensor:
        light = images.flatten(1).mean(1)
        light = light + (torch.round(light * self.coarse) / self.coarse - light).detach()
        return torch.stack([0.5 - light, light - 0.5], dim=1) * self.gain


def plain_stress(evaluation: Evaluation, target: str, scored: nn.Module, sources: list, images: Tensor,
                 labels: np.ndarray, seed: int) -> tuple[list[Finding], np.ndarray]:  # fmt: skip
    """The same checks, every set crafted and every answer asked for where it is needed."""

    def robust(eps: float, step_size: float, steps: int) -> np.ndarray:
        scores = marks_of(scored, images, labels).scores
        for model in sources:
            found = craft("pgd", model, images, torch.from_numpy(labels), eps=eps, step_size=step_size, steps=steps,
                          seed=derive(seed, "stress"))  # fmt: skip
            scores = np.minimum(scores, marks_of(scored, found, labels).scores)
        return scores

    at_budget = robust(evaluation.eps, evaluation.eps / 4, evaluation.steps)
    before = float(at_budget.mean())
    tried = [min(1.0, factor * evaluation.eps) for factor in (2, 4, 8)]
    left = [float(robust(eps, eps / 4, evaluation.steps).mean()) for eps in tried]
    hurt = [place for place, after in enumerate(left) if (before - after) * len(labels) > server.stress.NEGLIGIBLE]
    larger = (tried[hurt[0]], left[hurt[0]]) if hurt else (tried[-1], max(before, left[-1]))
    unbounded = float(robust(1.0, 0.1, 25).mean())
    found = [
        *check_budgets([(evaluation.eps, before), larger], len(labels), target=target),
        *check_unbounded(unbounded, len(labels), target=target),
    ]
    for model in sources:
        found += check_gradients(measure_gradients(model, images, torch.from_numpy(labels)), target=target)
    return found, at_budget


@pytest.mark.parametrize("eps", [1, 8, 30, 100, 255])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("wrong", [0, 10, 25, N])
def test_what_is_shared_and_left_out_changes_no_finding(eps: int, masked: bool, wrong: int) -> None:
    labels = np.arange(N) % 2
    generator = torch.Generator().manual_seed(0)
    base = 90 + 75 * torch.from_numpy(labels)[:, None, None, None]
    images = (base + torch.randint(-40, 40, (N, 1, 8, 8), generator=generator)).to(torch.uint8)
    labels[:wrong] = 1 - labels[:wrong]
    fp32, twin, int8 = Brightness(masked), Noisy(25.0), Noisy(20.0)
    evaluation = Evaluation(eps=eps / 255, steps=3)
    sample = server.stress.Sample(images, labels, derive(1, "stress"))
    for target, scored, sources in (("fp32", fp32, [fp32]), ("int8", int8, [twin, fp32])):
        clean = marks_of(scored, images, labels).scores
        found, left = server.stress._stress(evaluation, target, scored, sources, sample, clean)
        expected, expected_left = plain_stress(evaluation, target, scored, sources, images, labels, 1)
        assert found == expected
        assert left.tolist() == expected_left.tolist()


def test_a_set_that_serves_both_targets_is_crafted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    real = server.stress.craft

    def spy(name: str, model: nn.Module, *arguments: object, **told: float) -> Tensor:
        calls.append((model, told["eps"], told["step_size"]))
        return real(name, model, *arguments, **told)  # type: ignore[arg-type]

    monkeypatch.setattr(server.stress, "craft", spy)
    told(Brightness(), Answers([answer("white-box", 10)]))
    assert len(calls) == len(set(calls)) > 0


class Pixels(nn.Module):
    """Segmentation by brightness; ``masked`` as above."""

    def __init__(self, masked: bool = False) -> None:
        super().__init__()
        self.masked = masked

    def forward(self, images: Tensor) -> Tensor:
        seen = torch.round(images * 255) / 255 if self.masked else images
        light = 20 * (seen[:, 0] - 0.5)
        return torch.stack([-light, light], dim=1)


def told_of_masks(model: nn.Module, *answers: Scored) -> list[dict]:
    masks = np.random.default_rng(0).integers(0, 2, (N, 8, 8))
    images = torch.from_numpy((100 + 55 * masks[:, None]).astype(np.uint8))
    experiment = Experiment().change({"evaluation.threats": ["white-box", "transfer", "query"], "evaluation.steps": 4})
    clean = dice(np.full(N, 0.9))
    targets = Targets(fp32=model, int8=model, twin=model)
    strata = np.arange(N) % 2
    return doubts(experiment, targets, images, masks, Answers(list(answers)), {"fp32": clean, "int8": clean}, strata)


def dice(scores: np.ndarray) -> Marks:
    return Marks(scores, structures=np.stack([np.ones(len(scores)), scores], axis=1))


def dice_answer(threat: str, scores: np.ndarray, attack: str = "pgd") -> Scored:
    return Scored("fp32", threat, attack, "fp32" if threat == "white-box" else "", 0, np.arange(N), dice(scores))


SPREAD = np.linspace(0.3, 0.5, N)


def test_an_honest_evaluation_of_masks_is_not_doubted() -> None:
    answers = [dice_answer("white-box", SPREAD - 0.25), dice_answer("query", SPREAD), dice_answer("transfer", SPREAD)]
    assert told_of_masks(Pixels(), *answers) == []


def test_masked_gradients_of_masks_are_doubted() -> None:
    said = sentences(told_of_masks(Pixels(masked=True), dice_answer("white-box", SPREAD)))
    assert "leaves a Dice of" in said
    assert "gradient is exactly zero" in said


def test_a_query_attack_that_lowers_dice_in_more_images_is_doubted() -> None:
    said = sentences(told_of_masks(Pixels(), dice_answer("white-box", SPREAD), dice_answer("query", SPREAD - 0.05)))
    assert "a query attack leaves a Dice of 35.0 % where white-box gradients leave 40.0 % on the same 40 images" in said


def test_a_hundredth_of_dice_is_no_doubt() -> None:
    said = sentences(told_of_masks(Pixels(), dice_answer("white-box", SPREAD), dice_answer("query", SPREAD - 0.005)))
    assert "query" not in said


def test_pgd_that_hurts_masks_less_than_fgsm_is_doubted() -> None:
    answers = [dice_answer("white-box", SPREAD), dice_answer("white-box", SPREAD - 0.05, "fgsm")]
    assert "single one" in sentences(told_of_masks(Pixels(), *answers))
