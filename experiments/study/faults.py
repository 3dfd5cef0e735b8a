"""How much the released code's faults change what is measured: each way, on the same models and images.

A fault is plain data: ``name``, ``sentence`` (what is done there, and here), ``released`` and ``ours`` (what each way
measures, one number a repeat, paired), ``n`` (images behind one number) and ``unit``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from attacks.craft import craft
from common.config import Experiment
from common.data import Dataset
from common.records import Records, as_float
from common.seeds import derive, numpy_generator
from common.training import train
from experiments.paper import released
from experiments.study.costs import EPS, STEP_SIZE, STEPS
from server.evaluator import calibration_images, sample
from server.int8 import compress
from server.score import accuracy, logits_of

Fault = dict[str, Any]
ACCURACY = "accuracy"
"""A unit: the share of images that are classified rightly, in [0, 1]."""


@dataclass(frozen=True)
class Repeat:
    """One trained model: its description, its images, and itself in eval mode, on the device to work on."""

    experiment: Experiment
    dataset: Dataset
    model: nn.Module


@dataclass(frozen=True)
class Group:
    """The repeats of one federation, which differ in the seed of their training; ``data`` is what readers call it."""

    data: str
    repeats: tuple[Repeat, ...]


def measure_faults(groups: Sequence[Group], *, records: int, seed: int) -> list[Fault]:
    """Return all faults of this module: for each group but for batch norm, whose network is trained on one group alone.

    Args:
        groups: non-private federations without adversarial data; none gives no faults.
        records: test images that are attacked, a stratified draw, the same for all repeats; all if there are fewer.
        seed: of the draw and of the attacks.

    Raises:
        UserError: as ``attacks.craft.craft``, ``server.int8.compress`` and ``common.training.train``.
    """
    measures: tuple[Callable[..., list[Fault]], ...] = (
        normalised_images,
        first_batch,
        calibration_on_test,
        gradients_of_fab,
    )
    found = [fault for group in groups for measure in measures for fault in measure(group, records=records, seed=seed)]
    batch_normed = [group for group in groups if group.repeats[0].experiment.model.name == "resnet18"]
    for group in (batch_normed or list(groups))[:1]:
        found += train_mode(group, records=records, seed=seed)
    return found


def normalised_images(group: Group, *, records: int, seed: int) -> list[Fault]:
    """Return what attacking normalised images as if they lay in [0, 1] does to accuracy and to the images."""
    rows = []
    for repeat in group.repeats:
        images, labels = _drawn(repeat, _draw(repeat, records, seed))
        there = released.normalised_pgd(
            repeat.model, images, labels, eps=EPS, step_size=STEP_SIZE, steps=STEPS, seed=derive(seed, "normalised")
        )
        here = _attacked(repeat.model, images, labels, EPS, seed)
        cut = released.clamped(images)
        score = _scorer(repeat.model, labels)
        changes = [(changed - images).abs() for changed in (there, here)]
        largest = [round(255 * float(change.max()), 3) for change in changes]
        # Float rounding in and out of normalised values is no change beyond the budget.
        beyond = [float((change > EPS + 1e-5).double().mean()) for change in changes]
        rows.append(((score(there), score(here)), (score(cut), score(images)), largest, beyond))
    attacked, only_cut, largest_change, pixels = zip(*rows, strict=True)
    n = len(images)
    return [
        _fault(
            group,
            "attack on normalised images",
            "PGD takes images normalised by mean and deviation for images in [0, 1]: its steps count deviations, and "
            "its clamp cuts off all that is darker than the mean; ours attacks pixel values in [0, 1].",
            attacked,
            n,
            ACCURACY,
        ),
        _fault(
            group,
            "clamp of normalised images",
            "The clamp to [0, 1] in normalised values alone, without any attack, against the images as they are.",
            only_cut,
            n,
            ACCURACY,
        ),
        _fault(
            group,
            "largest change of a pixel",
            "The largest change of any pixel value by the attack on normalised images, and by ours, whose budget is 8.",
            largest_change,
            n,
            "grey levels of 255",
        ),
        _fault(
            group,
            "pixels beyond the budget",
            "The share of pixel values that the attack on normalised images moves farther than 8/255, and ours.",
            pixels,
            n,
            "share of pixel values",
        ),
    ]


def first_batch(group: Group, *, records: int, seed: int) -> list[Fault]:
    """Return accuracy on the first batch of the test set, clean and attacked, against that on a stratified draw.

    Attacked within two budgets: where no image at all withstands the paper's, both ways give 0, which tells nothing.
    """
    budgets = {"clean": 0.0, "attacked within 2/255": 2 / 255, "attacked within 8/255": EPS}
    rows, size = [], released.TEST_BATCH
    for repeat in group.repeats:
        first = np.arange(min(size, len(repeat.dataset.test)), dtype=np.int64)
        draws = (first, _draw(repeat, records, seed))
        rows.append([[_robust(repeat, index, eps, seed) for index in draws] for eps in budgets.values()])
    labels = repeat.dataset.test.labels[first]
    told = (
        f"Only the first {len(labels)} images of the test set, not shuffled, are scored, "
        f"{int(np.bincount(labels).max())} of them of one class; ours is a stratified draw of {len(draws[1])}. "
    )
    return [
        _fault(
            group,
            f"accuracy of one batch, {name}",
            told + ("No attack." if eps == 0 else "The same PGD on pixel values both ways."),
            pairs,
            len(draws[1]),
            ACCURACY,
        )
        for (name, eps), pairs in zip(budgets.items(), zip(*rows, strict=True), strict=True)
    ]


def calibration_on_test(group: Group, *, records: int, seed: int) -> list[Fault]:
    """Return int8's accuracy on the test set where test images calibrate it, against public ones. No attack."""
    rows = []
    for repeat in group.repeats:
        compression, test = repeat.experiment.compression, repeat.dataset.test
        public = calibration_images(repeat.experiment, repeat.dataset)
        index = sample(test.strata, len(public), numpy_generator(seed, "calibration on test"))
        rows.append(
            [
                accuracy(logits_of(compress(repeat.model, images, compression).kernels, test.images), test.labels)
                for images in (test.records(index).images, public)
            ]
        )
    return [
        _fault(
            group,
            "int8 calibrated on test images",
            "int8 is calibrated on the images it is then scored on; ours is calibrated on as many public ones "
            f"({len(index)}). Clean accuracy of int8 over the whole test set.",
            rows,
            len(test),
            ACCURACY,
        )
    ]


def gradients_of_fab(group: Group, *, records: int, seed: int) -> list[Fault]:
    """Return direction and length of the gradient that the optimiser sees after FAB, against the loss's own."""
    rows, size = [], released.TEST_BATCH
    for repeat in group.repeats:
        images, labels = _drawn(repeat, _draw(repeat, min(records, size), seed))
        seen, true = released.gradients_after_fab(
            repeat.model, images, labels, eps=EPS, step_size=STEP_SIZE, steps=STEPS
        )
        length = float(true.double().norm())
        ratio = float(seen.double().norm()) / length if length > 0 else 0.0
        rows.append((float(cosine_similarity(seen.double(), true.double(), dim=0)), ratio))
    told = (
        "FAB leaves the gradients of its own steps in the model's parameters, since the training loop zeroes them "
        "before it crafts and not after; without privacy only, as the private loop crafts on a copy, and once the "
        "misnamed argument is mended that keeps FAB from running at all. One training step on one batch: "
    )
    directions, lengths = zip(*rows, strict=True)
    return [
        _fault(
            group,
            "direction of a training step with FAB",
            told + "the cosine between what the optimiser sees and the loss's gradient, which is 1 here.",
            [(value, 1.0) for value in directions],
            len(images),
            "cosine",
        ),
        _fault(
            group,
            "length of a training step with FAB",
            told + "the length of what the optimiser sees, in units of the loss's gradient, which is 1 here.",
            [(value, 1.0) for value in lengths],
            len(images),
            "times the gradient",
        ),
    ]


def train_mode(group: Group, *, records: int, seed: int) -> list[Fault]:
    """Return the accuracy of ResNet-18 with batch norm scored in train mode, against eval mode; clean and attacked.

    One network a repeat is trained for that, on all training images at once, for as many epochs as the federation.
    """
    rows = []
    for repeat in group.repeats:
        model = _batch_norm_model(repeat)
        index = _draw(repeat, records, seed)
        # Whole batches, as there: a short last one has other statistics.
        images, labels = _drawn(repeat, index[: max(1, len(index) // released.TEST_BATCH) * released.TEST_BATCH])
        attacked = _attacked(model, images, labels, EPS, seed)
        rows.append(
            [
                (_share_right(released.train_mode_logits(model, scored), labels), _scorer(model, labels)(scored))
                for scored in (images, attacked)
            ]
        )
    clean, under_attack = zip(*rows, strict=True)
    told = (
        "The non-private ResNet-18 keeps batch norm, and its robust accuracy is scored in train mode, where it "
        f"normalises by the batch it scores ({released.TEST_BATCH} images in the test set's order); the same network "
        "in eval mode beside it. "
    )
    return [
        _fault(
            group,
            "scored in train mode, clean",
            told + "Without attack, to show what train mode alone does; there clean accuracy is taken in eval mode.",
            clean,
            len(images),
            ACCURACY,
        ),
        _fault(
            group,
            "scored in train mode, attacked",
            told + "Accuracy under the same PGD on pixel values, crafted in eval mode, as there.",
            under_attack,
            len(images),
            ACCURACY,
        ),
    ]


def _batch_norm_model(repeat: Repeat) -> nn.Module:
    experiment, dataset = repeat.experiment, repeat.dataset
    model = released.batch_norm_resnet18(
        dataset.channels,
        len(dataset.classes),
        experiment.model.width,
        seed=derive(experiment.seed, "batch norm"),
    )
    training = experiment.training
    epochs = experiment.federation.rounds * training.local_epochs
    held = dataset.train.records()
    if len(held) % training.batch_size == 1:  # batch norm has no statistics of a single record
        held = Records(held.images[:-1], held.labels[:-1])
    train(
        model,
        held,
        training.model_copy(update={"local_epochs": epochs}),
        seed=derive(experiment.seed, "batch norm", "training"),
        device=_place(repeat.model),
        title=f"training with batch norm, seed {experiment.seed}",
    )
    return model.eval()


def _draw(repeat: Repeat, records: int, seed: int) -> NDArray[np.int64]:
    return sample(repeat.dataset.test.strata, records, numpy_generator(seed, "faults", "images"))


def _drawn(repeat: Repeat, index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    drawn, device = repeat.dataset.test.records(index), _place(repeat.model)
    return as_float(drawn.images).to(device), drawn.labels.to(device)


def _attacked(model: nn.Module, images: Tensor, labels: Tensor, eps: float, seed: int) -> Tensor:
    step_size = STEP_SIZE * eps / EPS
    return craft("pgd", model, images, labels, eps=eps, step_size=step_size, steps=STEPS, seed=derive(seed, "pgd"))


def _robust(repeat: Repeat, index: NDArray[np.int64], eps: float, seed: int) -> float:
    images, labels = _drawn(repeat, index)
    return _scorer(repeat.model, labels)(_attacked(repeat.model, images, labels, eps, seed))


def _scorer(model: nn.Module, labels: Tensor) -> Callable[[Tensor], float]:
    return lambda images: accuracy(logits_of(model, images), labels.cpu().numpy())


def _share_right(logits: Tensor, labels: Tensor) -> float:
    return accuracy(logits.cpu().numpy(), labels.cpu().numpy())


def _place(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _fault(group: Group, name: str, sentence: str, pairs: Any, n: int, unit: str) -> Fault:
    there, here = zip(*pairs, strict=True)
    return {
        "name": f"{name}: {group.data}",
        "sentence": sentence,
        "released": list(there),
        "ours": list(here),
        "n": n,
        "unit": unit,
    }
