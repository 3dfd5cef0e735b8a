"""Poison: changed images and labels in place of a client's own records; nothing is added, so N stays what it was."""

import torch
from torch import Tensor, nn

from attacks.craft import craft, find
from attacks.predict import predict
from common.errors import UserError
from common.records import Records, replace
from common.seeds import derive, torch_generator

RULES = ("predicted", "true", "random", "target:K")
"""How a poisoned record is labelled; K is a class number, counted from 0."""


def chosen(records_count: int, fraction: float, seed: int) -> Tensor:
    """Return which of ``records_count`` records are poisoned: sorted int64 numbers, round(fraction * count) of them.

    A positive fraction of a non-empty set picks at least one. With equal seed and count a larger fraction picks all
    that a smaller one picks, and every round picks the same as long as the seed does not depend on the round.

    Raises:
        UserError: ``fraction`` outside [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise UserError(f"fraction = {fraction:g} must lie in [0, 1]")
    count = round(fraction * records_count)
    if fraction > 0 and records_count > 0:
        count = max(count, 1)
    order = torch.randperm(records_count, generator=torch_generator(seed, "chosen"))
    return order[:count].sort().values


def adversarial_copies(
    model: nn.Module,
    records: Records,
    index: Tensor,
    *,
    attack: str = "pgd",
    eps: float = 8 / 255,
    step_size: float = 2 / 255,
    steps: int = 10,
    labels: str = "predicted",
    classes: int,
    seed: int,
    separately: bool = False,
    title: str = "",
) -> Records:
    """Return the records with those at ``index`` replaced by adversarial ones crafted against ``model``.

    The images are always crafted to leave their **true** label, with all the steps (no early stop). The label that is
    stored follows ``labels``:

    - ``"true"``: kept. This is adversarial training, a defence. With FGSM it is open to label leaking: crafted from
      the true label, the perturbation itself tells the label, and the model learns to read it (Kurakin et al. 2017,
      arXiv 1611.01236); PGD suffers little.
    - ``"predicted"``: the model's prediction on the *clean* image, our reading of the paper's "labels inferred from
      model predictions" (Usynin et al. 2022, arXiv 2205.02652).
    - ``"random"``: uniform among the classes other than the true one.
    - ``"target:K"``: class K, also for a record that is of class K already.

    Masks follow the same rules pixel by pixel; only fgsm, pgd, square and users' attacks know them.

    Changes of a minimum-norm attack (FAB) beyond the budget are moved into it rather than dropped. Once any record is
    replaced all images are float32 in [0, 1], and the records outside ``index`` are the same images as before.

    Args:
        model: logits [N, classes], or for segmentation [N, classes, H, W], from images in [0, 1].
        records: N records.
        index: int64 [M], distinct record numbers.
        attack, eps, step_size, steps: see ``attacks.craft.craft``.
        labels: one of ``RULES``.
        classes: number of classes, at least 2.
        seed: of the attack and of random labels.
        separately: craft each copy from its own record alone, so that no record touches another's copy, as differential
            privacy needs. For most library attacks and all users' that means one record at a time: many times slower.
        title: shown as progress; empty shows nothing.

    Raises:
        UserError: an unknown label rule or class, and all that ``craft`` raises.
    """
    _check_rule(labels, classes, RULES)
    if len(index) == 0:
        return records
    victims = records.take(index)
    alone = separately and not find(attack).per_record
    images = craft(
        attack,
        model,
        victims.images,
        victims.labels,
        eps=eps,
        step_size=step_size,
        steps=steps,
        seed=[derive(seed, "record", number) for number in index.tolist()] if alone else seed,
        project=True,
        title=title,
    )
    if labels == "predicted":
        stored = predict(model, victims.images).to(victims.labels.device)
    else:
        stored = _relabelled(records.labels, labels, classes, seed)[index]
    return replace(records, index, images, stored)


def flip_labels(records: Records, index: Tensor, *, labels: str = "random", classes: int, seed: int) -> Records:
    """Return the records with the labels at ``index`` changed, masks pixel by pixel, and every image as it was.

    Args:
        records: N records.
        index: int64 [M], distinct record numbers.
        labels: ``"random"`` (uniform among the classes other than the true one) or ``"target:K"``.
        classes: number of classes, at least 2.
        seed: of random labels.

    Raises:
        UserError: an unknown label rule or class.
    """
    _check_rule(labels, classes, ("random", "target:K"))
    changed = records.labels.clone()
    changed[index] = _relabelled(records.labels, labels, classes, seed)[index]
    return Records(records.images, changed)


def _check_rule(rule: str, classes: int, rules: tuple[str, ...]) -> None:
    kind, colon, target = rule.partition(":")
    if f"{kind}:K" in rules and colon:
        if not target.isdecimal() or int(target) >= classes:
            raise UserError(f"labels = '{rule}': the target must be a class number from 0 to {classes - 1}")
    elif rule not in rules or colon:
        raise UserError(f"labels = '{rule}' is not known; choose one of {', '.join(rules)}")
    if rule == "random" and classes < 2:
        raise UserError(f"labels = 'random' needs another class to choose, but there is only {classes}")


def _relabelled(true: Tensor, rule: str, classes: int, seed: int) -> Tensor:
    if rule == "true":
        return true.clone()
    if rule == "random":
        # For all records and not for the chosen ones: who else is chosen must not matter to a record.
        # A shift by 1 .. classes - 1 is uniform among the others.
        shift = torch.randint(1, classes, true.shape, generator=torch_generator(seed, "random labels"))
        return (true + shift.to(true.device)) % classes
    return torch.full_like(true, int(rule.partition(":")[2]))
