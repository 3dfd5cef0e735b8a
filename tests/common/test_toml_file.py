from pathlib import Path

import pytest

from common.errors import UserError
from common.toml_file import read_toml


def sentence(file: Path, **more: str) -> str:
    with pytest.raises(UserError) as caught:
        read_toml(file, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('name = "ä"\n[part]\nn = 1\n', encoding="utf-8")
    assert read_toml(tmp_path / "a.toml") == {"name": "ä", "part": {"n": 1}}


def test_one_that_is_missing_is_called_what_it_is_and_the_nearest_is_suggested_where_others_are_known(
    tmp_path: Path,
) -> None:
    missing = tmp_path / "hospita.toml"
    assert sentence(missing, kind="hospital") == f"there is no hospital file {missing}"
    assert sentence(missing, elsewhere="see there") == f"there is no file {missing}; see there"
    (tmp_path / "pyproject.toml").touch()
    assert sentence(missing, elsewhere="see there").endswith("; see there")
    (tmp_path / "hospital.toml").touch()
    assert str(tmp_path / "hospital.toml") in sentence(missing, elsewhere="see there")
    assert sentence(missing) == f"there is no file {missing}"


def test_what_is_no_text_no_file_or_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "b.toml").write_text("a = ")
    assert f"{tmp_path / 'a.toml'} could not be read" in sentence(tmp_path / "a.toml")
    assert f"{tmp_path / 'b.toml'} is not valid TOML" in sentence(tmp_path / "b.toml")
    assert f"{tmp_path} could not be read" in sentence(tmp_path)
