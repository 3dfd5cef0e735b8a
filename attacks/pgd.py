"""PGD, projected gradient descent in the L∞ ball (Madry et al. 2018, arXiv 1706.06083)."""

import torch
from torch import Tensor, nn

from attacks.gradients import input_gradient

SCOUTS = 4
"""The part of a batch that tells whether most images have been fooled by the last step: one in so many."""


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
    batch_size: int | None = None,
) -> Tensor:
    """Return the images after ``steps`` signed gradient steps, each projected to the budget and to [0, 1].

    One forward and one backward a step and image. With ``stop_when_fooled`` an image leaves at its first success
    (the clean image, a start or any iterate), which on a weak model saves most of the work and fools at least the
    images that the full attack fools (unless the model has random parts, and is fooled by chance). It then holds the
    first success, not the one of greatest loss: for transfer and for adversarial training keep all the steps.

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
        batch_size: images at once; None: all. Those that leave make room for others: batches stay full.

    Raises:
        UserError: the model's output has no gradient.
    """
    size = max(1, len(images)) if batch_size is None else batch_size

    def started(part: slice | Tensor) -> Tensor:
        return images[part] if start is None else _within(images[part] + start[part], images[part], eps)

    def stepped(current: Tensor, gradient: Tensor, clean: Tensor) -> Tensor:
        return _within(current + step_size * gradient.sign(), clean, eps)

    if not stop_when_fooled:
        result = torch.empty_like(images)
        for begin in range(0, len(images), size):
            part = slice(begin, begin + size)
            current = started(part)
            for _ in range(steps):
                gradient, _ = input_gradient(model, current, labels[part], targeted=targeted)
                current = stepped(current, gradient, images[part])
            result[part] = current
        return result

    judge = model if fooled_by is None else fooled_by

    def resisting(places: Tensor) -> Tensor:
        """Return those of the places whose image does not fool the judge; a forward each."""
        parts = [places[:0]]
        for batch in _batches(places, size):
            parts.append(batch[~_succeeds(_logits(judge, result[batch]), labels[batch], targeted)])
        return torch.cat(parts)

    def step(places: Tensor, *, judged: bool) -> Tensor:
        """Take a step with each image, unless it fools the model; return the places of those that took it."""
        parts = [places[:0]]
        for batch in _batches(places, size):
            current = result[batch]
            gradient, logits = input_gradient(model, current, labels[batch], targeted=targeted)
            if not judged:
                left = ~_succeeds(logits, labels[batch], targeted)
                batch, current, gradient = batch[left], current[left], gradient[left]
            parts.append(batch)
            result[batch] = stepped(current, gradient, images[batch])
        return torch.cat(parts)

    result = images.clone()
    active = resisting(torch.arange(len(images), device=images.device))
    for batch in _batches(active, size):
        result[batch] = started(batch)
    for number in range(steps):
        # The gradient of an image that has fooled the model is in vain. Where the first few show that most have, it is
        # cheaper to ask about the others before. A single batch is not worth it, and few starts fool.
        scouts = max(1, size // SCOUTS) if judge is model and number > 0 and len(active) > size else 0
        first, others = active[:scouts], active[scouts:]
        first_left = step(first, judged=False)
        if judge is not model or 2 * len(first_left) < len(first):
            others_left = step(resisting(others), judged=True)
        else:
            others_left = step(others, judged=False)
        active = torch.cat([first_left, others_left])
        if len(active) == 0:
            break
    # Whether or not the last iterate fools anybody, it is the best that the images left have.
    return result


def _batches(places: Tensor, size: int) -> tuple[Tensor, ...]:
    return torch.split(places, size) if len(places) else ()


def _within(changed: Tensor, clean: Tensor, eps: float) -> Tensor:
    return torch.clamp(changed, (clean - eps).clamp_(min=0), (clean + eps).clamp_(max=1))


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(images)
    return logits


def _succeeds(logits: Tensor, labels: Tensor, targeted: bool) -> Tensor:
    predicted = logits.argmax(dim=1)
    return predicted == labels if targeted else predicted != labels
