"""A user's own network, ``file.py:function``: called, checked once, and only then trained."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from common.errors import UserError
from common.records import Task


def build_custom(
    build: Callable[[int, int], Any],
    name: str,
    channels: int,
    classes: int,
    image_size: int,
    task: Task = "classification",
) -> nn.Module:
    """Return the float32 network that a user's ``build(channels, classes)`` makes, after a probe of two images.

    In-place activations are switched to ordinary ones (the same function), which DP-SGD needs.

    Args:
        build: the user's function.
        name: what the description says, for messages.
        channels: of the images.
        classes: logits that the network must give.
        image_size: side in pixels of the probe's images.
        task: for segmentation it must give logits for every pixel.

    Raises:
        UserError: ``build`` fails or gives no ``nn.Module``; batch norm or other running statistics; the probe fails,
            or its logits have the wrong shape, are not finite, or depend on the other image of the batch.
    """
    where = f"model.name = '{name}'"
    try:
        network = build(channels, classes)
    except Exception as error:
        raise UserError(
            f"{where}: the call build(channels={channels}, classes={classes}) failed with "
            f"{type(error).__name__}: {error}; mend the function"
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{where}: build returned a {type(network).__name__}; return a torch.nn.Module")
    _refuse_running_statistics(network, where)
    for module in network.modules():
        if getattr(module, "inplace", False) is True:
            setattr(module, "inplace", False)  # noqa: B010 - nn.Module types its attributes as tensors and modules
    network = network.to("cpu", torch.float32)
    _probe(network, where, channels, classes, image_size, task)
    return network


def _refuse_running_statistics(network: nn.Module, where: str) -> None:
    for name, module in network.named_modules():
        # Covers batch norm, SyncBatchNorm, and instance norm with track_running_stats.
        is_batch_norm = isinstance(module, _NormBase) and not isinstance(module, nn.modules.instancenorm._InstanceNorm)
        buffers = dict(module.named_buffers(recurse=False))
        if is_batch_norm or "running_mean" in buffers or "running_var" in buffers:
            raise UserError(
                f"{where}: layer '{name or type(network).__name__}' is a {type(module).__name__}, which keeps "
                "statistics over records and so breaks DP-SGD and averaging; use torch.nn.GroupNorm instead"
            )


def _probe(network: nn.Module, where: str, channels: int, classes: int, image_size: int, task: Task) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, channels, image_size, image_size, generator=generator)
    shape = f"[2, {channels}, {image_size}, {image_size}]"
    wanted = (2, classes) if task == "classification" else (2, classes, image_size, image_size)
    was_training = network.training
    try:
        network.eval()
        with torch.no_grad():
            logits = network(images)
            alone = network(images[:1])
    except Exception as error:
        raise UserError(
            f"{where}: the network failed on images of shape {shape} with {type(error).__name__}: {error}; "
            "it must take images of this size"
        ) from error
    finally:
        network.train(was_training)
    if not isinstance(logits, Tensor) or logits.shape != wanted:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(
            f"{where}: for images of shape {shape} the network gave {found}; return logits of shape {wanted}"
        )
    if not logits.isfinite().all():
        raise UserError(f"{where}: the network gave logits that are not finite; check its initialisation")
    if not torch.allclose(logits[:1], alone, rtol=1e-3, atol=1e-4):
        raise UserError(
            f"{where}: an image's logits change with the other images of its batch (or at random), even in eval mode; "
            "use group norm, and dropout only through torch.nn.Dropout"
        )
