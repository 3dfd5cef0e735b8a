"""Sums of clipped gradients with Opacus' hooks, which compute each record's gradient: for any layer, at their price."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from common.clipped_gradients import no_gradient
from common.clipping import Sums, add_weighted, clip_factors, row_norms
from common.errors import UserError
from common.layer_uses import TRIALS
from common.task import loss


def mixed_records(why: str) -> UserError:
    """Return the error of a model with a layer whose rows are not the records."""
    return UserError(
        f"privacy.enabled: {why}, so that none could be clipped record by record; keep the records in the first "
        "dimension of every layer, and views or patches of a record elsewhere"
    )


def refuse_wrong_gradients(model: nn.Module) -> None:
    """Raise UserError for a layer of which Opacus 1.6 computes other gradients than its own: it pads with zeros."""
    for name, module in model.named_modules():
        padding = getattr(module, "padding_mode", "zeros")
        if isinstance(module, _ConvNd) and padding != "zeros" and module.weight.requires_grad:
            raise UserError(
                f"privacy.enabled: layer '{name}' has padding_mode = '{padding}', of which Opacus' hooks compute wrong "
                "gradients; use 'zeros', or make the model one that needs no hooks (a note says why it does)"
            )


def try_hooks(model: nn.Module, example: Tensor) -> None:
    """Try the hooks on made-up images, of one, two and three records.

    Args:
        model: as it will be trained; it draws from torch's global generator.
        example: a made-up image, [C, H, W], where the model is.

    Raises:
        UserError: they fail, or a layer's rows are not the records, so that clipping rows would clip no record.
    """
    trained = _trained(model)
    for records in TRIALS:
        with _hooked(model):
            try:
                model(example.repeat(records, *[1] * example.ndim)).sum().backward()
            except Exception as error:
                kind = type(error).__name__
                raise UserError(
                    f"privacy.enabled: a trial of the model with a batch of {records} ended with {kind}, but DP-SGD "
                    "draws batches of any size; let it take any"
                ) from error
            _taken_rows(trained, records)


@contextmanager
def opacus_gradients(model: nn.Module, clip_norm: float) -> Iterator[Callable[[Tensor, Tensor, Sums], None]]:
    """Hook the model; yield what ``common.clipped_gradients.add_clipped_gradients`` is; leave no trace after."""
    trained = _trained(model)

    def add_clipped_gradients(images: Tensor, labels: Tensor, sums: Sums) -> None:
        loss(model(images), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
        rows = _taken_rows(trained, len(images))
        factors = clip_factors(torch.stack([row_norms(row) for row in rows.values()], dim=1), clip_norm)
        for parameter in list(rows):
            add_weighted(sums, parameter, rows.pop(parameter), factors)

    with _hooked(model):
        yield add_clipped_gradients


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _taken_rows(trained: dict[str, nn.Parameter], records: int) -> Sums:
    """Return the records' gradients that a backward pass has left on each parameter, and leave none there."""
    rows: Sums = {}
    for name, parameter in trained.items():
        if parameter.grad_sample is None:  # type: ignore[attr-defined]
            raise no_gradient(name)
        rows[parameter] = parameter.grad_sample  # type: ignore[attr-defined]
        parameter.grad_sample = parameter.grad = None  # type: ignore[attr-defined]
        if len(rows[parameter]) != records:
            raise mixed_records(f"parameter '{name}' has {len(rows[parameter])} gradients for {records} records")
    return rows


@contextmanager
def _hooked(model: nn.Module) -> Iterator[None]:
    from opacus.grad_sample import GradSampleHooks  # here and not above: the import takes a second

    hooks = GradSampleHooks(model, loss_reduction="sum")
    try:
        with warnings.catch_warnings():
            # The first layer's input, the image, needs no gradient.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            yield
    finally:
        hooks.cleanup()
        for module in model.modules():
            for trace in ("activations", "max_batch_len"):
                module.__dict__.pop(trace, None)
        for parameter in model.parameters():
            parameter.grad = None
