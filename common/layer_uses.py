"""Which layers of a model are trained and used in such a way that their inputs and outputs tell their gradients."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from common.layer_gradients import LAYERS, Layer, trainable

Take = Callable[[str, Tensor, Tensor], None]
"""Receives a layer's name, its input, and the loss's gradient by its output."""


class UnfitError(Exception):
    """A model whose layers' inputs and outputs do not tell the records' gradients; the text says why."""


@contextmanager
def watched(layers: Mapping[str, Layer], take: Take) -> Iterator[Tensor]:
    """Have a backward pass hand out each layer's input and its output's gradient, and compute no weight gradient.

    Yields:
        A leaf on which all outputs of the layers depend. The backward pass is ``torch.autograd.grad(loss, leaf,
        allow_unused=True)``, after one forward pass: autograd then goes wherever a layer is, and to no weight.

    Raises:
        UnfitError: in the forward pass, if a layer is used twice, or not called with one tensor.
    """
    leaf = torch.zeros((), requires_grad=True)
    inputs: dict[str, Tensor] = {}
    used: set[str] = set()

    def give(name: str, gradient: Tensor) -> None:
        take(name, inputs.pop(name), gradient)  # nothing else holds the input now but autograd, which lets it go next

    def watch(name: str, _layer: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Any:
        if name in used:
            raise UnfitError(f"layer '{name}' is used more than once for an output")
        if len(arguments) != 1 or not isinstance(arguments[0], Tensor):
            raise UnfitError(f"layer '{name}' is not called with one tensor")
        used.add(name)
        inputs[name] = arguments[0].detach()
        return _Tap.apply(output, leaf, partial(give, name))  # type: ignore[no-untyped-call]

    hooks = [layer.register_forward_hook(partial(watch, name)) for name, layer in layers.items()]
    try:
        yield leaf
    finally:
        for hook in hooks:
            hook.remove()


class _Tap(torch.autograd.Function):
    """The identity, which gives away the gradient that passes through it."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, leaf: Tensor, give: Callable[[Tensor], None]) -> Tensor:
        ctx.give = give
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        ctx.give(gradients[0])
        return gradients[0], None, None


def trained_layers(model: nn.Module) -> dict[str, Layer]:
    """Return the layers with trainable parameters, by name.

    Raises:
        UnfitError: one of them has no formula in ``common.layer_gradients``, or is not as its class makes it.
    """
    layers = {name: module for name, module in model.named_modules() if trainable(module)}
    for name, layer in layers.items():
        own = dict(layer.named_parameters(recurse=False))
        if type(layer) not in LAYERS or not own.keys() <= {"weight", "bias"}:
            raise UnfitError(f"layer '{name or 'model'}' is a {type(layer).__name__}, for which there is no formula")
        hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
        if any(hooks) or "forward" in vars(layer):
            raise UnfitError(f"layer '{name}' has hooks of its own or another forward")
        if any(parameter.dtype not in (torch.float32, torch.float64) for parameter in own.values()):
            raise UnfitError(f"layer '{name}' computes in less than single precision")
    return cast(dict[str, Layer], layers)


def try_out(model: nn.Module, example: Tensor, take: Take) -> dict[str, Layer]:
    """Return the trained layers, after passes over two and over three copies of a made-up image.

    Every trainable parameter must be used once, by its own layer, of which the first dimension is the records'. What
    the images or weights hold does not matter, so nothing of the records shows in the answer.

    Args:
        model: as it will be trained: its mode, its device. It draws from torch's global generator.
        example: an image, [C, H, W], of the type and on the device that the model takes.
        take: is handed the trial's inputs and gradients, the second pass after the first.

    Raises:
        UnfitError: with the reason.
    """
    layers = trained_layers(model)
    for records in (2, 3):
        taken: dict[str, tuple[torch.Size, torch.Size]] = {}

        def note(name: str, inputs: Tensor, gradient: Tensor, taken: dict[str, Any] = taken) -> None:
            taken[name] = (inputs.shape, gradient.shape)
            take(name, inputs, gradient)

        try:
            with watched(layers, note) as leaf:
                output = model(example.repeat(records, *[1] * example.ndim))
                uses = _uses(output)
                torch.autograd.grad(output.sum(), leaf, allow_unused=True)
        except UnfitError:
            raise
        except Exception as error:
            raise UnfitError(f"a trial of it ended with {type(error).__name__}") from error
        _check_uses(layers, taken, uses, records)
    return layers


def _check_uses(
    layers: Mapping[str, Layer],
    taken: Mapping[str, tuple[torch.Size, torch.Size]],
    uses: dict[nn.Parameter, int],
    n: int,
) -> None:
    for name, layer in layers.items():
        for kind, parameter in trainable(layer).items():
            times = uses.get(parameter, 0)
            if name not in taken or times != 1:
                raise UnfitError(
                    f"its parameter '{name}.{kind}' is used {times} times by the output, not once as a layer"
                )
        if {sides[0] for sides in taken[name]} != {n}:
            raise UnfitError(f"the first dimension of layer '{name}' is not the records'")


def _uses(output: Tensor) -> dict[nn.Parameter, int]:
    """Return how many operations of the output's graph take each parameter."""
    uses: dict[nn.Parameter, int] = {}
    seen, left = set(), [output.grad_fn]
    while left:
        node = left.pop()
        for before, _ in node.next_functions if node is not None else ():
            if before is None:
                continue
            variable = getattr(before, "variable", None)
            if variable is not None:
                uses[variable] = uses.get(variable, 0) + 1
            elif before not in seen:
                seen.add(before)
                left.append(before)
    return uses
