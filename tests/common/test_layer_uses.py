"""Which models' layers are used in such a way that book-keeping holds, and why others are not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from common.layer_uses import UnfitError, try_out
from tests.common.made_fixture import Made

EXAMPLE = torch.zeros(1, 4, 4)


def answer(model: nn.Module) -> str:
    """Return why the model is unfit; empty if it is fit."""
    try:
        try_out(model, EXAMPLE, lambda *_: None)
    except UnfitError as unfit:
        return str(unfit)
    return ""


class Parted(nn.Linear):
    """A subclass may compute anything."""


def tied() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Linear(16, 16))
    model[2].weight = model[1].weight
    return model


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    model[1].register_forward_hook(lambda *_: None)
    return model


def patched() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    model[1].forward = lambda pictures: pictures  # type: ignore[method-assign]
    return model


def in_half(layer: nn.Module, flat: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        found: Tensor = layer(flat)
    return found


def own_parameter() -> nn.Module:
    model = Made(lambda self, x: self.a(x.flatten(1)) * self.scale, a=nn.Linear(16, 3))
    model.scale = nn.Parameter(torch.ones(3))
    return model


UNFIT: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "own parameter": (own_parameter, "layer 'model' is a Made, for which there is no formula"),
    "no formula": (lambda: nn.Sequential(nn.Flatten(2), nn.GRU(16, 3)), "layer '1' is a GRU, for which"),
    "subclass": (lambda: nn.Sequential(nn.Flatten(), Parted(16, 3)), "layer '1' is a Parted, for which"),
    "parametrized": (
        lambda: nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(16, 3))),
        "layer '1' is a ParametrizedLinear, for which",
    ),
    "spectral": (
        lambda: nn.Sequential(nn.Flatten(), nn.utils.spectral_norm(nn.Linear(16, 3))),
        "layer '1' is a Linear, for which",
    ),
    "tied": (tied, r"parameter '1\.weight' is used 2 times by the output"),
    "called twice": (
        lambda: Made(lambda self, x: self.a(self.a(x.flatten(1))), a=nn.Linear(16, 16)),
        "layer 'a' is used more than once",
    ),
    "used beside": (
        lambda: Made(
            lambda self, x: self.a(x.flatten(1)) + functional.linear(x.flatten(1), self.a.weight), a=nn.Linear(16, 3)
        ),
        r"parameter 'a\.weight' is used 2 times",
    ),
    "penalty": (
        lambda: Made(lambda self, x: self.a(x.flatten(1)) + self.a.bias.sum(), a=nn.Linear(16, 3)),
        r"parameter 'a\.bias' is used 2 times",
    ),
    "by function": (
        lambda: Made(lambda self, x: functional.linear(x.flatten(1), self.a.weight, self.a.bias), a=nn.Linear(16, 3)),
        r"parameter 'a\.weight' is used 1 times by the output, not once as a layer",
    ),
    "idle": (
        lambda: Made(lambda self, x: self.a(x.flatten(1)), a=nn.Linear(16, 3), b=nn.Linear(16, 3)),
        r"parameter 'b\.weight' is used 0 times",
    ),
    "other first dimension": (
        lambda: Made(lambda self, x: self.a(x.flatten(0, 2)).view(len(x), -1), a=nn.Linear(4, 3)),
        "first dimension of layer 'a' is not the records'",
    ),
    "two positions first": (
        lambda: Made(lambda self, x: self.a(x[:, 0, :2].transpose(0, 1)).sum(0), a=nn.Linear(4, 3)),
        "first dimension of layer 'a' is not the records'",
    ),
    "three positions first": (
        lambda: Made(lambda self, x: self.a(x[:, 0, :3].transpose(0, 1)).sum(0), a=nn.Linear(4, 3)),
        "first dimension of layer 'a' is not the records'",
    ),
    "keyword": (
        lambda: Made(lambda self, x: self.a(input=x.flatten(1)), a=nn.Linear(16, 3)),
        "layer 'a' is not called with one tensor",
    ),
    "checkpoint": (
        lambda: Made(
            lambda self, x: checkpoint(lambda y: self.b(self.a(y)), x.flatten(1), use_reentrant=False),
            a=nn.Linear(16, 3), b=nn.Linear(3, 3),
        ),
        "layer 'a' is used more than once",
    ),
    "overwritten": (
        lambda: Made(lambda self, x: functional.relu_(self.a(x.flatten(1))), a=nn.Linear(16, 3)),
        "a trial of it with a batch of 1 ended with RuntimeError",
    ),
    "hooked": (hooked, "layer '1' has hooks of its own"),
    "patched": (patched, "layer '1' has hooks of its own or another forward"),
    "half": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3, dtype=torch.bfloat16)), "less than single precision"),
    "changed input": (
        lambda: Made(
            lambda self, x: (lambda flat: self.a(flat) + flat.mul_(0).sum())(x.flatten(1).clone()), a=nn.Linear(16, 3)
        ),
        "what layer 'a' takes is changed in place afterwards",
    ),
    "autocast": (
        lambda: Made(lambda self, x: in_half(self.a, x.flatten(1)), a=nn.Linear(16, 3)),
        "layer 'a' computes in another precision",
    ),
    "by keyword besides": (
        lambda: Made(
            lambda self, x: self.a(x, output_size=(8, 8)).flatten(1), a=nn.ConvTranspose2d(1, 3, 2, stride=2)
        ),
        "layer 'a' is not called with one tensor",
    ),
    "squeezed": (
        lambda: Made(lambda self, x: self.b(self.a(x).squeeze()), a=nn.Conv2d(1, 3, 4), b=nn.Linear(3, 3)),
        "the first dimension of layer 'b' is not the records'|a trial of it with a batch of 1",
    ),
    "wrong size": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(17, 3)),
        "a trial of it with a batch of 1 ended with RuntimeError",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_model_has_its_sentence(name: str) -> None:
    build, sentence = UNFIT[name]
    model = build()
    with pytest.raises(UnfitError, match=sentence):
        try_out(model, EXAMPLE, lambda *_: None)
    kept = 1 if name == "hooked" else 0
    assert sum(len(module._forward_hooks) for module in model.modules()) == kept
    assert all(parameter.grad is None for parameter in model.parameters())


FIT: dict[str, Callable[[], nn.Module]] = {
    "functions between": lambda: Made(
        lambda self, x: self.b(functional.dropout(functional.gelu(self.a(x).flatten(1)), 0.5)),
        a=nn.Conv2d(1, 3, 3), b=nn.Linear(12, 3),
    ),
    "frozen and unused": lambda: Made(
        lambda self, x: self.a(x.flatten(1)), a=nn.Linear(16, 3), b=nn.GRU(16, 3).requires_grad_(False)
    ),
    "shared but frozen": lambda: Made(
        lambda self, x: self.a(self.b(self.b(x.flatten(1)))),
        a=nn.Linear(16, 3), b=nn.Linear(16, 16).requires_grad_(False),
    ),
    "two branches": lambda: Made(
        lambda self, x: self.a(x.flatten(1)) + self.b(x.flatten(1)), a=nn.Linear(16, 3), b=nn.Linear(16, 3)
    ),
    "a layer as a model": lambda: nn.Conv2d(1, 2, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", FIT)
def test_a_fit_model_is_taken(name: str) -> None:
    assert answer(FIT[name]()) == ""


def test_the_answer_does_not_depend_on_the_weights() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    for number in (0.0, 1e38, -1e38):
        for parameter in model.parameters():
            parameter.data.fill_(number)
        assert answer(model) == ""
