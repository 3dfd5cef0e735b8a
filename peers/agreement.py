"""What all peers of a run must have in common, and what each decides for itself.

The agreement is the model, how it is trained, the rounds, the protocol, the seed, the peers' names, what images look
like, and the code. Which records a peer has, its strategy and its privacy are its own affair, and so is how it
evaluates what comes of it.
"""

import hashlib
import json
from typing import Annotated, Any

from pydantic import Field, model_validator

from common.code import code_digest
from common.config import Experiment
from common.data import Dataset, normalisation
from common.records import Task
from common.section import Section
from common.tree import with_digests
from peers.wire import RefusedError, short

Agreement = dict[str, str]
"""Part → its content as JSON, or a digest of it where that is long."""

GREETING_LIMIT = 16_000
"""Bytes of a greeting."""
_COMMON = ("name", "seed", "protocol", "device", "model", "training", "peers")
_FEDERATION = ("rounds", "norm_limit", "strikes_limit", "threads")
_LONGEST = 200
_PARTS = 40


class Images(Section):
    """What images look like, and the numbers that the model normalises them with: one a channel, for [0, 1]."""

    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=1000)]
    channels: Annotated[int, Field(ge=1, le=16)]
    image_size: Annotated[int, Field(ge=8, le=1024)]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    task: Task = "classification"

    @model_validator(mode="after")
    def _a_number_a_channel(self) -> "Images":
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std need one number for each of the {self.channels} channels")
        return self

    def problem_with(self, dataset: Dataset) -> str:
        """Say in which way a peer's own images are not like these; empty: in none."""
        found = {"classes": dataset.classes, "channels": dataset.channels, "image_size": dataset.image_size}
        for key, value in {**found, "task": dataset.task}.items():
            if getattr(self, key) != value:
                return f"its images have {key} = {value}, the agreement says {getattr(self, key)}"
        return ""

    @staticmethod
    def of(dataset: Dataset) -> "Images":
        """Return what a data set's images look like; its public split gives the numbers."""
        mean, std = normalisation(dataset.public)
        return Images(
            classes=dataset.classes,
            channels=dataset.channels,
            image_size=dataset.image_size,
            mean=tuple(mean),
            std=tuple(std),
            task=dataset.task,
        )


def agreement(experiment: Experiment, images: Images) -> Agreement:
    """Return what a peer expects of all others, part by part."""
    tree: dict[str, Any] = with_digests(json.loads(experiment.model_dump_json()))
    parts = {key: tree[key] for key in _COMMON}
    if experiment.protocol == "secure":
        parts["secure"] = tree["secure"]
    parts |= {f"federation.{key}": tree["federation"][key] for key in _FEDERATION}
    parts["clients"] = [client.name for client in experiment.roster()]
    parts |= {f"images.{key}": value for key, value in json.loads(images.model_dump_json()).items()}
    parts["code"] = code_digest(("common", "attacks", "clients", "peers"))
    return {key: _brief(json.dumps(value, sort_keys=True)) for key, value in parts.items()}


def digest_of(parts: Agreement) -> str:
    """Return the digest that names a run: peers with another one are refused."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def differences(mine: Agreement, theirs: Agreement) -> str:
    """Say in which parts two agreements differ; empty: in none."""
    nothing = "nothing"
    differing = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
    told = [f"{short(key, 40)} (here {mine.get(key, nothing)}, there {theirs.get(key, nothing)})" for key in differing]
    return "; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else "")


def encode_greeting(parts: Agreement, leaving: bool) -> bytes:
    """Return what a peer says of itself: what it expects of the others, and whether it needs nobody any more."""
    return json.dumps({"agreement": parts, "leaving": leaving}, sort_keys=True).encode()


def decode_greeting(text: bytes) -> tuple[Agreement, bool]:
    """Read a greeting. Raises RefusedError: it is none."""
    if len(text) > GREETING_LIMIT:
        raise RefusedError(f"its greeting has more than {GREETING_LIMIT} bytes")
    try:
        told = json.loads(text)
        parts, leaving = told["agreement"], told["leaving"]
        texts = len(parts) <= _PARTS and all(isinstance(value, str) for value in parts.values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise RefusedError("its greeting is not what a peer says") from None
    if not texts or not isinstance(leaving, bool):
        raise RefusedError("its greeting is not what a peer says")
    return {short(key, 60): short(value, _LONGEST) for key, value in parts.items()}, leaving


def _brief(text: str) -> str:
    return text if len(text) <= _LONGEST else f"sha256 {hashlib.sha256(text.encode()).hexdigest()}"
