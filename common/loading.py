"""Loading what a user names: a built-in by its name, or ``file.py:object`` from a file of their own."""

import difflib
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known word, else ``"; known: a, b, c"``."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(names)}"


def is_reference(name: str) -> bool:
    """Tell whether ``name`` has the form ``file.py:object``."""
    path, _, attribute = name.rpartition(":")
    return path.endswith(".py") and attribute != ""


def load(name: str, known: Mapping[str, Any], field: str) -> Any:
    """Return ``known[name]``, or the object that ``file.py:object`` names.

    Raises:
        UserError: unknown name, missing file, a file that fails to import, or no such object in it.
    """
    if name in known:
        return known[name]
    if not is_reference(name):
        raise UserError(f"{field} = '{name}' is not known{suggest(name, known)} (or 'file.py:object' for your own)")
    path_text, _, attribute = name.rpartition(":")
    path = Path(path_text).resolve()
    if not path.is_file():
        raise UserError(f"{field} = '{name}': there is no file {path}")
    module = _import(path, field)
    if not hasattr(module, attribute):
        public = [key for key in vars(module) if not key.startswith("_")]
        raise UserError(f"{field} = '{name}': {path.name} has no '{attribute}'{suggest(attribute, public)}")
    return getattr(module, attribute)


def _import(path: Path, field: str) -> Any:
    # The module's name carries the content's digest: two files of one name, or an edited file, never mix.
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    module_name = f"psreval_user_{path.stem}_{digest}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise UserError(f"{field}: {path} could not be imported: {type(error).__name__}: {error}") from error
    return module


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
