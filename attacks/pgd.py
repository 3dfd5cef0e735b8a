"""PGD, projected gradient descent in the L∞ ball (Madry et al. 2018, arXiv 1706.06083)."""

import torch
from torch import Tensor, nn

from attacks.gradients import input_gradient


def random_start(images: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """Return a uniform change in [-eps, eps] for each value of ``images``, drawn on the generator's device."""
    draw = torch.rand(images.shape, generator=generator, device=generator.device, dtype=images.dtype)
    return draw.mul_(2 * eps).sub_(eps)


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    step_size: float,
    steps: int,
    start: Tensor | None = None,
    targeted: bool = False,
    stop_when_fooled: bool = False,
    fooled_by: nn.Module | None = None,
) -> Tensor:
    """Return the images after ``steps`` signed gradient steps, each projected to the budget and to [0, 1].

    One forward and one backward a step and image. With ``stop_when_fooled`` an image leaves at its first success
    (the clean image, a start or any iterate), which on a weak model saves most of the work and fools at least the
    images that the full attack fools. It then holds the first success, not the one of greatest loss: for
    transfer and for adversarial training keep all the steps.

    Args:
        model: logits [N, classes], or [N, classes, H, W], from images; frozen and in eval mode. Its gradients are
            followed.
        images: float32 [N, C, H, W] in [0, 1].
        labels: int64 [N], or masks [N, H, W]; the labels to leave, or with ``targeted`` those to reach.
        eps: largest change of a value, in units of [0, 1].
        step_size: change of a value in one step.
        steps: at least 1.
        start: first change [N, C, H, W] (see ``random_start``); None starts at the clean images.
        targeted: see ``labels``.
        stop_when_fooled: see above; not for masks.
        fooled_by: who must be fooled for an image to stop; None: ``model``. One more forward a step.

    Raises:
        UserError: the model's output has no gradient.
    """
    low, high = (images - eps).clamp_(min=0), (images + eps).clamp_(max=1)
    current = images if start is None else torch.clamp(images + start, low, high)
    if not stop_when_fooled:
        for _ in range(steps):
            gradient, _ = input_gradient(model, current, labels, targeted=targeted)
            current = torch.clamp(current + step_size * gradient.sign(), low, high)
        return current

    judge = model if fooled_by is None else fooled_by
    result = images.clone()
    active = torch.nonzero(~_succeeds(_logits(judge, images), labels, targeted)).flatten()
    current, low, high, labels = current[active], low[active], high[active], labels[active]
    for _ in range(steps):
        if len(active) == 0:
            return result
        gradient, logits = input_gradient(model, current, labels, targeted=targeted)
        done = _succeeds(logits if fooled_by is None else _logits(judge, current), labels, targeted)
        if bool(done.any()):
            result[active[done]] = current[done]
            left = ~done
            active, current, gradient = active[left], current[left], gradient[left]
            low, high, labels = low[left], high[left], labels[left]
        current = torch.clamp(current + step_size * gradient.sign(), low, high)
    # Whether or not the last iterate fools anybody, it is the best that these images have.
    result[active] = current
    return result


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(images)
    return logits


def _succeeds(logits: Tensor, labels: Tensor, targeted: bool) -> Tensor:
    predicted = logits.argmax(dim=1)
    return predicted == labels if targeted else predicted != labels
