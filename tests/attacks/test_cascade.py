"""A cascade fools whom its attacks fool alone, and asks each only about those that are left."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks import cascade as module
from attacks.cascade import cascade
from attacks.craft import craft
from common.errors import UserError

ORDER: dict[str, Any] = {"eps": 2 / 255, "step_size": 0.5 / 255, "steps": 4, "seed": 3, "queries": 30}
Predicted = Callable[[nn.Module, Tensor], Tensor]


@pytest.fixture
def model(network: Callable[..., nn.Module]) -> nn.Module:
    return network()


@pytest.fixture
def many() -> Tensor:
    return torch.rand(60, 3, 12, 12, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def labels(model: nn.Module, many: Tensor, predicted: Predicted) -> Tensor:
    """What the model says, but for five images."""
    said = predicted(model, many)
    said[:5] = (said[:5] + 1) % 4
    return said


@pytest.mark.parametrize("names", [("fgsm", "pgd"), ("pgd", "fgsm", "fab"), ("fab", "pgd"), ("pgd",), ()])
def test_it_fools_whom_any_of_them_fools_alone(
    model: nn.Module, many: Tensor, labels: Tensor, predicted: Predicted, names: tuple[str, ...]
) -> None:
    alone = predicted(model, many) != labels
    for name in names:
        alone |= predicted(model, craft(name, model, many, labels, **ORDER)) != labels
    found = cascade(names, model, many, labels, **ORDER)
    fooled = predicted(model, found) != labels
    assert torch.equal(fooled, alone)
    assert bool(fooled.all()) is False
    assert int(fooled.sum()) > 5 * bool(names) - 1
    assert torch.equal(found[~fooled], many[~fooled])
    assert torch.equal(found[:5], many[:5])
    assert float((found - many).abs().max()) <= ORDER["eps"] + 1e-6


def test_each_attack_sees_only_who_is_left(
    model: nn.Module, many: Tensor, labels: Tensor, predicted: Predicted, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, Tensor]] = []

    def noting(name: str, *given: Any, only: Tensor, **options: Any) -> Tensor:
        seen.append((name, only.clone()))
        return craft(name, *given, only=only, **options)

    monkeypatch.setattr(module, "craft", noting)
    cascade(("fgsm", "pgd", "square"), model, many, labels, **ORDER)
    left = predicted(model, many) == labels
    for name, only in seen:
        assert torch.equal(only, left)
        left = left & (predicted(model, craft(name, model, many, labels, only=only, **ORDER)) == labels)
    assert [name for name, _ in seen] == ["fgsm", "pgd", "square"]


def test_nobody_is_asked_when_nobody_is_left(
    model: nn.Module, many: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "craft", None)
    wrong = labels.clone()
    wrong[5:] = (wrong[5:] + 1) % 4
    assert torch.equal(cascade(("fgsm",), model, many, wrong, **ORDER), many)
    assert cascade(("fgsm",), model, many[:0], labels[:0], **ORDER).shape == (0, 3, 12, 12)


def test_levels_are_read_as_fractions(model: nn.Module, predicted: Predicted) -> None:
    levels = torch.randint(0, 256, (4, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    said = predicted(model, levels / 255)
    assert torch.equal(
        cascade(("pgd",), model, levels, said, **ORDER), cascade(("pgd",), model, levels / 255, said, **ORDER)
    )


def test_masks_are_refused(bright: nn.Module, grey: Tensor) -> None:
    with pytest.raises(UserError, match="one answer an image"):
        cascade(("pgd",), bright, grey, (grey.sum(1) > 1.5).long(), **ORDER)
