"""A run's folder: where each thing lies, and writes that never leave half a file."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from common.errors import UserError

if TYPE_CHECKING:  # heavy, and the store is listed without it
    from torch import Tensor


@dataclass(frozen=True)
class RunFolder:
    """``runs/NAME/HASH/``; see docs/design.md for what each file holds."""

    path: Path

    @property
    def experiment(self) -> Path:
        """The resolved description, TOML."""
        return self.path / "experiment.toml"

    @property
    def manifest(self) -> Path:
        """Versions, commit, data checksums, machine, wall times, bytes per client; JSON."""
        return self.path / "manifest.json"

    @property
    def partition(self) -> Path:
        """The record numbers of each client; JSON."""
        return self.path / "partition.json"

    @property
    def rounds(self) -> Path:
        """One JSON object a finished or skipped round."""
        return self.path / "rounds.jsonl"

    @property
    def ledger(self) -> Path:
        """Each client's privacy ledger; JSON."""
        return self.path / "ledger.json"

    @property
    def checkpoint(self) -> Path:
        """The global model after the last finished round; removed when the federation ends."""
        return self.path / "checkpoint.safetensors"

    @property
    def clients(self) -> Path:
        """Folder of client state (one sub-folder a client) in simulations."""
        return self.path / "clients"

    @property
    def updates(self) -> Path:
        """Without a server: one JSON object a local update, in their order."""
        return self.path / "updates.jsonl"

    @property
    def transcripts(self) -> Path:
        """What peers of the secure protocol said to all, a file a round; ``psreval verify-transcript`` reads one."""
        return self.path / "transcripts"

    @property
    def peers(self) -> Path:
        """Without a server: folder of the peers' states and own final models (one sub-folder a peer)."""
        return self.path / "peers"

    def peer_model(self, name: str) -> Path:
        """Without a server: a peer's own model at the end, fp32 safetensors."""
        return self.peers / name / "model.safetensors"

    @property
    def peer_scores(self) -> Path:
        """Without a server: how good each peer's own model is on the test split; JSON."""
        return self.path / "peers.json"

    @property
    def model(self) -> Path:
        """The final global model, fp32 safetensors; its presence says that the federation has ended well."""
        return self.path / "model.safetensors"

    @property
    def int8_model(self) -> Path:
        """The int8 model for deployment, ONNX."""
        return self.path / "model.int8.onnx"

    @property
    def results(self) -> Path:
        """The measures, long form, one a row; CSV. Its presence says that the evaluation has ended."""
        return self.path / "results.csv"

    @property
    def evaluation(self) -> Path:
        """Compression facts, warnings and the verdict; JSON."""
        return self.path / "evaluation.json"

    @property
    def examples(self) -> Path:
        """A few clean and adversarial images with predictions, for the report; safetensors with metadata."""
        return self.path / "examples.safetensors"

    @property
    def report(self) -> Path:
        """The report, one self-contained HTML file."""
        return self.path / "report.html"

    @property
    def model_card(self) -> Path:
        """The model card, Markdown."""
        return self.path / "MODEL_CARD.md"


def write_bytes(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file whole or not at all; once this returns, it outlasts a power cut.

    Args:
        path: the file; folders that are missing are made.
        content: what it shall hold.
        mode: who may read and write it, as for ``os.chmod``; nobody else ever may, not even while it is written.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    try:
        oldest = _existing(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_whole(path, content, mode)
        _keep_names(path, oldest)
    except OSError as error:
        free = shutil.disk_usage(_existing(path)).free // 2**20
        raise UserError(
            f"{path} could not be written ({error.strerror}; {free} MiB free); finished rounds are kept"
        ) from None


def replace_whole(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all, into a folder that is there; for its owner only until it is whole.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write UTF-8 text whole or not at all. ``mode`` and UserError as ``write_bytes``."""
    write_bytes(path, text.encode(), mode=mode)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all. Raises UserError as ``write_bytes``."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON. Raises UserError if the file is not there or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} could not be read: {error}") from None


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Append one JSON object as a line. Raises UserError as ``write_bytes``."""
    lines = path.read_bytes() if path.exists() else b""
    write_bytes(path, lines + json.dumps(value, sort_keys=True, allow_nan=False).encode() + b"\n")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file with one a line; nothing if it is not there."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def write_arrays(
    path: Path, arrays: "Mapping[str, Tensor]", metadata: Mapping[str, str] | None = None, *, mode: int = 0o644
) -> None:
    """Write named tensors as safetensors, whole or not at all. ``mode`` and UserError as ``write_bytes``."""
    from safetensors.torch import save

    held: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, array in arrays.items():
        own = array.detach().cpu().contiguous()
        # The library refuses tensors that share memory, such as tied weights.
        storage = own.untyped_storage().data_ptr()
        held[name] = own.clone() if storage in seen and own.numel() else own
        seen.add(storage)
    content = save(held)
    if metadata:
        # The library writes metadata in an order that changes from call to call; equal content shall be equal bytes.
        size = int.from_bytes(content[:8], "little")
        header = json.dumps({"__metadata__": dict(metadata)} | json.loads(content[8 : 8 + size]), separators=(",", ":"))
        padded = header.encode().ljust(-(-len(header.encode()) // 8) * 8)
        content = len(padded).to_bytes(8, "little") + padded + content[8 + size :]
    write_bytes(path, content, mode=mode)


def read_arrays(path: Path) -> "dict[str, Tensor]":
    """Read named tensors. Raises UserError if the file is not there, truncated or not safetensors."""
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} could not be read: {error}") from None


def _keep_names(path: Path, oldest: Path) -> None:
    """Have the disk keep the file's name, and those of the folders below ``oldest`` that were made for it."""
    if os.name == "nt":  # cannot open a folder
        return
    for folder in path.parents:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot do it for folders
                raise
        finally:
            os.close(handle)
        if folder == oldest:
            return


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
