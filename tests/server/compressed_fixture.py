"""A small network that has learnt something, and its int8 forms; made once, in about two seconds."""

import functools

import torch
from torch import Tensor, nn

from common import description
from common.models import build
from common.seeds import torch_generator
from server.int8 import Int8, compress

CLASSES = 4


def images_and_labels(count: int, seed: int, size: int = 32, channels: int = 3) -> tuple[Tensor, Tensor]:
    """uint8 images with one bright quarter, which is the class, under noise, and black and white corners."""
    generator = torch_generator(seed, "quarters")
    labels = torch.randint(CLASSES, (count,), generator=generator)
    images = 80 + 60 * torch.rand(count, channels, size, size, generator=generator)
    half = size // 2
    for number, label in enumerate(labels.tolist()):
        row, column = divmod(label, 2)
        images[number, :, row * half : (row + 1) * half, column * half : (column + 1) * half] += 12
    images[:, :, :2, :2], images[:, :, -2:, -2:] = 0, 255
    return images.round().to(torch.uint8), labels


@functools.cache
def trained(name: str = "resnet9", width: int = 8, mean: float = 0.47) -> nn.Module:
    model = build(description.Model(name=name, width=width), 3, CLASSES, [mean] * 3, [0.25] * 3, seed=1)
    images, labels = images_and_labels(512, seed=1)
    optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3)
    for _ in range(3):
        for batch, expected in zip(images.split(32), labels.split(32), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch / 255), expected).backward()
            optimizer.step()
    return model.eval()


@functools.cache
def compressed(name: str = "resnet9", bits: int = 7, calibration: str = "minmax", mean: float = 0.47) -> Int8:
    section = description.Compression.model_validate({"activation_bits": bits, "calibration": calibration})
    return compress(trained(name, mean=mean), images_and_labels(256, seed=2)[0], section)
