"""A finished run, read back: every file of its folder, checked and typed."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from common.config import Experiment, parse_toml
from common.errors import UserError
from common.folder import RunFolder, read_json
from experiments.run_formats import Evaluated, Ledger, Manifest, Part, Partition, PeerScores, Round
from experiments.tables import read_measures
from server.measures import Measure

if TYPE_CHECKING:  # the store is listed without it where no run has any arrays
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Examples:
    """A few test images, clean and attacked; ``clean`` and ``adversarial`` [K, C, H, W] float32 in [0, 1].

    The rest are class numbers, [K], or masks, [K, H, W].
    """

    clean: "npt.NDArray[np.float32]"
    adversarial: "npt.NDArray[np.float32]"
    labels: "npt.NDArray[np.int64]"
    clean_prediction: "npt.NDArray[np.int64]"
    adversarial_prediction: "npt.NDArray[np.int64]"
    facts: dict[str, str]


@dataclass(frozen=True)
class Run:
    """Everything that a report says about one run."""

    experiment: Experiment
    description: str
    manifest: Manifest
    partition: Partition
    rounds: tuple[Round, ...]
    ledger: Ledger
    evaluation: Evaluated
    measures: tuple[Measure, ...]
    examples: Examples | None
    peers: PeerScores | None = None


def read_run(folder: RunFolder) -> Run:
    """Read a finished run's folder.

    Raises:
        UserError: it is no run's folder, it is not finished (with the command that resumes it), or a file is damaged.
    """
    if not folder.experiment.is_file():
        raise UserError(f"{folder.path} is not a run's folder: there is no {folder.experiment.name} in it")
    needed = (
        folder.manifest, folder.partition, folder.rounds, folder.ledger, folder.results, folder.evaluation,
    )  # fmt: skip
    missing = [path.name for path in needed if not path.is_file()]
    if missing:
        raise UserError(
            f"{folder.path} is not finished, {' and '.join(missing)} missing; "
            f"resume it with: psreval run {shlex.quote(str(folder.experiment))}"
        )
    try:
        description = folder.experiment.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{folder.experiment} could not be read: {error}") from None
    manifest = read_part(folder.manifest, Manifest)
    return Run(
        experiment=parse_toml(description, str(folder.experiment), folder.path),
        description=description,
        manifest=manifest,
        partition=read_part(folder.partition, Partition),
        rounds=read_rounds(folder.rounds),
        ledger=read_part(folder.ledger, Ledger),
        evaluation=read_part(folder.evaluation, Evaluated),
        measures=read_measures(folder.results),
        examples=read_examples(folder.examples, len(manifest.data.classes)) if folder.examples.is_file() else None,
        peers=read_part(folder.peer_scores, PeerScores) if folder.peer_scores.is_file() else None,
    )


def read_examples(path: Path, classes: int) -> Examples:
    """Read ``examples.safetensors``. Raises UserError if it is damaged, or names a class that the data has not."""
    import numpy as np

    names = ("clean", "adversarial", "labels", "clean_prediction", "adversarial_prediction")
    try:
        with safe_open(path, "numpy") as file:
            arrays: dict[str, Any] = {name: file.get_tensor(name) for name in names}
            facts = dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} could not be read: {error}; delete it, the report does without") from None
    clean, adversarial = arrays["clean"], arrays["adversarial"]
    numbers = [arrays[name] for name in names[2:]]
    fitting = (clean.shape[:1], clean.shape[:1] + clean.shape[2:])
    alike = len({a.shape for a in numbers}) == 1 and numbers[0].shape in fitting
    if clean.ndim != 4 or clean.shape != adversarial.shape or not alike:
        raise UserError(f"{path} holds arrays of shapes that do not match; delete it, the report does without")
    if any(a.size and not 0 <= int(a.min()) <= int(a.max()) < classes for a in numbers):
        raise UserError(f"{path} names a class beyond the data's {classes}; delete it, the report does without")
    images = [np.clip(np.nan_to_num(a.astype(np.float32)), 0, 1) for a in (clean, adversarial)]
    labels, before, after = (a.astype(np.int64) for a in numbers)
    return Examples(images[0], images[1], labels, before, after, facts)


Model = TypeVar("Model", bound=Part)


def read_part(path: Path, model: type[Model]) -> Model:
    """Read one of a run's JSON files. Raises UserError if it is damaged, or not what psreval writes."""
    return _check(read_json(path), model, str(path))


def read_rounds(path: Path) -> tuple[Round, ...]:
    """Read ``rounds.jsonl``. Raises UserError as ``read_part``, with the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} could not be read: {error}") from None
    rounds = []
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number} could not be read: {error}") from None
        rounds.append(_check(value, Round, f"{path}, line {number}"))
    return tuple(rounds)


def _check(value: Any, model: type[Model], place: str) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"][:1].lower() + first["msg"][1:]
        raise UserError(f"{place} is not what psreval writes: {where + ': ' if where else ''}{message}") from None
