"""Which layers of a model are trained and used in such a way that their inputs and outputs tell their gradients."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from common.layer_gradients import LAYERS, Layer, trainable

TRIALS = (1, 2, 3)
"""Records of the trials: a batch may have one, and no other number of rows grows as these do."""
Take = Callable[[str, Tensor, Tensor], None]
"""Receives a layer's name, its input, and the loss's gradient by its output."""


class UnfitError(Exception):
    """A model whose layers' inputs and outputs do not tell the records' gradients; the text says why."""


class MixedRecordsError(UnfitError):
    """A layer whose first dimension is not the records': whoever clips its rows one by one clips no record."""


@contextmanager
def watched(layers: Mapping[str, Layer], take: Take) -> Iterator[Tensor]:
    """Have a backward pass hand out each layer's input and its output's gradient, and compute no weight gradient.

    Yields:
        A leaf on which all outputs of the layers depend. The backward pass is ``torch.autograd.grad(loss, leaf,
        allow_unused=True)``, after one forward pass: autograd then goes wherever a layer is, and to no weight.

    Raises:
        UnfitError: if a layer is used twice, not called with one tensor, in another precision than its weights, or on a
            tensor that is changed afterwards: autograd, which would notice, does not read the tensor.
    """
    leaf = torch.zeros((), requires_grad=True)
    inputs: dict[str, tuple[Tensor, int]] = {}
    used: set[str] = set()

    def give(name: str, gradient: Tensor) -> None:
        taken, version = inputs.pop(name)  # nothing else holds it now but autograd, which lets it go next
        if taken._version != version:
            raise UnfitError(f"what layer '{name}' takes is changed in place afterwards")
        if {taken.dtype, gradient.dtype} != {next(layers[name].parameters()).dtype}:
            raise UnfitError(f"layer '{name}' computes in another precision than its weights have")
        take(name, taken, gradient)

    def watch(name: str, _layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> Any:
        if name in used:
            raise UnfitError(f"layer '{name}' is used more than once for an output")
        if len(given) != 1 or named or not isinstance(given[0], Tensor):
            raise UnfitError(f"layer '{name}' is not called with one tensor")
        used.add(name)
        inputs[name] = given[0].detach(), given[0]._version  # an alias shares the count of changes
        return _Tap.apply(output, leaf, partial(give, name))  # type: ignore[no-untyped-call]

    hooks = [layer.register_forward_hook(partial(watch, name), with_kwargs=True) for name, layer in layers.items()]
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
        take: is handed the trial's inputs and gradients, one pass after the other.

    Raises:
        UnfitError: with the reason.
    """
    layers = trained_layers(model)
    for records in TRIALS:
        taken: dict[str, tuple[torch.Size, torch.Size]] = {}

        def note(name: str, inputs: Tensor, gradient: Tensor, taken: dict[str, Any] = taken) -> None:
            taken[name] = (inputs.shape, gradient.shape)
            take(name, inputs, gradient)

        try:
            with watched(layers, note) as leaf:
                output = model(example.repeat(records, *[1] * example.ndim))
                uses = uses_of(output)
                torch.autograd.grad(output.sum(), leaf, allow_unused=True)
        except UnfitError:
            raise
        except Exception as error:
            raise UnfitError(f"a trial of it with a batch of {records} ended with {type(error).__name__}") from error
        check_uses(layers, taken, uses, records)
    return layers


def check_uses(
    layers: Mapping[str, Layer],
    taken: Mapping[str, tuple[torch.Size, torch.Size]],
    uses: Mapping[nn.Parameter, int],
    records: int,
) -> None:
    """Check that each parameter was used once, by its layer, and that each layer's rows are the records.

    Args:
        layers: the trained ones.
        taken: the shapes of each layer's input and of its output's gradient.
        uses: of ``uses_of``.
        records: of the batch.

    Raises:
        UnfitError: a parameter was used otherwise.
        MixedRecordsError: a layer's rows are not the records.
    """
    for name, layer in layers.items():
        for kind, parameter in trainable(layer).items():
            times = uses.get(parameter, 0)
            if name not in taken or times != 1:
                raise UnfitError(
                    f"its parameter '{name}.{kind}' is used {times} times by the output, not once as a layer"
                )
        if {sides[0] for sides in taken[name]} != {records}:
            raise MixedRecordsError(f"the first dimension of layer '{name}' is not the records'")


def uses_of(output: Tensor) -> dict[nn.Parameter, int]:
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
