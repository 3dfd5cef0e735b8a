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
from common.task import loss


def refuse_wrong_gradients(model: nn.Module) -> None:
    """Raise UserError for a layer of which Opacus 1.6 computes other gradients than its own: it pads with zeros."""
    for name, module in model.named_modules():
        padding = getattr(module, "padding_mode", "zeros")
        if isinstance(module, _ConvNd) and padding != "zeros" and module.weight.requires_grad:
            raise UserError(
                f"privacy.enabled: layer '{name}' has padding_mode = '{padding}', of which Opacus' hooks compute wrong "
                "gradients; use 'zeros', or make the model one that needs no hooks (a note says why it does)"
            )


@contextmanager
def opacus_gradients(model: nn.Module, clip_norm: float) -> Iterator[Callable[[Tensor, Tensor, Sums], None]]:
    """Hook the model; yield what ``common.clipped_gradients.add_clipped_gradients`` is; leave no trace after."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    from opacus.grad_sample import GradSampleHooks  # here and not above: the import takes a second

    hooks = GradSampleHooks(model, loss_reduction="sum")

    def add_clipped_gradients(images: Tensor, labels: Tensor, sums: Sums) -> None:
        loss(model(images), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
        rows: Sums = {}
        for name, parameter in trained.items():
            if parameter.grad_sample is None:  # type: ignore[attr-defined]
                raise no_gradient(name)
            rows[parameter] = parameter.grad_sample  # type: ignore[attr-defined]
            parameter.grad_sample = parameter.grad = None  # type: ignore[attr-defined]
        factors = clip_factors(torch.stack([row_norms(row) for row in rows.values()], dim=1), clip_norm)
        for parameter in list(rows):
            add_weighted(sums, parameter, rows.pop(parameter), factors)

    try:
        with warnings.catch_warnings():
            # The first layer's input, the image, needs no gradient.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            yield add_clipped_gradients
    finally:
        hooks.cleanup()
        for module in model.modules():
            for trace in ("activations", "max_batch_len"):
                module.__dict__.pop(trace, None)
        for parameter in model.parameters():
            parameter.grad = None
