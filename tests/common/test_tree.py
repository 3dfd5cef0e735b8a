from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.tree import KINDS, put, resolve, resolve_change, with_digests

KEYS = st.lists(st.from_regex(r"[a-z]{1,4}", fullmatch=True), min_size=1, max_size=4, unique=True)


@given(KEYS, st.integers())
def test_what_is_put_is_there(keys: list[str], value: int) -> None:
    tree: dict[str, Any] = {}
    put(tree, ".".join(keys), value)
    for key in keys:
        tree = tree[key]
    assert tree == value


@pytest.mark.parametrize(("key", "words"), [("a.3", "entries, which count from 0"), ("b.c", "is a value")])
def test_a_place_that_is_not_there_is_told(key: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        put({"a": [1], "b": 2}, key, 0)


def test_only_places_that_name_files_are_resolved(tmp_path: Path) -> None:
    tree = {"description": "x.py:y", "data": {"source": "npz:a.npz"}, "clients": [{"strategy": "x.py:y"}]}
    found = resolve(tree, tmp_path)
    assert found["description"] == "x.py:y"
    assert found["data"]["source"] == f"npz:{tmp_path / 'a.npz'}"
    assert found["clients"][0]["strategy"] == f"{tmp_path / 'x.py'}:y"
    assert resolve(found, tmp_path / "elsewhere") == found


def test_a_change_is_resolved_where_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_change("clients.0.strategy", "x.py:y") == f"{tmp_path / 'x.py'}:y"
    assert resolve_change("description", "x.py:y") == "x.py:y"


def test_a_file_counts_by_content(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("a")
    before = with_digests({"model": {"name": f"{tmp_path / 'x.py'}:y"}})
    (tmp_path / "x.py").write_text("b")
    assert with_digests({"model": {"name": f"{tmp_path / 'x.py'}:y"}}) != before


@pytest.mark.parametrize("kind", KINDS)
def test_folders_and_files_of_data_are_found_and_count_by_name(tmp_path: Path, kind: str) -> None:
    found = resolve({"data": {"source": f"{kind}below/a"}}, tmp_path)
    assert found == {"data": {"source": f"{kind}{tmp_path / 'below' / 'a'}"}}
    assert with_digests(found) == {"data": {"source": f"{kind}a"}}
    assert resolve({"data": {"source": kind}}, tmp_path) == {"data": {"source": kind}}
