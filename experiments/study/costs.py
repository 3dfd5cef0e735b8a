"""What attacks cost: seconds to craft the same images against one model, attack beside attack."""

import copy
import time

import torch
from torch import Tensor, nn

from attacks.batches import device_of
from attacks.craft import craft
from attacks.predict import predict
from common.records import as_float
from common.threads import torch_threads
from experiments.paper import released

EPS, STEP_SIZE, STEPS = 8 / 255, 2 / 255, 10
"""The paper's attack."""
ATTACKS = ("fgsm", "pgd", "fab")
RELEASED = "fab, as released"
"""torchattacks' FAB as the released code calls it: the gradients of all parameters come along, for nothing."""
_BATCH = 64  # the paper's, in training


def attack_seconds(model: nn.Module, images: Tensor, *, repeats: int = 3, seed: int) -> dict[str, list[float]]:
    """Return the seconds that each of ``ATTACKS`` and ``RELEASED`` takes, one number a repeat.

    CPU seconds of this process on one thread, which other work on the machine hardly changes; for a model on a GPU
    seconds by the clock. The attacks take turns, after a first turn each that does not count. What they craft is for
    training: all the steps, and FAB's changes projected to the budget. The model, the global random state and torch's
    threads are as before.

    The classes to leave are those that the model predicts: FAB spends nothing on an image that is wrong already, and a
    bad model would make it look cheap.

    Args:
        model: logits [N, classes] from images in [0, 1].
        images: [N, C, H, W], uint8 or float32 in [0, 1].
        repeats: at least 1.
        seed: of the random starts.

    Raises:
        UserError: as ``attacks.craft.craft``.
    """
    device = device_of(model, images)
    own = copy.deepcopy(model).eval().requires_grad_(True)  # for what leaves its gradients behind
    labels = predict(model, images)
    seconds: dict[str, list[float]] = {name: [] for name in (*ATTACKS, RELEASED)}
    with torch_threads(1):
        for repeat in range(-1, repeats):
            for name, taken in seconds.items():
                began = _now(device)
                _craft(name, own, images.to(device), labels.to(device), seed)
                ended = _now(device)
                own.zero_grad()
                if repeat >= 0:
                    taken.append(ended - began)
    return seconds


def _craft(name: str, model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> None:
    if name == RELEASED:
        pixels = as_float(images)
        for batch, truth in zip(torch.split(pixels, _BATCH), torch.split(labels, _BATCH), strict=True):
            released.fab(model, batch, truth, eps=EPS, step_size=STEP_SIZE, steps=STEPS)
    else:
        craft(name, model, images, labels, eps=EPS, step_size=STEP_SIZE, steps=STEPS, seed=seed, project=True)


def _now(device: torch.device) -> float:
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
