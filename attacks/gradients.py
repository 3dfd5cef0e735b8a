"""Gradients of the loss with respect to the images, and nothing else."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import UserError


def input_gradient(
    model: nn.Module, images: Tensor, labels: Tensor, *, targeted: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the direction that fools the model, and the logits on the way: one forward, one backward.

    The loss is the cross-entropy summed, not averaged, over the images (and for segmentation over their pixels), so
    each image's gradient is its own and does not shrink with the batch. Parameter gradients are not computed.

    Args:
        model: logits [N, classes] from images, or [N, classes, H, W].
        images: [N, C, H, W] in [0, 1].
        labels: int64 [N], or [N, H, W]; the labels to leave, or with ``targeted`` those to reach.
        targeted: see ``labels``.

    Returns:
        The ascent direction [N, C, H, W], and the logits, detached.

    Raises:
        UserError: the model's output has no gradient.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(images)
        if not logits.requires_grad:
            raise UserError(_NO_GRADIENT)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images, allow_unused=True)
    if gradient is None:
        raise UserError(_NO_GRADIENT)
    return (-gradient if targeted else gradient), logits.detach()


_NO_GRADIENT = (
    "the attack needs gradients, but the model's output has none (int8 kernels, or a no_grad inside the model); "
    "craft on its fp32 parent or its fake-quantized twin, or use a query attack such as 'square'"
)
