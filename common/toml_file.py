"""Reading TOML files that people write: each mistake is one sentence that names the file."""

import tomllib
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.loading import suggest


def read_toml(file: Path, kind: str = "", *, elsewhere: str = "") -> dict[str, Any]:
    """Return what a TOML file holds.

    Args:
        file: where it lies.
        kind: a word for it, such as "hospital"; empty: it is just a file.
        elsewhere: where others of its kind are to be found, for whoever names one that does not exist and has none
            beside it; empty: nothing is suggested.

    Raises:
        UserError: no such file, not readable, or not TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        beside = [str(found) for found in sorted(file.parent.glob("*.toml")) if found.name != "pyproject.toml"]
        hint = "" if not elsewhere else suggest(str(file), beside) if beside else f"; {elsewhere}"
        raise UserError(f"there is no {f'{kind} ' if kind else ''}file {file}{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} could not be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file} is not valid TOML: {error}") from None
