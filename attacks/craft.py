"""One call for every attack: craft changed images by name, safely, in batches that fit the cache."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from attacks import budget
from attacks.batches import batch_size, device_of
from attacks.catalogue import ATTACKS, find, options
from attacks.guard import seed_everything, undisturbed
from attacks.layout import laid_out
from attacks.method import Method, Order
from attacks.pgd import random_start
from attacks.probe import check_fit, check_module, classes_of, reason
from common.allocator import keep_freed_memory
from common.errors import UserError
from common.progress import track
from common.records import Task, as_float
from common.seeds import derive, torch_generator

HELD_BYTES = 256 * 2**20
"""Of images that an attack holds at once where they leave when they are fooled, so that others fill their places."""

__all__ = ["ATTACKS", "check_task", "craft", "find", "options"]


def craft(
    name: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    step_size: float,
    steps: int,
    seed: int | Sequence[int],
    queries: int = 1000,
    targeted: bool = False,
    stop_when_fooled: bool = False,
    fooled_by: nn.Module | None = None,
    project: bool = False,
    only: Tensor | None = None,
    title: str = "",
) -> Tensor:
    """Return the images as the attack ``name`` changes them against ``model``.

    The result is checked against the budget and [0, 1] every time. The model's parameters, gradients,
    ``requires_grad`` flags and modes and all global random states are as before, also after an exception; the model
    is attacked in eval mode. ``eps = 0`` is no attack and returns the clean images.

    Equal arguments give equal bytes on one machine. The batch size follows from the model and the image size
    (``attacks.batches``). An image's result does not depend on it for ``fgsm`` and ``pgd``, up to rounding: the random
    starts of all the images are drawn at once from a generator of its own. Library and user attacks are seeded
    batch by batch, and one image may decide what is drawn for the next (``Method.per_record``).

    A minimum-norm attack (``fab``, ``torchattacks:CW``, ``torchattacks:DeepFool``) may find only changes beyond
    ``eps``. Such an image comes back clean, since nothing was found within the budget, or with ``project`` moved into
    the budget, which trains on more of them but may no longer fool.

    Args:
        name: see ``ATTACKS``; or ``file.py:function``.
        model: logits [N, classes], or for segmentation [N, classes, H, W], from images in [0, 1]; it owns its
            normalisation. A traced or exported one stays in the mode in which that was done.
        images: [N, C, H, W], uint8 or float in [0, 1].
        labels: int64 [N], or masks [N, H, W]; the classes to leave, or with ``targeted`` those to reach.
        eps: the budget in units of [0, 1]: the largest change of a value, or the L2 length of an image's change for
            the attacks that say so; those that know no budget are checked for their range only.
        step_size: change of a value in one step, in units of [0, 1].
        steps: at least 1.
        seed: of the random starts and of all else that is drawn; or one for each of the N images, each of which is then
            crafted by itself, as by a call of its own, so that nothing of another image touches it.
        queries: forward passes that a query attack may spend on one image; at least 1.
        targeted: see ``labels``.
        stop_when_fooled: for ``fgsm`` and ``pgd``: an image is left alone from its first success, a clean one that is
            already misclassified included. Never fools fewer images, unless the model answers by chance; see
            ``attacks.pgd`` for when to leave it off. Not for segmentation, where no single answer is right or wrong.
        fooled_by: the model that must be fooled for that, where it is not the one whose gradients are followed; of as
            many classes.
        project: see above.
        only: bool [N], the images to attack; None: all. The others come back clean. What ``fgsm`` and ``pgd`` do to an
            image does not depend on it.
        title: shown as progress; empty shows nothing.

    Returns:
        float32 [N, C, H, W] in [0, 1], on the device of ``images``.

    Raises:
        UserError: unknown attack; an option, image or label out of range; a model that the attack cannot handle.
        BudgetError: the result breaks the budget or the range, or is not a tensor of images.
    """
    method = find(name)
    _check_options(name, method, eps, step_size, steps, queries, targeted)
    check_task(name, method, "segmentation" if labels.ndim == 3 else "classification")
    if stop_when_fooled and labels.ndim == 3:
        raise UserError(f"attack '{name}': stop_when_fooled needs one answer an image; leave it off for masks")
    with torch.inference_mode(False):
        clean, labels = as_float(images).to(torch.float32).clone(), labels.clone()
    _check_images(name, clean, labels)
    if isinstance(seed, Sequence) and len(seed) != len(clean):
        raise UserError(f"attack '{name}': seed must be one number, or {len(clean)}, one an image; got {len(seed)}")
    attacked = _attacked(name, clean, only)
    if len(attacked) == 0 or eps == 0:
        return clean

    keep_freed_memory()
    given = {"model": model} if fooled_by is None else {"model": model, "fooled_by": fooled_by}
    for field, one in given.items():
        check_module(name, field, one)
    device, models = device_of(model, clean), tuple(given.values())
    order = Order(
        eps=eps,
        step_size=step_size,
        steps=steps,
        queries=queries,
        seed=0,
        classes=0,
        targeted=targeted,
        stop_when_fooled=stop_when_fooled,
        fooled_by=fooled_by,
    )
    with undisturbed(*models):
        result, first = clean.clone(), clean[:1].to(device)
        seed_everything(derive(seed[0] if isinstance(seed, Sequence) else seed, "attack", name))
        classes = _classes(name, method, given, first, labels[:1])
        _check_labels(name, labels, classes)
        start = _start(name, clean, eps, seed) if method.random_start else None
        size = batch_size(model, first)
        held = max(size, HELD_BYTES // (clean[0].numel() * 4)) if method.ours and stop_when_fooled else size
        order = replace(order, classes=classes, batch_size=size)
        parts = _parts(name, attacked, seed, held)
        with laid_out(*models, image=first) if method.any_layout else nullcontext():
            for part, own in track(parts, title, len(parts)) if title else parts:
                batch = clean[part].to(device)
                batch_order = _for_batch(order, own, start, part, device)
                found = _run(name, method, model, batch, labels[part.to(labels.device)].to(device), batch_order)
                result[part] = _settle(name, method, batch, found, eps, project).to(clean.device)
    return result


def _attacked(name: str, images: Tensor, only: Tensor | None) -> Tensor:
    """Return the places of the images to attack."""
    if only is None:
        return torch.arange(len(images), device=images.device)
    if only.dtype != torch.bool or only.shape != images.shape[:1]:
        raise UserError(
            f"attack '{name}': only must be bool of shape [{len(images)}]; got {only.dtype} of shape {list(only.shape)}"
        )
    return torch.nonzero(only.to(images.device)).flatten()


def _classes(name: str, method: Method, given: dict[str, nn.Module], image: Tensor, label: Tensor) -> int:
    """Return the number of classes of the models ``given`` by field, from one image and its label."""
    classes = {field: classes_of(name, field, one, image, label) for field, one in given.items()}
    if len(set(classes.values())) > 1:
        raise UserError(
            f"attack '{name}': fooled_by has {classes['fooled_by']} classes, but the model has {classes['model']}; "
            "give one made for the same classes"
        )
    check_fit(name, method, given["model"], image, label, classes["model"])
    return classes["model"]


def _start(name: str, clean: Tensor, eps: float, seed: int | Sequence[int]) -> Tensor:
    """Return a random start for every image, attacked or not."""
    if isinstance(seed, Sequence):
        return torch.cat([random_start(clean[:1], eps, torch_generator(own, "attack", name)) for own in seed])
    return random_start(clean, eps, torch_generator(seed, "attack", name))


def _parts(name: str, attacked: Tensor, seed: int | Sequence[int], held: int) -> list[tuple[Tensor, int]]:
    """Return the places of the images that are attacked together, ``held`` at most, and a seed for each such part."""
    if isinstance(seed, Sequence):
        return [(place, derive(seed[int(place)], "attack", name, 0)) for place in torch.split(attacked, 1)]
    return [
        (part, derive(seed, "attack", name, number * held)) for number, part in enumerate(torch.split(attacked, held))
    ]


def _for_batch(order: Order, seed: int, start: Tensor | None, part: Tensor, device: torch.device) -> Order:
    return replace(order, seed=seed, start=None if start is None else start[part.to(start.device)].to(device))


def _run(name: str, method: Method, model: nn.Module, images: Tensor, labels: Tensor, order: Order) -> object:
    failures: tuple[type[BaseException], ...] = (Exception,)
    if not method.ours:
        failures += (SystemExit,)
        seed_everything(order.seed)
        images = images.clone()
    try:
        return method.run(model, images, labels, order)
    except UserError:
        raise
    except failures as error:
        on = "this model" if order.fooled_by is None else "this model or on fooled_by"
        raise UserError(f"attack '{name}' failed on {on}: {reason(error)}") from error


def _settle(name: str, method: Method, clean: Tensor, found: object, eps: float, project: bool) -> Tensor:
    """Apply the budget to what a minimum-norm attack found, and check every result."""
    if method.minimal and method.norm is not None:
        changed = budget.check(clean, found, eps, None, name)
        beyond = budget.distance(clean, changed, method.norm) > eps
        remedy = budget.project(clean, changed, eps, method.norm) if project else clean
        found = torch.where(beyond.view(-1, *[1] * (clean.ndim - 1)), remedy, changed)
    return budget.check(clean, found, eps, method.norm, name)


def check_task(name: str, method: Method, task: Task) -> None:
    """Raise UserError if an attack on single answers is asked to attack masks."""
    if task == "segmentation" and not method.segmentation:
        able = ", ".join(f"'{known}'" for known in ATTACKS if find(known).segmentation)
        raise UserError(f"attack '{name}' knows one class an image, not one a pixel; for segmentation use {able}")


def _check_options(
    name: str, method: Method, eps: float, step_size: float, steps: int, queries: int, targeted: bool
) -> None:
    most = 1.0 if method.norm != "l2" else math.inf
    if not 0 <= eps <= most:
        raise UserError(
            f"attack '{name}': eps = {eps:g} must lie in [0, {most:g}], as images do; 8 grey levels are 8/255"
        )
    if not (step_size >= 0 and math.isfinite(step_size)):
        raise UserError(f"attack '{name}': step_size = {step_size:g} must be at least 0, such as 2/255")
    if steps < 1 or queries < 1:
        raise UserError(f"attack '{name}': steps = {steps} and queries = {queries} must be at least 1")
    if targeted and not method.targeted:
        raise UserError(f"attack '{name}' cannot be told which class to reach; leave targeted off")


def _check_images(name: str, images: Tensor, labels: Tensor) -> None:
    if images.ndim != 4:
        raise UserError(f"attack '{name}': images must be [N, C, H, W]; got shape {tuple(images.shape)}")
    shapes = (images.shape[:1], (len(images), *images.shape[2:]))
    if labels.dtype != torch.int64 or labels.shape not in shapes:
        found = f"{labels.dtype} of shape {tuple(labels.shape)}"
        wanted = f"[{len(images)}]" + (f" or {list(shapes[1])}" if labels.ndim == 3 else "")
        raise UserError(f"attack '{name}': labels must be int64 of shape {wanted}; got {found}")
    if len(images) and not bool(((images >= 0) & (images <= 1)).all()):
        span = f"from {float(images.min()):g} to {float(images.max()):g}"
        raise UserError(
            f"attack '{name}': images hold values {span}, but must lie in [0, 1]; normalise inside the model"
        )


def _check_labels(name: str, labels: Tensor, classes: int) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise UserError(f"attack '{name}': labels run from {low} to {high}, but the model has {classes} classes")
