from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import server.adversaries
from common.description import Evaluation
from server.adversaries import QUERIES, Scored, Targets, attack_all, gradient_sources, in_worst_case
from server.marks import Marks


def linear(sign: float) -> nn.Module:
    made = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        made[1].weight.copy_(sign * torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1]]))
    return made.eval()


TARGETS = Targets(fp32=linear(1), int8=linear(1), twin=linear(1))


@pytest.fixture
def crafted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, nn.Module]]]:
    calls: list[tuple[str, nn.Module]] = []

    def craft(name: str, model: nn.Module, images: Tensor, *_: object, **__: object) -> Tensor:
        calls.append((name, model))
        return images.float() / 255

    monkeypatch.setattr(server.adversaries, "craft", craft)
    return calls


def test_whose_gradients_are_scored_on_what() -> None:
    threats = ("white-box", "insider", "transfer", "query")
    found = gradient_sources(Evaluation(threats=threats), TARGETS, {"other": linear(2)})
    assert [(name, concerns) for name, _, concerns in found] == [
        ("fp32", (("fp32", "white-box"), ("int8", "white-box"), ("int8", "insider"))),
        ("twin", (("int8", "white-box"),)),
        ("other", (("fp32", "transfer"), ("int8", "transfer"))),
    ]
    assert gradient_sources(Evaluation(threats=("query",)), TARGETS, {}) == []
    (only,) = gradient_sources(Evaluation(threats=("insider",)), TARGETS, {})
    assert only[2] == (("int8", "insider"),)


def test_each_set_is_crafted_once_and_scored_wherever_it_concerns(crafted: list) -> None:
    evaluation = Evaluation(attacks=("fgsm", "pgd"), repeats=3)
    images = torch.randint(0, 255, (6, 1, 2, 2), dtype=torch.uint8)
    labels = torch.zeros(6, dtype=torch.int64)
    answers = attack_all(evaluation, TARGETS, {}, images, labels, np.array([0, 2]), seed=1)
    # fp32 and twin: fgsm once (it has no random start), pgd three times; square on each target.
    assert [name for name, _ in crafted] == ["fgsm", "pgd", "pgd", "pgd"] * 2 + ["square"] * 2
    kinds = {(answer.target, answer.threat, answer.generator) for answer in answers.scored}
    assert kinds == {
        ("fp32", "white-box", "fp32"),
        ("int8", "white-box", "fp32"),
        ("int8", "insider", "fp32"),
        ("int8", "white-box", "twin"),
        ("fp32", "query", ""),
        ("int8", "query", ""),
        ("int8", "white-box", QUERIES),
    }
    queried = [answer for answer in answers.scored if answer.attack == "square"]
    assert all(answer.index.tolist() == [0, 2] and len(answer.marks) == 2 for answer in queried)


class Reader(nn.Module):
    """Says who it is and what it was shown: class 32 times its own number plus the level that all of an image has."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.shown: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        levels = (255 * images.flatten(1).amax(1)).round().long()
        self.shown += set(levels.tolist())
        return nn.functional.one_hot(32 * self.number + levels, 256).float()


def test_every_answer_is_its_target_s_own_to_the_very_set_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    models = {name: Reader(number) for number, name in enumerate(("fp32", "int8", "twin", "other", "third"))}
    made: list[tuple[str, str, list[int]]] = []

    def craft(name: str, model: Reader, images: Tensor, labels: Tensor, **_: object) -> Tensor:
        made.append((name, list(models)[model.number], labels.tolist()))
        return torch.full(images.shape, len(made) / 255)  # which set it is

    monkeypatch.setattr(server.adversaries, "craft", craft)
    evaluation = Evaluation(threats=("white-box", "insider", "transfer", "query"), repeats=2)
    labels, queried = torch.tensor([33, 46, 1, 13]), np.array([3, 1])  # each is right for some target and set
    answers = attack_all(
        evaluation,
        Targets(models["fp32"], models["int8"], models["twin"]),
        {name: models[name] for name in ("other", "third")},
        torch.zeros(4, 1, 2, 2, dtype=torch.uint8),
        labels,
        queried,
        seed=1,
    )
    assert len(made) == 4 * 3 + 2  # fgsm once and pgd twice with four models, square on two
    assert len(answers.scored) == 3 * (3 + 1 + 2 + 2) + 3
    for name, sets in (("fp32", 3 * 3 + 1), ("int8", 3 * 4 + 1), ("twin", 0), ("other", 0)):
        assert len(models[name].shown) == len(set(models[name].shown)) == sets  # each set once, whatever it stands for
    for answer in answers.scored:
        asked = answer.attack == "square"
        assert answer.index.tolist() == (queried.tolist() if asked else [0, 1, 2, 3])
        truth = labels[torch.from_numpy(answer.index)].tolist()
        (said,) = set(answer.marks.logits.argmax(1).tolist())
        assert list(models)[said // 32] == answer.target
        source = answer.target if asked else answer.generator
        sets = [number for number, one in enumerate(made, start=1) if one == (answer.attack, source, truth)]
        assert said % 32 == sets[answer.repeat]
        assert answer.marks.scores.tolist() == [float(label == said) for label in truth]
    gradients = [(name, attack) for name in ("fp32", "twin", "other", "third") for attack in ("fgsm", "pgd")]
    assert list(answers.adversarial) == [*gradients, ("query fp32", "square"), ("query int8", "square")]
    for (generator, attack), images in answers.adversarial.items():
        first = next(number for number, one in enumerate(made) if one[:2] == (attack, generator.split()[-1]))
        assert set((255 * images).round().flatten().tolist()) == {first + 1}


def scored(index: list[int], right: list[int]) -> Scored:
    return Scored("int8", "white-box", "pgd", "fp32", 0, np.array(index), Marks(np.array(right, dtype=float)))


def test_the_worst_case_is_taken_image_by_image() -> None:
    clean = Marks(np.array([1.0, 1, 1, 0]))
    first = scored([0, 1, 2, 3], [0, 1, 1, 1])  # fools image 0; image 3 was wrong before and stays so
    second = scored([1, 2], [0, 1])  # fools image 1
    assert in_worst_case([first, second], clean).scores.tolist() == [0, 0, 1, 0]
    assert in_worst_case([], clean).scores.tolist() == clean.scores.tolist() == [1, 1, 1, 0]


class Threshold(nn.Module):
    """Segmentation by brightness: class 1 where a pixel is brighter than a half."""

    def forward(self, images: Tensor) -> Tensor:
        light = 20 * (images[:, 0] - 0.5)
        return torch.stack([-light, light], dim=1)


def test_masks_are_attacked_under_every_threat_and_scored_by_their_dice() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 2, (4, 8, 8), generator=generator)
    images = (100 + 55 * masks[:, None]).to(torch.uint8)  # 27 levels from the edge
    model = Threshold()
    threats = ("white-box", "insider", "transfer", "query")
    evaluation = Evaluation(threats=threats, eps=40 / 255, step_size=10 / 255, steps=8, queries=150)
    targets = Targets(model, model, model)
    answers = attack_all(evaluation, targets, {"other": model}, images, masks, np.array([1, 3]), seed=1)
    dice = {(answer.threat, answer.attack): answer.marks.mean for answer in answers.scored}
    assert dice["white-box", "pgd"] == dice["insider", "fgsm"] == dice["transfer", "pgd"] == 0
    assert 0 < dice["query", "square"] < 1
    assert all(answer.marks.logits is None for answer in answers.scored)
