from collections.abc import Callable
from typing import Any

import pytest

from common.folder import RunFolder, read_json, write_json
from common.intervals import wilson
from experiments import findings, wording
from experiments.run_files import read_run
from server.measures import Measure, measure

MakeRun = Callable[..., RunFolder]
CLEAN = [measure(target, "clean", "none", "accuracy", 0.9, 500) for target in ("fp32", "int8")]


def tile(folder: RunFolder, question: str, **answer: Any) -> dict[str, Any]:
    evaluation = read_json(folder.evaluation)
    evaluation["verdict"][question] |= answer
    write_json(folder.evaluation, evaluation)
    found: dict[str, Any] = findings.tiles(read_run(folder))[wording.QUESTIONS.index(question)]
    return found | {"interval": found["interval"].replace("\xa0", " ")}


@pytest.mark.parametrize("order", [1, -1])
def test_a_verdict_shows_the_n_of_its_own_row_and_not_of_one_with_the_same_value(make_run: MakeRun, order: int) -> None:
    attacked = [
        measure("int8", "white-box", "pgd", "accuracy", 0.3, 400, generator="fp32"),
        measure("int8", "query", "square", "accuracy", 0.2, 60),
        measure("int8", "query", "worst", "accuracy", 0.2, 60),
        measure("fp32", "all", "worst", "accuracy", 0.2, 50),
        measure("int8", "all", "worst", "accuracy", 0.2, 400),
    ]
    found = tile(make_run(rows=[*CLEAN, *attacked][::order]), "robust", value=0.2)
    assert found["interval"] == f"95 % interval {wording.interval(wilson(0.2, 400))}, n = 400"


def test_the_accuracy_shows_the_n_of_the_clean_row(make_run: MakeRun) -> None:
    rows = [measure("fp32", "clean", "none", "accuracy", 0.9, 700), *CLEAN]
    assert tile(make_run(rows=rows), "useful", value=0.9)["interval"].endswith("n = 500")


def test_a_value_without_its_row_shows_no_interval(make_run: MakeRun) -> None:
    rows = [*CLEAN, measure("int8", "query", "square", "accuracy", 0.2, 60)]
    found = tile(make_run(rows=rows), "robust", value=0.2)
    assert (found["value"], found["interval"]) == ("20.0 %", "")


@pytest.mark.parametrize("value", [None, 0.9])
def test_where_nothing_was_attacked_no_value_is_shown(make_run: MakeRun, value: float | None) -> None:
    why = "no white-box attack was made"
    found = tile(make_run(rows=CLEAN), "robust", holds=None, value=value, sentence=why)
    told = ("word", "value", "basis", "interval", "note", "sentence")
    assert [found[key] for key in told] == ["Not decided", "–", "no attack was tried", "", "", why]


@pytest.mark.parametrize("question", ["robust", "small", "useful"])
def test_a_value_that_is_missing_is_not_measured(finished_run: RunFolder, question: str) -> None:
    found = tile(finished_run, question, holds=None, value=None)
    assert (found["value"], found["basis"], found["interval"]) == ("–", "not measured", "")


def test_where_nothing_was_attacked_the_second_row_says_so(make_run: MakeRun) -> None:
    _, untried = findings.adversaries(read_run(make_run(rows=CLEAN)))
    assert untried["detail"] == "no attack was tried"
    assert untried["score"] == {"fp32": None, "int8": None}


@pytest.mark.parametrize(
    ("others", "queried", "attacked", "said"),
    [
        (["white-box"], 60, 400, "queries were tried on 60 of the 400 images"),
        (["white-box"], None, 400, "queries were tried on 50 of the 400 images"),
        (["white-box"], 400, 400, ""),
        ([], 60, 400, ""),
    ],
)
def test_queries_on_fewer_images_than_others_are_counted(
    make_run: MakeRun, others: list[str], queried: int | None, attacked: int, said: str
) -> None:
    tried: list[Measure] = [measure("int8", threat, "pgd", "accuracy", 0.2, 400) for threat in others]
    tried += [measure("int8", threat, "worst", "accuracy", 0.2, 50) for threat in ("query", "all")]
    folder = make_run(rows=[*CLEAN, *tried])
    write_json(
        folder.evaluation,
        read_json(folder.evaluation) | {"queried_records": queried, "attacked_records": attacked},
    )
    assert findings.queried_part(read_run(folder)) == said


def test_structures_of_masks_are_found_by_adversary_and_of_classes_none(masked_run: RunFolder) -> None:
    run = read_run(masked_run)
    rows = findings.structures(run)
    assert [(row["target"], row["heading"], row["n"]) for row in rows] == [
        (target, heading, n)
        for target in ("fp32", "int8")
        for heading, n in (("No adversary", "497–500"), ("White-box", "197–200"), ("All together", "197–200"))
    ]
    assert [one.value for one in rows[1]["measures"]] == pytest.approx([0.6, 0.4])  # of the worst case
    assert findings.adversaries(run)[0]["score"]["int8"].metric == "dice"
