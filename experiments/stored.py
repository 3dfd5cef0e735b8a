"""Whether a run in the store can be trusted, and what becomes of one that cannot: it is set aside, never used."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from common.config import RESULTS_VERSION, Experiment, parse_toml
from common.description import Model
from common.errors import UserError
from common.folder import RunFolder, read_json
from common.loading import is_reference
from common.progress import note
from common.task_names import Task
from experiments.run_files import read_part, read_rounds, read_run
from experiments.run_formats import Evaluated, Ledger, Manifest
from experiments.store import broken_arrays, claimed
from experiments.tables import clean, worst
from server.measures import Measure
from server.progress import Progress
from server.runners import DESCRIBED

ASIDE = ".aside"
"""The folder below the store where runs lie that cannot be trusted; ``reasons.txt`` says why."""


def trusted(folder: RunFolder, experiment: Experiment, checksum: str) -> str | None:
    """Return why a run cannot be trusted to be what ``experiment`` describes; None: it can, as far as it has come.

    Looked at are the description, the hash, the manifest, whether each file that is there can be read and is whole,
    the shapes of the model's weights, and whether all targets have their results. Nothing is computed anew.

    Args:
        folder: the run's; need not be there.
        experiment: what should lie there.
        checksum: of its data.
    """
    if not folder.path.is_dir() or is_empty(folder):
        return None
    try:
        found = read_description(folder)
        manifest = read_manifest(folder) if folder.manifest.exists() else None
    except UserError as error:
        return str(error)
    hospitals = manifest is not None and manifest.runner not in DESCRIBED
    if folder.path.name != experiment.digest(checksum, hospitals=hospitals):
        return f"the folder's name is not the hash of '{experiment.name}' on these data"
    if _without_places(found) != _without_places(experiment):
        return f"{folder.experiment.name} does not hold the description that the folder's name stands for"
    if manifest is not None:
        if manifest.results_version != RESULTS_VERSION or manifest.hash != folder.path.name:
            return f"{folder.manifest.name} belongs to another run"
        if manifest.data.checksum != checksum:
            return f"{folder.manifest.name} names other data"
    reason = damage(folder, manifest)
    if reason is None and manifest is not None and folder.model.exists():
        reason = _wrong_weights(folder.model, experiment.model, manifest)
    return reason


def finished_federation(
    runs: Path, federation_hash: str, apart_from: RunFolder, known: Mapping[str, Sequence[RunFolder]] | None = None
) -> RunFolder | None:
    """Return a run whose federation is the same, has ended and can be trusted, whatever its evaluation.

    Args:
        runs: the store.
        federation_hash: of the federation.
        apart_from: a run that does not count.
        known: what ``federations`` found a moment ago; None: look now.
    """
    for folder in (federations(runs) if known is None else known).get(federation_hash, ()):
        if folder.path != apart_from.path and folder.model.exists() and _is_federation(folder, federation_hash):
            return folder
    return None


def federations(runs: Path) -> dict[str, list[RunFolder]]:
    """Return, for each federation's hash, the runs whose manifest says that they have it; nothing is checked."""
    found: dict[str, list[RunFolder]] = {}
    for manifest in sorted(runs.glob("[!.]*/*/manifest.json")):
        try:
            told: Any = json.loads(manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(told, dict) and told.get("results_version") == RESULTS_VERSION:
            found.setdefault(str(told.get("federation_hash")), []).append(RunFolder(manifest.parent))
    return found


def _is_federation(folder: RunFolder, federation_hash: str) -> bool:
    """Tell whether a run is what its manifest says, with all the rounds of the federation that has this hash."""
    try:
        experiment, manifest = read_description(folder), read_manifest(folder)
        rounds = len(read_rounds(folder.rounds))
    except UserError:
        return False
    hospitals = manifest.runner not in DESCRIBED
    digest = experiment.digest(manifest.data.checksum, federation_only=True, hospitals=hospitals)
    if digest != federation_hash or rounds != experiment.federation.rounds:
        return False
    return trusted(folder, experiment, manifest.data.checksum) is None


def is_empty(folder: RunFolder) -> bool:
    """Tell whether nothing was written yet, but the lock and perhaps a file that a killed process began."""
    return all(path.name.startswith(".") for path in folder.path.iterdir())


def make_way(folder: RunFolder, experiment: Experiment, checksum: str) -> str | None:
    """Set aside what lies where a run belongs if it cannot be trusted; return a sentence that says so, or None.

    What can be trusted is left to whoever works on it. Else another process that works on it is waited for, since what
    looks damaged now may be set aside by then.

    Raises:
        UserError: it cannot be moved.
    """
    if trusted(folder, experiment, checksum) is None:
        return None
    with claimed(folder, wait=True):
        reason = trusted(folder, experiment, checksum)
        return None if reason is None else _move_aside(folder, reason)


def set_aside(folder: RunFolder, reason: str) -> str:
    """Move a run to ``RUNS/.aside/NAME-HASH-k``, with a line in ``reasons.txt``; return a sentence that says so.

    Raises:
        UserError: a process works on the run, or it cannot be moved.
    """
    with claimed(folder):
        return _move_aside(folder, reason)


def _move_aside(folder: RunFolder, reason: str) -> str:
    name, digest = folder.path.parent.name, folder.path.name
    aside = folder.path.parents[1] / ASIDE
    told = " ".join(reason.split())
    try:
        aside.mkdir(exist_ok=True)
        number = 1
        while (target := aside / f"{name}-{digest}-{number}").exists():
            number += 1
        folder.path.rename(target)
        with (aside / "reasons.txt").open("a", encoding="utf-8") as file:
            file.write(f"{target.name}: {told}\n")
    except OSError as error:
        raise UserError(f"{folder.path} cannot be trusted ({told}) and not be set aside ({error.strerror})") from None
    sentence = f"{name}/{digest} was set aside as {ASIDE}/{target.name}: {told}"
    note(sentence)
    return sentence


def damage(folder: RunFolder, manifest: Manifest | None) -> str | None:
    """Return which file of a run is not whole, and why; None where all that are there are."""
    begun = [path for path in (folder.checkpoint, folder.model, folder.results) if path.exists()]
    if begun and manifest is None:
        return f"{folder.manifest.name} is missing, but {begun[-1].name} is there"
    try:
        if folder.results.exists():
            if not folder.model.exists():
                return f"{folder.model.name} is missing, but {folder.results.name} is there"
            run = read_run(folder)
            broken = _broken(folder.model) or _broken_peers(folder)
            return broken or _incomplete(folder, run.experiment, run.measures, run.evaluation)
        if folder.rounds.exists():
            read_rounds(folder.rounds)
        if folder.model.exists():
            read_rounds(folder.rounds)
            read_part(folder.ledger, Ledger)
            return _broken(folder.model) or _broken_peers(folder)
        if folder.checkpoint.exists():
            return _broken(folder.checkpoint) or _no_progress(folder)
        return _broken_peers(folder)
    except UserError as error:
        return str(error)
    return None


def _incomplete(
    folder: RunFolder, experiment: Experiment, measures: tuple[Measure, ...], evaluation: Evaluated
) -> str | None:
    """Return what a finished evaluation lacks, although each of its files can be read."""
    if not folder.results.read_bytes().endswith(b"\n"):
        return f"{folder.results.name} ends in the middle of a line"
    asked = experiment.evaluation
    gradients = bool({"white-box", "insider"} & set(asked.threats)) and bool(asked.attacks)
    queries = "query" in asked.threats and bool(asked.query_attacks)
    for target in ("fp32", "int8"):
        if clean(measures, target) is None:
            return f"{folder.results.name} lacks the accuracy of {target}"
    if (gradients or queries) and worst(measures, "int8", "all") is None:  # the table's last row
        return f"{folder.results.name} lacks its last rows"
    size = folder.int8_model.stat().st_size if folder.int8_model.exists() else 0
    if size != evaluation.compression.int8_bytes:
        return f"{folder.int8_model.name} has {size} bytes, not {evaluation.compression.int8_bytes}"
    return None


def _broken(path: Path) -> str | None:
    reason = broken_arrays(path)
    return None if reason is None else f"{path.name} could not be read: {reason}"


def _broken_peers(folder: RunFolder) -> str | None:
    """Return which file of the peers', of a federation without a server, is not whole; None where all are."""
    for path in sorted(folder.peers.rglob("*.safetensors")):
        if not path.name.startswith(".") and (reason := broken_arrays(path)) is not None:
            return f"{path.relative_to(folder.path)} could not be read: {reason}"
    return None


def _no_progress(folder: RunFolder) -> str | None:
    try:
        Progress.load_facts(folder)
    except UserError as error:
        return str(error)
    return None


def _wrong_weights(path: Path, model: Model, manifest: Manifest) -> str | None:
    told = manifest.data
    with safe_open(path, "pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    try:
        wanted = dict(_shapes(model, told.channels, len(told.classes), told.image_size, told.task))
    except UserError:
        return None  # the user's own network is not there any more; the run's hash vouches for it
    return None if found == wanted else f"{path.name} holds the weights of another network"


@functools.lru_cache(maxsize=64)
def _shapes(
    model: Model, channels: int, classes: int, image_size: int, task: Task
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    from common.models import build  # heavy, and the store is listed without it

    flat = [0.5] * channels, [1.0] * channels
    built = build(model, channels, classes, *flat, seed=0, image_size=image_size, task=task)
    return tuple((name, tuple(tensor.shape)) for name, tensor in built.state_dict().items())


def read_description(folder: RunFolder) -> Experiment:
    """Read ``experiment.toml``. Raises UserError if it is missing or damaged."""
    try:
        text = folder.experiment.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{folder.experiment} could not be read: {error}") from None
    return parse_toml(text, str(folder.experiment), folder.path)


def read_manifest(folder: RunFolder) -> Manifest:
    """Read the manifest with all that a resumed run asks of it. Raises UserError."""
    raw = read_json(folder.manifest)
    missing = [key for key in ("started", "seconds") if not isinstance(raw, dict) or key not in raw]
    if missing:
        raise UserError(f"{folder.manifest} is not what psreval writes: '{missing[0]}' is missing")
    return read_part(folder.manifest, Manifest)


def _without_places(experiment: Experiment) -> Any:
    """Return a description in which files have their names and no folders; what they hold, the hash tells."""
    tree = json.loads(experiment.model_dump_json(exclude_none=True))
    tree.pop("description", None)
    tree["data"].pop("path", None)
    return _last_names(tree)


def _last_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _last_names(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_last_names(item) for item in value]
    if isinstance(value, str) and "/" in value:
        kind, colon, rest = value.partition(":")
        return f"{kind}:{Path(rest).name}" if colon and kind in ("npz", "folder") else Path(value).name
    return value


def names_files(experiment: Experiment) -> bool:
    """Tell whether the description's hash follows files, which may have changed since."""
    if any(generator.experiment for generator in experiment.evaluation.generators):
        return True

    def any_in(value: Any) -> bool:
        if isinstance(value, dict):
            return any(map(any_in, value.values()))
        if isinstance(value, list):
            return any(map(any_in, value))
        return isinstance(value, str) and is_reference(value)

    return any_in(json.loads(experiment.model_dump_json(exclude_none=True)))
