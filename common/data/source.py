"""What every data source gives: where it is, then its parts, whose images are read only when they are wanted."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.data.dataset import Images, Labels


@dataclass(frozen=True, eq=False)
class Part:
    """Some of a source's records, before any split or cap.

    Attributes:
        labels: int64 [N].
        read: record numbers [M] → uint8 [M, C, S, S]; raises UserError where an image is unreadable.
        groups: one name a record; records of one group (a patient) never straddle two splits. None: each stands alone.
    """

    labels: Labels
    read: Callable[[NDArray[np.int64]], Images]
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Opened:
    """A source's contents. A missing ``public`` or ``test`` is cut out of ``train``."""

    classes: tuple[str, ...]
    channels: int
    image_size: int
    train: Part
    public: Part | None
    test: Part | None
    synthetic: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Located:
    """A source that is there but not yet read.

    Attributes:
        label: its name for reports, without folders.
        fingerprint: changes whenever what would be read changes.
        open: reads it; raises UserError.
    """

    label: str
    fingerprint: str
    open: Callable[[], Opened]
