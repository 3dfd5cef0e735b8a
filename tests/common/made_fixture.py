"""A network of any layers and any forward pass."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Made(nn.Module):
    """A network of these layers whose forward is ``way(self, images)``."""

    def __init__(self, way: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.way = way
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, images: Tensor) -> Tensor:
        """Return what ``way`` makes of them."""
        return self.way(self, images)
