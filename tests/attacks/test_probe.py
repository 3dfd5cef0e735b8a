"""Whatever model is given: one that can be attacked is, like its plain form, and any other is told in a sentence."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attacks.craft import craft
from attacks.probe import reason
from common.errors import UserError

Network = Callable[..., nn.Module]
Predicted = Callable[[nn.Module, Tensor], Tensor]

ORDER: dict[str, Any] = {"eps": 0.3, "step_size": 0.1, "steps": 3, "seed": 1, "queries": 20}


def exported(model: nn.Module, images: Tensor) -> nn.Module:
    several = ({0: torch.export.Dim("several", min=1, max=64)},)
    return torch.export.export(model, (images,), dynamic_shapes=several).module()


FORMS: dict[str, Callable[[nn.Module, Tensor], nn.Module]] = {
    "scripted": lambda model, images: torch.jit.script(model),
    "scripted in training": lambda model, images: torch.jit.script(model.train()),
    "scripted in part": lambda model, images: nn.Sequential(torch.jit.script(model)),
    "traced": lambda model, images: torch.jit.trace(model, images),
    "frozen": lambda model, images: torch.jit.freeze(torch.jit.script(model)),
    "graph": lambda model, images: torch.fx.symbolic_trace(model),
    "exported": exported,
    "parallel": lambda model, images: nn.DataParallel(model),
}


def state(*models: nn.Module) -> list[object]:
    """Return all that an attack must leave as it is."""
    found: list[object] = [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]
    for model in models:
        found += [module.training for module in model.modules() if hasattr(module, "training")]
        found += [(part.requires_grad, part.grad, part.stride()) for part in model.parameters()]
        found += [part.tolist() for part in model.state_dict().values() if not part.is_meta]
    return found


@pytest.mark.parametrize(("channels", "seed"), [(1, 1), (3, 0)])  # of networks that every attack fools
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore:Converting a tensor:torch.jit.TracerWarning")
def test_a_model_in_another_form_is_attacked_as_its_plain_one(
    network: Network, images: Tensor, predicted: Predicted, form: str, channels: int, seed: int
) -> None:
    plain, shown = network(channels=channels, seed=seed), images[:4, :channels]
    other, labels = FORMS[form](network(channels=channels, seed=seed), shown), predicted(plain, shown)
    before = state(other)
    for name in ("fgsm", "pgd", "fab", "square", "torchattacks:MIFGSM"):
        expected = craft(name, plain, shown, labels, **ORDER)
        found = craft(name, other, shown, labels, **ORDER)
        assert float(((found - expected).abs() <= 1e-5).float().mean()) >= 0.998, name
        assert not torch.equal(expected, shown), name
    judged = {"stop_when_fooled": True, **ORDER}
    expected = craft("pgd", plain, shown, labels, fooled_by=plain, **judged)
    found = craft("pgd", plain, shown, labels, fooled_by=other, **judged)
    assert float(((found - expected).abs() <= 1e-5).float().mean()) >= 0.998
    assert state(other) == before


class Answering(nn.Module):
    """A network that answers in its own way."""

    def __init__(self, network: nn.Module, way: str) -> None:
        super().__init__()
        self.network, self.way = network.train(), way

    def forward(self, images: Tensor) -> Any:
        if self.way == "failing" or (self.way == "failing on several" and len(images) > 1):
            raise ValueError("not these images\nor others")
        logits = self.network(images)
        ways = {"tuple": (logits, 0), "dict": {"logits": logits}, "none": None, "flat": logits.sum(dim=1)}
        return ways.get(self.way, logits)


class Sealed(nn.Module):
    """A part that cannot be told its mode, behind one that can."""

    def __init__(self, network: nn.Module, failing: str) -> None:
        super().__init__()
        self.network, self.failing = network.train(), failing

    def __setattr__(self, name: str, value: object) -> None:
        if name == "training" and "failing" in vars(self):
            raise AttributeError("sealed")
        super().__setattr__(name, value)

    def modules(self) -> Any:
        if self.failing == "modules":
            raise RuntimeError("not told")
        return reversed(list(super().modules()))

    def forward(self, images: Tensor) -> Any:
        return self.network(images)


def made_in_inference_mode(network: Network) -> nn.Module:
    with torch.inference_mode():
        return network()


REFUSED: dict[str, tuple[Callable[[Network, Tensor], Any], str]] = {
    "tuple": (lambda network, images: Answering(network(), "tuple"), "that returns logits .* returns tuple"),
    "dict": (lambda network, images: Answering(network(), "dict"), "that returns logits .* returns dict"),
    "none": (lambda network, images: Answering(network(), "none"), "that returns logits .* returns NoneType"),
    "flat": (lambda network, images: Answering(network(), "flat"), r"that returns logits .* returns \(1,\)"),
    "failing": (
        lambda network, images: Answering(network(), "failing"),
        r"that takes float32 .* fails on \[1, 3, 12, 12\]: ValueError: not these images$",
    ),
    "failing on several": (lambda network, images: Answering(network(), "failing on several"), "not these images$"),
    "half": (lambda network, images: network().half(), "that takes float32 images"),
    "scripted half": (
        lambda network, images: torch.jit.script(network().half()),
        r"that takes float32 .* fails on \[1, 3, 12, 12\]: RuntimeError: Input type \(float\) and bias type",
    ),
    "exported for a number": (
        lambda network, images: torch.export.export(network(), (images,)).module(),
        "whatever N; this one fails on .*size",
    ),
    "program": (lambda network, images: torch.export.export(network(), (images,)), r"ExportedProgram, .* \.module\(\)"),
    "function": (lambda network, images: network().forward, "is a method, not a torch.nn.Module; put it into one"),
    "without values": (lambda network, images: network().to("meta"), "hold no values yet; load its weights"),
    "lazy": (lambda network, images: nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), "hold no values yet"),
    "sealed": (
        lambda network, images: Sealed(network(), "training"),
        r"cannot be frozen .*sealed\); leave its modules",
    ),
    "no modules": (lambda network, images: Sealed(network(), "modules"), r"cannot be frozen .*not told\); leave its"),
}


@pytest.mark.parametrize("field", ["model", "fooled_by"])
@pytest.mark.parametrize("way", REFUSED)
def test_what_cannot_be_attacked_is_told_by_its_field(
    network: Network, images: Tensor, predicted: Predicted, way: str, field: str
) -> None:
    make, said = REFUSED[way]
    odd, plain = make(network, images[:4]), network().train()
    plain.last.weight.grad = torch.ones_like(plain.last.weight)
    modules = (plain, odd) if isinstance(odd, nn.Module) and way not in ("lazy", "no modules") else (plain,)
    before = state(*modules)
    labels, models = predicted(network(), images[:4]), {"model": plain, "fooled_by": plain, field: odd}
    with pytest.raises(UserError, match=f"attack 'pgd'.* {field}.*{said}" if "several" not in way else said) as caught:
        craft("pgd", models["model"], images[:4], labels, fooled_by=models["fooled_by"], stop_when_fooled=True, **ORDER)
    assert "\n" not in str(caught.value)
    assert state(*modules) == before


def test_who_fails_on_several_may_be_either(network: Network, images: Tensor) -> None:
    plain, odd, labels = network(), Answering(network(), "failing on several"), torch.zeros(12, dtype=torch.int64)
    for name in ("pgd", "fab"):
        with pytest.raises(UserError, match=f"attack '{name}' failed on this model: ValueError"):
            craft(name, odd, images, labels, **ORDER)
    with pytest.raises(UserError, match="failed on this model or on fooled_by: ValueError"):
        craft("pgd", plain, images, labels, fooled_by=odd, stop_when_fooled=True, **ORDER)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_judge_of_other_classes_is_refused(network: Network, images: Tensor, classes: int) -> None:
    labels = torch.zeros(12, dtype=torch.int64)
    with pytest.raises(UserError, match=f"fooled_by has {classes} classes, but the model has 4; give one made for"):
        craft("pgd", network(), images, labels, fooled_by=network(classes=classes), stop_when_fooled=True, **ORDER)


def test_weights_made_in_inference_mode_can_be_asked_but_not_followed(
    network: Network, images: Tensor, predicted: Predicted
) -> None:
    odd, plain = made_in_inference_mode(network), network()
    labels = predicted(plain, images)
    before = state(odd)
    with pytest.raises(UserError, match=r"needs gradients, .* taken \(RuntimeError: Inference tensors.*'square'"):
        craft("pgd", odd, images, labels, **ORDER)
    assert state(odd) == before
    assert torch.equal(craft("square", odd, images, labels, **ORDER), craft("square", plain, images, labels, **ORDER))
    assert state(odd) == before


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one\ntwo"), "ValueError: one"),
        (KeyError(), "KeyError: no reason given"),
        (
            RuntimeError("The following operation failed in the TorchScript interpreter.\nat\nRuntimeError: x\n"),
            "RuntimeError: x",
        ),
    ],
)
def test_a_reason_is_one_line(error: Exception, said: str) -> None:
    assert reason(error) == said
