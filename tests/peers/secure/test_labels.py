"""Labels: no two of them mean the same, whatever is hung on to them."""

import itertools
import re
from pathlib import Path

import pytest

from peers.secure import labels

LABELS = {name: value for name, value in vars(labels).items() if name.isupper() and name != "PROTOCOL"}
FOLDER = Path(labels.__file__).parent


def test_the_protocol_has_a_version() -> None:
    assert re.fullmatch(rb"psreval/secure/[1-9][0-9]*", labels.PROTOCOL)


@pytest.mark.parametrize("name", LABELS)
def test_every_label_begins_with_the_protocol_and_its_version(name: str) -> None:
    assert re.fullmatch(re.escape(labels.PROTOCOL) + rb"/[a-z]+", LABELS[name])


@pytest.mark.parametrize(("one", "other"), itertools.permutations(LABELS, 2))
def test_no_label_begins_another(one: str, other: str) -> None:
    """Else what is hung on to the shorter could be read as the longer."""
    assert not LABELS[other].startswith(LABELS[one])


@pytest.mark.parametrize("name", LABELS)
def test_a_label_is_used_in_one_file_only(name: str) -> None:
    users = [
        path.name for path in FOLDER.rglob("*.py")
        if path.name != "labels.py" and re.search(rf"\b{name}\b", path.read_text(encoding="utf-8"))
    ]  # fmt: skip
    assert len(users) <= 1


@pytest.mark.parametrize("name", [*LABELS, "PROTOCOL"])
def test_nothing_spells_a_label_out(name: str) -> None:
    """Who needs one imports it: a copy would not change with the version."""
    spelt = vars(labels)[name].decode()
    assert not [
        path.name for path in FOLDER.rglob("*.py")
        if path.name != "labels.py" and spelt in path.read_text(encoding="utf-8")
    ]  # fmt: skip
