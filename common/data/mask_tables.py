"""The two tables that may lie beside masks: ``classes.txt``, the structures, and ``strata.csv``, who is pictured."""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.dataset import Masks
from common.errors import UserError

CLASSES, STRATA = "classes.txt", "strata.csv"
ALL = "all"
"""The band of records of which no table says more."""
_VALUED = re.compile(r"\s*(\d{1,9})\s*[:=]\s*(.+)")
_COLUMNS = ("name", "patient", "age", "stratum")
_MOST = 256


@dataclass(frozen=True, eq=False)
class Structures:
    """What the values in masks mean.

    Attributes:
        names: of the classes, the background first.
        values: those that occur in masks, sorted, int64 [V].
        numbers: of the class that each value stands for, uint8 [V].
    """

    names: tuple[str, ...]
    values: NDArray[np.int64]
    numbers: NDArray[np.uint8]

    def number(self, mask: NDArray[Any], what: str) -> Masks:
        """Return class numbers in the place of a mask's values, uint8. Raises UserError: a value that has no name."""
        places = np.minimum(np.searchsorted(self.values, mask), len(self.values) - 1)
        unknown = self.values[places] != mask
        if unknown.any():
            known = ", ".join(map(str, self.values[:10])) + (" …" if len(self.values) > 10 else "")
            raise UserError(
                f"{what} has the value {mask[unknown].reshape(-1)[0]}, which is none of {known}; mend the mask, or "
                f"name the value in {CLASSES}, in a line 'VALUE: NAME'"
            )
        return self.numbers[places]


def read_structures(file: Path) -> Structures:
    """Read ``classes.txt``: a name a line, for the values 0, 1, 2 …, or ``VALUE: NAME`` in every line.

    The first is the background. Values that share a name are one structure.

    Raises:
        UserError: it cannot be read, mixes both forms, names fewer than two structures, or a value or name twice.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} could not be read: {error}") from None
    valued = [_VALUED.fullmatch(line) for line in lines]
    if any(valued) and not all(valued):
        odd = next(line for line, match in zip(lines, valued, strict=True) if not match)
        raise UserError(f"{file}: '{odd[:60]}' has no value; write 'VALUE: NAME' in every line, or only names")
    pairs = [(int(match[1]), match[2].strip()) for match in valued if match] or list(enumerate(lines))
    values, names = [value for value, _ in pairs], [name for _, name in pairs]
    if len(set(values)) < len(values):
        raise UserError(f"{file} names a value twice; give each value one line")
    if not any(valued) and len(set(names)) < len(names):
        raise UserError(f"{file} has the same name twice; write 'VALUE: NAME' in every line to join values on purpose")
    return structures(dict(pairs), str(file))


def structures(by_value: Mapping[int, str], what: str) -> Structures:
    """Return the structures of named values, the background's first. Raises UserError: fewer than 2, or above 256."""
    names = tuple(dict.fromkeys(by_value.values()))
    if not 2 <= len(names) <= _MOST:
        raise UserError(f"{what} tells {len(names)} structures apart; 2 to {_MOST} are needed, the background first")
    values = sorted(by_value)
    numbers = [names.index(by_value[value]) for value in values]
    return Structures(names, np.asarray(values, dtype=np.int64), np.asarray(numbers, dtype=np.uint8))


def unnamed_structures(values: Iterable[int], what: str) -> Structures:
    """Return the structures of masks without ``classes.txt``, whose ``values`` must then count from 0 without gaps.

    Raises:
        UserError: they do not.
    """
    found = sorted(set(values) | {0})
    if found != list(range(len(found))):
        raise UserError(
            f"{what}: masks have the values {', '.join(map(str, found[:12]))}{' …' if len(found) > 12 else ''}, not "
            f"0, 1, 2 …; say what they are in {CLASSES} beside the pictures' folder, in lines 'VALUE: NAME', the "
            "background first"
        )
    return structures({value: "background" if value == 0 else f"structure {value}" for value in found}, what)


@dataclass(frozen=True)
class Person:
    """What ``strata.csv`` says of a picture or volume: whose it is (empty: nobody else's), and its band."""

    patient: str = ""
    band: str = ALL


def read_strata(file: Path, names: Sequence[str]) -> dict[str, Person]:
    """Read ``strata.csv``: the column ``name`` (without suffix), and any of ``patient``, ``age``, ``stratum``.

    ``stratum`` is the band as it is; ``age``, in years, gives decades.

    Args:
        file: the table; need not be there.
        names: of all pictures or volumes, each of which the table must have if it is there.

    Raises:
        UserError: an unreadable table, a column missing or unknown, a name missing or twice, an age that is none.
    """
    if not file.is_file():
        return {name: Person() for name in names}
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            columns = [column.strip() for column in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} could not be read: {error}") from None
    unknown = [column for column in columns if column not in _COLUMNS]
    if "name" not in columns or unknown or len(set(columns)) < len(columns) or {"age", "stratum"} <= set(columns):
        raise UserError(
            f"{file} has the columns {', '.join(columns) or 'none'}; it needs 'name', may have 'patient', and either "
            "'age' or 'stratum'"
        )
    people: dict[str, Person] = {}
    for number, row in enumerate(rows, 2):
        name = (row["name"] or "").strip()
        if name in people:
            raise UserError(f"{file}, line {number}: '{name}' is there twice; give each picture one line")
        people[name] = Person((row.get("patient") or "").strip(), _band(row, f"{file}, line {number}"))
    missing = [name for name in names if name not in people]
    if missing:
        raise UserError(f"{file} does not have '{missing[0]}'; give every picture a line, named without its suffix")
    return {name: people[name] for name in names}


def in_order(bands: Iterable[str]) -> tuple[str, ...]:
    """Return different bands in order: by their first number where all begin with one, else by the alphabet."""
    different = sorted(set(bands))
    numbers = [re.match(r"-?\d+(\.\d+)?", band) for band in different]
    if all(numbers):
        different.sort(key=lambda band: float(re.match(r"-?\d+(\.\d+)?", band)[0]))  # type: ignore[index]
    return tuple(different)


def _band(row: Mapping[str, str | None], where: str) -> str:
    if "age" in row:
        try:
            age = float(row["age"] or "")
        except ValueError:
            age = math.nan
        if not 0 <= age < 150:
            raise UserError(f"{where}: '{row['age']}' is no age in years; write a number from 0 to 149")
        decade = int(age // 10) * 10
        return f"{decade} to {decade + 9} years"
    if "stratum" in row:
        band = (row["stratum"] or "").strip()
        if not band:
            raise UserError(f"{where} has no stratum; write one, if need be 'unknown'")
        return band
    return ALL
