import numpy as np
import pytest

from common.config import Evaluation
from server.adversaries import Answers, Scored
from server.rows import attack_rows, clean_rows

LABELS = np.array([0, 0, 1, 1])
RIGHT = {"fp32": np.array([True, True, True, False]), "int8": np.array([True, True, False, False])}


def scored(target: str, threat: str, attack: str, generator: str, predictions: list[int], **more: object) -> Scored:
    told = {"repeat": 0, "index": np.arange(4)} | more
    return Scored(target, threat, attack, generator, logits=np.eye(2)[predictions], **told)


def value(rows: list, **wanted: object) -> float:
    found = [row for row in rows if all(getattr(row, key) == item for key, item in wanted.items())]
    assert len(found) == 1, found
    return found[0].value


def test_rows_by_hand() -> None:
    answers = Answers(
        [
            scored("fp32", "white-box", "fgsm", "fp32", [1, 0, 1, 1]),
            scored("fp32", "white-box", "pgd", "fp32", [0, 1, 1, 1]),
            scored("int8", "white-box", "pgd", "fp32", [0, 0, 1, 1]),
            scored("int8", "white-box", "square", "queries", [1], index=np.array([1])),
            scored("int8", "transfer", "pgd", "a", [1, 0, 0, 0]),
            scored("int8", "transfer", "pgd", "b", [0, 0, 0, 0]),
        ]
    )
    rows, worst = attack_rows(Evaluation(), answers, LABELS, RIGHT, normal=None)
    accuracy = {"metric": "accuracy"}
    assert value(rows, target="fp32", attack="fgsm", **accuracy) == 3 / 4
    assert value(rows, target="fp32", attack="fgsm", metric="attack_success") == pytest.approx(1 / 3)
    # fgsm fools image 0, pgd image 1, image 3 was wrong from the start: only image 2 is left.
    assert value(rows, target="fp32", threat="white-box", attack="worst", **accuracy) == 1 / 4
    # int8: the square query fools image 1; images 2 and 3 were wrong from the start.
    assert value(rows, target="int8", threat="white-box", attack="worst", **accuracy) == 1 / 4
    assert value(rows, target="int8", threat="transfer", attack="worst", generator="a", **accuracy) == 1 / 4
    assert value(rows, target="int8", threat="transfer", attack="worst", generator="b", **accuracy) == 2 / 4
    assert worst == {"fp32": (1 / 4, 4), "int8": (0.0, 4)}
    assert value(rows, target="int8", threat="all", **accuracy) == 0.0


def test_repeats_have_a_mean_whose_interval_is_of_the_images() -> None:
    repeats = [
        scored("fp32", "white-box", "pgd", "fp32", predictions, repeat=number)
        for number, predictions in enumerate(([0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 0, 1]))
    ]
    rows, _ = attack_rows(Evaluation(repeats=3), Answers(repeats), LABELS, RIGHT, normal=None)
    assert value(rows, attack="pgd", repeat=None, metric="accuracy") == pytest.approx((4 + 3 + 2) / 12)
    (mean,) = [row for row in rows if row.attack == "pgd" and row.repeat is None]
    assert mean.n == 4


def test_without_attacks_the_worst_case_is_the_clean_one() -> None:
    _, worst = attack_rows(Evaluation(), Answers(), LABELS, RIGHT, normal=None)
    assert worst == {"fp32": (3 / 4, 4), "int8": (1 / 2, 4)}


def test_two_classes_have_auroc_three_without_a_normal_one_have_not() -> None:
    two = clean_rows({"fp32": np.eye(2)[[0, 0, 1, 1]]}, LABELS, normal=None)
    assert {row.metric for row in two} == {"accuracy", "auroc", "sensitivity", "specificity"}
    three = clean_rows({"fp32": np.eye(3)[[0, 0, 1, 2]]}, np.array([0, 0, 1, 2]), normal=None)
    assert {row.metric for row in three} == {"accuracy"}
    medical = clean_rows({"fp32": np.eye(3)[[0, 0, 1, 2]]}, np.array([0, 0, 1, 2]), normal=0)
    assert {row.metric for row in medical} == {"accuracy", "auroc", "sensitivity", "specificity"}
