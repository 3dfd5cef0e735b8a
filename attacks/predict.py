"""What a model predicts, leaving no trace on it."""

import torch
from torch import Tensor, nn

from attacks.batches import device_of
from attacks.guard import undisturbed
from common.records import as_float

BATCH = 128


def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Return the predicted classes, int64 on the CPU, of images [N, C, H, W] (uint8, or float in [0, 1]).

    [N], or for a segmentation model masks [N, H, W]; where there are no images, [0].
    The model is asked in eval mode; its modes and the global random state are as before.
    """
    device = device_of(model, images)
    found = [torch.empty(0, dtype=torch.int64)]
    with undisturbed(model), torch.no_grad():
        for begin in range(0, len(images), BATCH):
            batch = as_float(images[begin : begin + BATCH]).to(device, torch.float32)
            found.append(model(batch).argmax(dim=1).cpu())
    return torch.cat(found)
