"""FGSM, the fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572): one full step."""

from torch import Tensor, nn

from attacks.gradients import input_gradient


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, targeted: bool = False) -> Tensor:
    """Return ``images`` moved by ``eps`` along the sign of the gradient, clipped to [0, 1]. One forward, one backward.

    Args:
        model: logits [N, classes], or [N, classes, H, W], from images; frozen and in eval mode.
        images: float32 [N, C, H, W] in [0, 1].
        labels: int64 [N], or masks [N, H, W]; the labels to leave, or with ``targeted`` those to reach.
        eps: largest change of a value, in units of [0, 1].
        targeted: see ``labels``.

    Raises:
        UserError: the model's output has no gradient.
    """
    gradient, _ = input_gradient(model, images, labels, targeted=targeted)
    return (images + eps * gradient.sign()).clamp_(0, 1)
