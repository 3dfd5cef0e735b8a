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
