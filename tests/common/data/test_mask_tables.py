"""Laws of the tables beside masks."""

from pathlib import Path

import numpy as np
import pytest

from common.data.mask_tables import Person, in_order, read_strata, read_structures, unnamed_structures
from common.errors import UserError


def written(folder: Path, text: str) -> Path:
    file = folder / "table"
    file.write_text(text, encoding="utf-8")
    return file


def test_names_alone_stand_for_0_1_2(tmp_path: Path) -> None:
    found = read_structures(written(tmp_path, "background\n\ngrey matter\n  white matter\n"))
    assert found.names == ("background", "grey matter", "white matter")
    assert found.number(np.array([[2, 0], [1, 1]]), "x").tolist() == [[2, 0], [1, 1]]


def test_named_values_may_be_any_and_be_joined(tmp_path: Path) -> None:
    found = read_structures(written(tmp_path, "0: none\n41 = white\n 2: white\n255: lesion\n"))
    assert found.names == ("none", "white", "lesion")
    numbers = found.number(np.array([0, 2, 41, 255, 41]), "x")
    assert numbers.tolist() == [0, 1, 1, 2, 1]
    assert numbers.dtype == np.uint8


@pytest.mark.parametrize("value", [-1, 1, 40, 42, 300])
def test_a_value_without_a_name_is_a_sentence(tmp_path: Path, value: int) -> None:
    found = read_structures(written(tmp_path, "0: none\n41: white\n2: white\n255: lesion\n"))
    with pytest.raises(UserError, match=f"mask.png has the value {value}, which is none of 0, 2, 41, 255"):
        found.number(np.array([[0, value]]), "mask.png")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 structures"),
        ("background", "1 structures"),
        ("background\na\na", "same name twice"),
        ("0: a\n0: b", "a value twice"),
        ("0: a\nb", "'b' has no value"),
        ("\n".join(f"s{number}" for number in range(257)), "257 structures"),
    ],
)
def test_classes_that_cannot_be_are_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_structures(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_values_without_names_must_count_from_zero() -> None:
    assert unnamed_structures([2, 1], "x").names == ("background", "structure 1", "structure 2")
    with pytest.raises(UserError, match=r"values 0, 255, not 0, 1, 2 …; .*classes.txt"):
        unnamed_structures([0, 255], "x")


def test_people_have_a_patient_and_a_band(tmp_path: Path) -> None:
    table = written(tmp_path, "\ufeffname, patient,age\na,p1,34.5\nb,p1, 34.5\nc,,81\n")
    assert read_strata(table, ["a", "c"]) == {
        "a": Person("p1", "30 to 39 years"),
        "c": Person("", "80 to 89 years"),
    }
    table = written(tmp_path, "stratum,name\nold,a\nyoung,b\n")
    assert read_strata(table, ["b"]) == {"b": Person("", "young")}
    assert read_strata(tmp_path / "none", ["b"]) == {"b": Person()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has the columns none; it needs 'name'"),
        ("age\n3\n", "it needs 'name'"),
        ("name,age,stratum\na,3,b\n", "either 'age' or 'stratum'"),
        ("name,weight\na,3\n", "has the columns name, weight"),
        ("name,age\na,old\n", "line 2: 'old' is no age in years"),
        ("name,age\na,-1\n", "is no age in years"),
        ("name,age\na,nan\n", "is no age in years"),
        ("name,age\na\n", "is no age in years"),
        ("name,stratum\na, \n", "line 2 has no stratum"),
        ("name,stratum\na,b\na,b\n", "line 3: 'a' is there twice"),
        ("name,stratum\nb,b\n", "does not have 'a'"),
    ],
)
def test_strata_that_cannot_be_are_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_strata(written(tmp_path, text), ["a"])
    assert "\n" not in str(caught.value)


def test_bands_are_in_the_order_of_their_numbers() -> None:
    assert in_order(["100 to 109 years", "20 to 29 years", "20 to 29 years"]) == ("20 to 29 years", "100 to 109 years")
    assert in_order(["young", "old", "3"]) == ("3", "old", "young")
