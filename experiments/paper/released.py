"""What the paper's released code does in the place of what the paper says: measured by the study, used by nothing else.

Written anew from a reading of that code (dimasquest/PSREval at cb4ded6); nothing of it is copied. Each function repeats
one of its faults and leaves out the others, so that what a fault does can be told.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks.guard import seed_everything, undisturbed
from common.models import seeded_weights
from common.models.blocks import Normalised
from common.models.resnet18 import ResNet18

MEAN_STD = {1: (0.4739, 0.237), 3: (0.5, 0.5)}
"""Channels → mean and deviation, in units of [0, 1], by which its loader normalises every channel."""
TEST_BATCH = 32
"""Images of the one test batch whose robust accuracy it reports; its test loader does not shuffle."""


def normalised_pgd(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, step_size: float, steps: int, seed: int
) -> Tensor:
    """Return the images as PGD changes them when it takes normalised images for images in [0, 1].

    Its budget and steps then count deviations, not pixel values, and its clamp moves all that is darker than the mean,
    or brighter than mean plus deviation, to there. The model and the global random state stay as they are.

    Args:
        model: logits [N, classes] from images in [0, 1].
        images: float32 [N, C, H, W] in [0, 1], with 1 or 3 channels.
        labels: int64 [N]; the classes to leave.
        eps, step_size: in units of [0, 1], as it believes.
        steps: at least 1.
        seed: of the random starts.

    Returns:
        float32 [N, C, H, W], in pixel values again, in [mean, mean + deviation].
    """
    import torchattacks

    mean, std = MEAN_STD[images.shape[1]]
    with undisturbed(model):
        seed_everything(seed)
        attack = torchattacks.PGD(_FromNormalised(model, mean, std), eps=eps, alpha=step_size, steps=steps)
        batches = zip(torch.split((images - mean) / std, TEST_BATCH), torch.split(labels, TEST_BATCH), strict=True)
        changed = [attack(batch, truth) for batch, truth in batches]
    return torch.cat(changed) * std + mean


def clamped(images: Tensor) -> Tensor:
    """Return images [N, C, H, W] in [0, 1] as its clamp of normalised images leaves them, in pixel values again."""
    mean, std = MEAN_STD[images.shape[1]]
    return images.clamp(mean, mean + std)


def batch_norm_resnet18(channels: int, classes: int, width: int, *, seed: int) -> nn.Module:
    """Return its ResNet-18 with batch norm, behind its normalisation: logits [N, classes] from images in [0, 1]."""
    with seeded_weights(seed):
        network = ResNet18(channels, classes, width)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.GroupNorm):
            network.set_submodule(name, nn.BatchNorm2d(module.num_channels))
    mean, std = MEAN_STD[channels]
    return Normalised(network, [mean] * channels, [std] * channels, channels)


def train_mode_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits [N, classes] in train mode, where batch norm takes its statistics from the batch it scores.

    Images [N, C, H, W] in [0, 1] come in the order given, ``TEST_BATCH`` at once. The model stays as it is.
    """
    scored = copy.deepcopy(model).train()
    with torch.no_grad():
        return torch.cat([scored(batch) for batch in torch.split(images, TEST_BATCH)])


def fab(model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, step_size: float, steps: int) -> Tensor:
    """Return the images [N, C, H, W] as FAB changes them within a training step, its misnamed argument mended.

    What FAB calls ``backward`` on is **added to the gradients of the model's parameters**, which must want them. FAB
    gets the step size as the greatest weight of its pull to the original. The global random state stays as it is.
    """
    import torchattacks

    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    with undisturbed():
        attack = torchattacks.FAB(model, eps=eps, alpha_max=step_size, steps=steps, n_classes=classes)
        changed: Tensor = attack(images, labels)
    return changed


def gradients_after_fab(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, step_size: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Return the gradient that its optimiser sees in a training step with FAB, and that of the loss: both [parameters].

    It zeroes gradients first, crafts then, and never zeroes them again before the loss's ``backward``. The model stays
    as it is, and counts in eval mode.
    """
    trained = copy.deepcopy(model).eval().requires_grad_(True)
    trained.zero_grad()
    changed = fab(trained, images, labels, eps=eps, step_size=step_size, steps=steps)
    cross_entropy(trained(changed), labels).backward()  # type: ignore[no-untyped-call]
    seen = _gradient(trained)
    trained.zero_grad()
    cross_entropy(trained(changed), labels).backward()  # type: ignore[no-untyped-call]
    return seen, _gradient(trained)


class _FromNormalised(nn.Module):
    """The model, from normalised images."""

    def __init__(self, model: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.model, self.mean, self.std = model, mean, std

    def forward(self, normalised: Tensor) -> Tensor:
        logits: Tensor = self.model(normalised * self.std + self.mean)
        return logits


def _gradient(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
