"""Several attacks in turn, each on what the ones before it left: the worst case for a fraction of the work."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attacks.craft import craft, find
from attacks.predict import predict
from common.errors import UserError
from common.records import as_float


def cascade(
    names: Sequence[str],
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    step_size: float,
    steps: int,
    seed: int,
    queries: int = 1000,
    title: str = "",
) -> Tensor:
    """Return each image as the first of the attacks that fools ``model`` with it leaves it.

    As AutoAttack does (Croce & Hein 2020, arXiv 2003.01690): an image that is misclassified as it is, or that one
    attack has fooled the model with, is spared the rest. Put the cheap attacks first. An image that none fools comes
    back clean, so the robust accuracy is the accuracy on the result. Not for models with random parts: one that an
    attack fooled by luck is asked no more.

    What ``fgsm`` and ``pgd`` do to an image does not depend on who is left, and the images fooled by a cascade of these
    are those that any of them fools alone. FAB of torchattacks draws nothing, and so holds to that, too. Others draw
    from one stream for a whole batch (``Method.per_record``): among fewer images an image meets other draws.

    Args:
        names: of the attacks, in order; see ``attacks.craft.ATTACKS``.
        model: logits [N, classes] from images in [0, 1].
        images: [N, C, H, W], uint8 or float in [0, 1].
        labels: int64 [N], the classes to leave.
        eps, step_size, steps, seed, queries: see ``attacks.craft.craft``; the same for every attack.
        title: shown as progress, with the attack's name; empty shows nothing.

    Returns:
        float32 [N, C, H, W] in [0, 1], on the device of ``images``.

    Raises:
        UserError: masks in the place of labels, and all that ``craft`` raises.
        BudgetError: an attack broke its budget.
    """
    if labels.ndim != 1:
        raise UserError(f"a cascade needs one answer an image, labels [N]; got shape {list(labels.shape)}")
    if len(labels) != len(images):
        raise UserError(f"a cascade needs a label for each of the {len(images)} images; got {len(labels)}")
    for name in names:
        find(name)  # a wrong name is told also where an earlier attack leaves nobody
    result = as_float(images).to(torch.float32).clone()
    left = predict(model, images) == labels.cpu()
    for name in names:
        if not bool(left.any()):
            break
        found = craft(
            name,
            model,
            images,
            labels,
            eps=eps,
            step_size=step_size,
            steps=steps,
            seed=seed,
            queries=queries,
            stop_when_fooled=True,
            only=left,
            title=f"{title}, {name}" if title else "",
        )
        places = torch.nonzero(left).flatten()
        fooled = places[predict(model, found[places.to(found.device)]) != labels.cpu()[places]]
        result[fooled.to(result.device)] = found[fooled.to(result.device)]
        left[fooled] = False
    return result
