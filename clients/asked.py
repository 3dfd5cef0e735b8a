"""What a server's message asks of a client, read and checked before anything is done."""

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Message

from clients.image_facts import ImageFacts
from common.code import code_digest
from common.config import Experiment, parse_toml
from common.data import Dataset
from common.errors import UserError
from common.exchange import CHANNELS, CLASSES, CODE, CONFIG, COUNTED, EXPERIMENT, IMAGE_SIZE, MEAN, ROUND, RUN, STD

LARGEST_DESCRIPTION = 1_000_000
"""Characters of a description that are read."""
LARGEST_NUMBER = 10_000_000
"""Of a round, of channels, of pixels; a ledger with a round beyond all measure could not be read again."""


@dataclass(frozen=True)
class Asked:
    """A server's request; ``common.exchange.told`` makes the message.

    Attributes:
        experiment: the server's whole description. A hospital takes from it only what ``clients.place`` takes.
        round: the round to train for, from 1; in an introduction the last finished one.
        run: token of this server start.
        classes: the classes' names.
        channels, image_size: of the server's images.
        mean, std: of each channel of the server's public images, in units of [0, 1].
        counted: the round in which this client's update last counted; 0: none has (``clients.residual``).
    """

    experiment: Experiment
    round: int
    run: str
    classes: tuple[str, ...]
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    counted: int = 0

    @property
    def images(self) -> ImageFacts:
        """What the run's images are like, as a model must know it."""
        return ImageFacts(self.classes, self.channels, self.image_size, self.mean, self.std)

    def check_data(self, dataset: Dataset, owner: str) -> None:
        """Refuse to train on data that are not like the server's. Raises UserError."""
        if dataset.classes != self.classes:
            raise UserError(
                f"{owner}: its data have the classes {_listed(dataset.classes)}, the server's {_listed(self.classes)}; "
                "both must have the same in the same order (an npz file may name them in an array 'classes')"
            )
        if dataset.channels != self.channels:
            raise UserError(
                f"{owner}: its images have {dataset.channels} channels, the server's {self.channels}; convert the ones "
                "or the others"
            )
        if dataset.image_size != self.image_size:
            raise UserError(
                f"{owner}: its images are {dataset.image_size} pixels wide, the server's {self.image_size}; set "
                f"data.image_size = {self.image_size}"
            )


def asked(message: Message) -> Asked:
    """Return what a message asks.

    Raises:
        UserError: it comes from other code than this, lacks something, or holds a description that does not fit.
    """
    record = message.content.config_records.get(CONFIG, ConfigRecord())
    code = record.get(CODE)
    if code != code_digest():
        theirs = str(code)[:12] if code else "unknown"
        raise UserError(
            f"this node runs other code than the server: {code_digest()[:12]} here, {theirs} there; update psreval on "
            "both to the same version"
        )
    mean, std = _numbers(record, MEAN), _numbers(record, STD)
    channels, size = _whole(record, CHANNELS, 1), _whole(record, IMAGE_SIZE, 1)
    if len(mean) != channels or len(std) != channels or not all(deviation > 0 for deviation in std):
        raise UserError(f"the server's message: '{MEAN}' and '{STD}' do not fit its {channels} channels")
    text = _text(record, EXPERIMENT)
    if len(text) > LARGEST_DESCRIPTION:
        raise UserError(f"the server's description has {len(text)} characters; {LARGEST_DESCRIPTION} are read")
    return Asked(
        experiment=_described(text, Path.cwd()),
        round=_whole(record, ROUND, 0),
        run=_text(record, RUN),
        classes=tuple(_list(record, CLASSES, str)),
        channels=channels,
        image_size=size,
        mean=mean,
        std=std,
        counted=_whole(record, COUNTED, 0) if COUNTED in record else 0,
    )


@functools.lru_cache(maxsize=2)
def _described(text: str, base: Path) -> Experiment:
    """Return a description as ``parse_toml`` reads it: once, and not once for each message to each simulated client."""
    return parse_toml(text, "the server's description", base)


def _text(record: ConfigRecord, key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise _unfit(key, value)
    return value


def _whole(record: ConfigRecord, key: str, least: int) -> int:
    value = record.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LARGEST_NUMBER:
        raise _unfit(key, value)
    return value


def _numbers(record: ConfigRecord, key: str) -> tuple[float, ...]:
    values = _list(record, key, float)
    if not all(math.isfinite(value) for value in values):
        raise _unfit(key, values)
    return tuple(values)


def _list(record: ConfigRecord, key: str, kind: type) -> list[Any]:
    values = record.get(key)
    if not isinstance(values, list) or not values or not all(isinstance(value, kind) for value in values):
        raise _unfit(key, values)
    return values


def _unfit(key: str, value: object) -> UserError:
    return UserError(f"the server's message: '{key}' is {value!r:.80}, which cannot be; update psreval on both sides")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name[:40]}'" for name in names[:20])
