"""Records: images with their labels, the unit that clients train on and privacy protects."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Records:
    """Images and labels, record by record.

    Attributes:
        images: [N, C, H, W]; uint8, or float32 in [0, 1] once a strategy has changed some of them.
        labels: [N] int64 class numbers.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4:
            raise ValueError(f"images must be [N, C, H, W]; got shape {tuple(self.images.shape)}")
        if self.images.dtype not in (torch.uint8, torch.float32):
            raise ValueError(f"images must be uint8, or float32 in [0, 1]; got {self.images.dtype}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            found = f"{self.labels.dtype} {tuple(self.labels.shape)}"
            raise ValueError(f"labels must be int64 of shape [{len(self.images)}]; got {found}")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: Tensor) -> "Records":
        """Return the records at ``index`` (int64 [M])."""
        return Records(self.images[index], self.labels[index])


def as_float(images: Tensor) -> Tensor:
    """Return images as float32 in [0, 1]; uint8 is divided by 255, float32 passes through."""
    return images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images


def replace(records: Records, index: Tensor, images: Tensor, labels: Tensor) -> Records:
    """Return a copy whose records at ``index`` are float ``images`` [M, C, H, W] with ``labels`` [M]."""
    changed = as_float(records.images).clone()
    changed[index] = images.to(changed.dtype)
    changed_labels = records.labels.clone()
    changed_labels[index] = labels
    return Records(changed, changed_labels)
