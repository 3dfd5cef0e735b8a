"""A description as a tree of values: dotted keys, the files that it names, and what of them counts in its hash."""

from pathlib import Path
from typing import Any

from common.errors import UserError
from common.loading import file_digest, is_reference


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key such as ``clients.0.strategy``, in place. Raises UserError if there is no such place."""
    node: Any = tree
    parts = key.split(".")
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise UserError(f"{key}: '{part}' is not one of the {len(node)} entries, which count from 0")
            if last:
                node[int(part)] = value
            else:
                node = node[int(part)]
        elif isinstance(node, dict):
            if last:
                node[part] = value
            else:
                node = node.setdefault(part, {})
        else:
            raise UserError(f"{key}: '{parts[depth - 1]}' is a value and has no keys")


KINDS = ("npz:", "folder:", "masks:")
"""Beginnings of ``data.source`` after which a file or a folder is named."""
_PLACES = {
    "data.source",
    "data.path",
    "model.name",
    "federation.aggregation",
    "clients.strategy",
    "clients.options.attack",
    "clients.adversarial_training.attack",
    "evaluation.attacks",
    "evaluation.query_attacks",
    "evaluation.generators.experiment",
}
"""Keys (without list positions) whose text may name a file."""


def resolve(value: Any, base: Path, place: str = "") -> Any:
    """Return a copy in which the files that a description names are absolute; other text stays as it is."""
    if isinstance(value, dict):
        return {key: resolve(item, base, f"{place}.{key}".lstrip(".")) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(item, base, place) for item in value]
    if not isinstance(value, str) or place not in _PLACES:
        return value
    if place in ("data.path", "evaluation.generators.experiment"):
        return str((base / Path(value).expanduser()).resolve())
    if is_reference(value):
        path, _, attribute = value.rpartition(":")
        return f"{(base / Path(path).expanduser()).resolve()}:{attribute}"
    for kind in KINDS:
        if value.startswith(kind) and value != kind:
            return kind + str((base / Path(value.removeprefix(kind)).expanduser()).resolve())
    return value


def resolve_change(key: str, value: Any) -> Any:
    """Resolve what a command line says against the folder that it is typed in."""
    return resolve(value, Path.cwd(), ".".join(part for part in key.split(".") if not part.isdigit()))


def with_digests(value: Any) -> Any:
    """Return a copy in which a referenced file stands by its name and content, not by where it lies."""
    if isinstance(value, dict):
        told = {key: with_digests(item) for key, item in value.items()}
        if "experiment" in value and "changes" in value:  # a transfer generator's description
            told["experiment"] = _digest_of(Path(str(value["experiment"])))
        return told
    if isinstance(value, list):
        return [with_digests(item) for item in value]
    if isinstance(value, str):
        if is_reference(value):
            path, _, attribute = value.rpartition(":")
            return [Path(path).name, _digest_of(Path(path)), attribute]
        for kind in KINDS:
            if value.startswith(kind):
                return kind + Path(value.removeprefix(kind)).name
    return value


def _digest_of(path: Path) -> str:
    return file_digest(path) if path.is_file() else "missing"
