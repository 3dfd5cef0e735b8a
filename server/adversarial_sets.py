"""Adversarial sets on disk: what one model's gradients make of some images, crafted once and scored on all targets."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from attacks import budget
from attacks.craft import find
from common.config import RESULTS_VERSION
from common.description import Model
from common.errors import UserError
from common.folder import write_arrays
from common.lock import locked
from common.progress import note
from common.records import as_float
from common.tree import with_digests

_SUFFIX = ".safetensors"


@dataclass(frozen=True, eq=False)
class Recipe:
    """All that an adversarial set follows from.

    Attributes:
        generator: the digest of the model whose gradients are followed, see ``digest_of``.
        attack: its name, or ``file.py:function``.
        eps, step_size, steps: the budget, in units of [0, 1].
        seed: of all that the attack draws.
        images: the attacked images, uint8 [n, C, H, W].
        labels: int64 [n].
    """

    generator: str
    attack: str
    eps: float
    step_size: float
    steps: int
    seed: int
    images: Tensor
    labels: Tensor

    def key(self) -> str:
        """Return the SHA-256 of the recipe, in hex; a user's own attack counts by its file's content.

        The number of threads belongs to it, since sums of floating-point numbers depend on it.
        """
        told = [
            RESULTS_VERSION,
            self.generator,
            with_digests(self.attack),
            [self.eps, self.step_size, self.steps, self.seed],
            torch.get_num_threads(),
        ]
        digest = sha256(json.dumps(told).encode())
        for tensor in (self.images, self.labels):
            digest.update(_bytes_of(tensor))
        return digest.hexdigest()


class AdversarialSets:
    """A folder of adversarial sets, ``GENERATOR/KEY.safetensors``, which any number of processes share.

    Attributes:
        path: the folder; made with the first set.
        hits: sets that were there when this object was asked.
        crafts: sets that it had crafted.
    """

    def __init__(self, path: Path) -> None:
        """Keep sets in ``path``."""
        self.path = path
        self.hits = 0
        self.crafts = 0

    def crafted(self, recipe: Recipe, craft: Callable[[], Tensor]) -> Tensor:
        """Return the set that a recipe gives: the stored one, or what ``craft`` returns, which is stored.

        A process that needs a set which another one crafts waits for it. A stored set is used only if it is whole, of
        this recipe, and within budget and range; any other is renamed to ``NAME.damaged``, told, and crafted again.
        Where the disk is full or read-only, the set is crafted and not kept.

        Args:
            recipe: what the set follows from.
            craft: returns it, float32 [n, C, H, W] in [0, 1]; ``attacks.craft.craft`` has checked it.

        Raises:
            UserError: whatever ``craft`` raises.
        """
        key = recipe.key()
        file = self._folder(recipe.generator) / f"{key}{_SUFFIX}"
        if file.exists() and isinstance(found := _read(file, key, recipe), Tensor):
            self.hits += 1
            return found
        with _alone(file):
            with suppress(OSError):
                for left in file.parent.glob(f".{file.name}.*"):  # whoever began one of these is dead
                    left.unlink(missing_ok=True)
            if file.exists():
                known = _read(file, key, recipe)
                if isinstance(known, Tensor):
                    self.hits += 1
                    return known
                note(f"{file} {known}; it is set aside as {file.name}.damaged and crafted again")
                with suppress(OSError):
                    file.replace(file.with_name(f"{file.name}.damaged"))
            made = craft()
            self.crafts += 1
            try:
                write_arrays(file, {"images": made}, _metadata(key, made, recipe))
            except UserError as error:
                note(f"an adversarial set is not kept for further targets: {error}")
        return made

    def remove(self, generator: str | None = None) -> int:
        """Remove all sets, or those of the model with this digest; return the bytes that were freed.

        A set that a process is crafting now stays. Nothing is lost but time: a set that is asked for again is crafted.

        Raises:
            UserError: the folder cannot be changed.
        """
        if generator is None:
            folders = sorted(path for path in self.path.glob("*") if path.is_dir())
        else:
            folders = [path for path in [self._folder(generator)] if path.is_dir()]
        freed = 0
        try:
            for folder in folders:
                for file in sorted(folder.iterdir()):
                    with locked(_lock_of(file), wait=False, leave=False) as alone:
                        if alone and file.exists():
                            freed += file.stat().st_size
                            file.unlink(missing_ok=True)
                with suppress(OSError):  # another process crafts there, or has removed it
                    folder.rmdir()
            with suppress(OSError):
                self.path.rmdir()
        except FileNotFoundError:  # another process removes them, too
            return freed
        except OSError as error:
            raise UserError(f"adversarial sets in {self.path} cannot be removed ({error.strerror})") from None
        return freed

    def _folder(self, generator: str) -> Path:
        return self.path / generator[:16]


def digest_of(network: Model, model: nn.Module, kind: str) -> str:
    """Return the SHA-256 of a model: which network it is, and all of its weights and buffers, in hex.

    Args:
        network: the description's section; a user's own network counts by its file's content.
        model: the network, trained.
        kind: ``fp32``, or ``twin`` for the fake-quantized form, whose scales are among its buffers.
    """
    tensors = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    device = next((tensor.device.type for tensor in tensors.values()), "cpu")
    told = [kind, with_digests(network.model_dump()), device]
    digest = sha256(json.dumps(told, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + b"\0")
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> bytes:
    """Return what a tensor holds, its type and its shape first."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return f"{tensor.dtype}{tuple(tensor.shape)}\0".encode() + flat.view(torch.uint8).numpy().tobytes()


def _metadata(key: str, images: Tensor, recipe: Recipe) -> dict[str, str]:
    return {
        "key": key,
        "sha256": sha256(_bytes_of(images)).hexdigest(),
        "attack": Path(recipe.attack).name,
        "eps": repr(recipe.eps),
        "step_size": repr(recipe.step_size),
        "steps": str(recipe.steps),
        "seed": str(recipe.seed),
        "generator": recipe.generator,
    }


def _read(file: Path, key: str, recipe: Recipe) -> Tensor | str:
    """Return the stored set, or why it cannot be trusted, to be read after the file's name."""
    try:
        with safe_open(file, "pt") as stored:
            told = stored.metadata() or {}
            images: Tensor = stored.get_tensor("images")
    except (OSError, SafetensorError) as error:
        return f"could not be read ({error})"
    if told.get("key") != key:
        return "holds another set than its name says"
    if told.get("sha256") != sha256(_bytes_of(images)).hexdigest():
        return "does not hold what was written to it"
    try:
        return budget.check(as_float(recipe.images), images, recipe.eps, find(recipe.attack).norm, recipe.attack)
    except budget.BudgetError as error:
        return f"holds no legal set: {error}"


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Keep other processes from crafting the same set; where there are no locks, they may."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(_lock_of(file), waiting=_tell_waiting, leave=False))
        except OSError as error:
            note(f"{file.parent}: {error.strerror}; other processes may craft the same adversarial sets")
        yield


def _tell_waiting() -> None:
    note("waiting for an adversarial set that another process crafts")


def _lock_of(file: Path) -> Path:
    """Return the lock of a set, given any file of it: the set, its lock, a damaged or an unfinished one."""
    key = file.name.removeprefix(".").partition(".")[0]
    return file.with_name(f".{key}.lock")
