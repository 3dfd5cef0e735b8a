"""``file.py:function``: a user's own images."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from common.data.arrays import Pair, check_pair, open_arrays
from common.data.source import Located
from common.description import Data
from common.errors import UserError
from common.loading import file_digest, load

_SHAPE = "return (images, labels) of train, the same or None of public, and (images, labels) of test"

_fingerprints: dict[tuple[str, str], str] = {}
"""Of what each function returned in this process, by name and its file's content: every client of a run asks for it."""


def locate(data: Data, cache: Path) -> Located:
    """Call the function that ``data.source`` names and identify the data by what it returned.

    ``function()`` returns ``((images, labels), (images, labels) or None, (images, labels))``: train, public and test,
    images uint8 [N, H, W] or [N, H, W, C], labels whole numbers from 0, [N], or masks, [N, H, W]. Every process calls
    it, so it must return the same each time. ``function.classes``, a tuple of names, is used if it is there.

    Raises:
        UserError: the function cannot be loaded, raises, or returns anything else.
    """
    function = load(data.source, {}, "data.source")
    size = data.image_size
    path, _, name = data.source.rpartition(":")
    what = f"{Path(path).name}:{name}"
    if not callable(function):
        raise UserError(f"data.source = '{data.source}': {name} is not a function")
    names = _names(function, what)
    key = data.source, file_digest(Path(path))
    if key in _fingerprints:
        return Located(what, _fingerprints[key], lambda: open_arrays(_call(function, what), names, size, what))
    pairs = _call(function, what)
    digest = sha256(repr(names).encode())
    for part, (images, labels) in pairs.items():
        digest.update(f"{part} {images.shape}".encode())
        digest.update(images.tobytes())
        digest.update(labels.tobytes())
    _fingerprints[key] = digest.hexdigest()
    return Located(what, digest.hexdigest(), lambda: open_arrays(pairs, names, size, what))


def _call(function: Callable[[], Any], what: str) -> dict[str, Pair]:
    try:
        result = function()
    except Exception as error:
        raise UserError(f"{what}() raised {type(error).__name__}: {error}") from error
    if not isinstance(result, tuple | list) or len(result) != 3:
        raise UserError(f"{what}() must {_SHAPE}; it returned {_describe(result)}")
    pairs = {}
    for part, pair in zip(("train", "public", "test"), result, strict=True):
        if pair is None and part == "public":
            continue
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise UserError(f"{what}() must {_SHAPE}; its {part} is {_describe(pair)}")
        pairs[part] = check_pair(pair[0], pair[1], f"{what}(), {part}")
    return pairs


def _names(function: object, what: str) -> tuple[str, ...] | None:
    names = getattr(function, "classes", None)
    if names is None:
        return None
    if not isinstance(names, tuple | list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{what}: its attribute classes must be a tuple of names, but is {names!r}")
    return tuple(names)


def _describe(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
