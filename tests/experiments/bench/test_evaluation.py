"""Every number of an evaluation is what its cell comes to on its own."""

import csv
from pathlib import Path

import pytest

from experiments.bench.evaluation import Numbers, Subject, all_at_once, one_by_one, subject, whole, worst_one_by_one

SMALL = {
    "data__train_records": 400, "data__image_size": 28, "data__test_records": 48, "evaluation__records": 40,
    "evaluation__query_records": 5, "evaluation__queries": 10, "evaluation__stress_records": 4, "evaluation__steps": 2,
    "evaluation__repeats": 2, "evaluation__eps": "2/255",
}  # fmt: skip


@pytest.fixture(scope="module")
def given() -> Subject:
    return subject(4, **SMALL)


@pytest.fixture(scope="module")
def alone(given: Subject) -> Numbers:
    return one_by_one(given) | worst_one_by_one(given)


def test_results_are_those_of_each_cell_on_its_own(given: Subject, alone: Numbers, tmp_path: Path) -> None:
    told: Numbers = {}
    for row in csv.DictReader(whole(given, tmp_path).results.open()):
        key = (row["target"], row["threat"], row["attack"], row["generator"])
        repeat = int(row["repeat"]) if row["repeat"] else None
        told[*key, repeat, row["metric"]] = (float(row["value"]), int(row["n"]))
    # Beside them stand the means over repeats, which are no cells.
    means = {key for key in told if key[4] is None and key[2] not in ("none", "worst")}
    assert len(means) == 8
    assert all(
        told[key][0] == pytest.approx((told[*key[:4], 0, key[5]][0] + told[*key[:4], 1, key[5]][0]) / 2)
        for key in means
    )
    assert {key: value for key, value in told.items() if key not in means} == alone


def test_the_targets_are_so_unlike_that_a_mistake_would_show(alone: Numbers) -> None:
    unlike = [key for key, told in alone.items() if key[0] == "fp32" and alone.get(("int8", *key[1:]), told) != told]
    assert {key[1] for key in unlike} >= {"clean", "white-box", "transfer"}
    assert "accuracy" in {key[5] for key in unlike}


def test_what_is_timed_gives_the_same_numbers(given: Subject, alone: Numbers) -> None:
    found = {key: value for key, value in all_at_once(given).items() if key in alone}
    assert found == alone
