"""Records: images with their labels, the unit that clients train on and privacy protects."""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.task_names import Task as Task


@dataclass(frozen=True)
class Records:
    """Images and labels, record by record.

    Attributes:
        images: [N, C, H, W]; uint8, or float32 in [0, 1] once a strategy has changed some of them.
        labels: int64 class numbers: [N], one an image, or, for segmentation, [N, H, W], one a pixel.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4:
            raise ValueError(f"images must be [N, C, H, W]; got shape {tuple(self.images.shape)}")
        if self.images.dtype not in (torch.uint8, torch.float32):
            raise ValueError(f"images must be uint8, or float32 in [0, 1]; got {self.images.dtype}")
        records, _, height, width = self.images.shape
        if self.labels.dtype != torch.int64 or self.labels.shape not in ((records,), (records, height, width)):
            found = f"{self.labels.dtype} {tuple(self.labels.shape)}"
            wanted = f"[{records}], or [{records}, {height}, {width}] for segmentation"
            raise ValueError(f"labels must be int64 of shape {wanted}; got {found}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def task(self) -> Task:
        """What these records teach."""
        return "segmentation" if self.labels.ndim == 3 else "classification"

    def take(self, index: Tensor) -> "Records":
        """Return the records at ``index`` (int64 [M])."""
        return Records(self.images[index], self.labels[index])


def as_float(images: Tensor) -> Tensor:
    """Return images as float32 in [0, 1]; uint8 is divided by 255, float32 passes through."""
    return images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images


def replace(records: Records, index: Tensor, images: Tensor, labels: Tensor) -> Records:
    """Return a copy whose records at ``index`` are float ``images`` [M, C, H, W] with ``labels`` [M] or [M, H, W]."""
    changed = as_float(records.images).clone()
    changed[index] = images.to(changed.dtype)
    changed_labels = records.labels.clone()
    changed_labels[index] = labels
    return Records(changed, changed_labels)
