import numpy as np
import pytest

from common.description import Evaluation
from common.intervals import student, wilson
from server.adversaries import Answers, Scored
from server.marks import Marks
from server.measures import Measure
from server.rows import attack_rows, clean_rows

LABELS = np.array([0, 0, 1, 1])
NAMES = ("a", "b")


def marks(predictions: list[int], labels: np.ndarray = LABELS, classes: int = 2) -> Marks:
    return Marks((np.array(predictions) == labels).astype(float), np.eye(classes)[predictions])


RIGHT = {"fp32": marks([0, 0, 1, 0]), "int8": marks([0, 0, 0, 0])}


def scored(target: str, threat: str, attack: str, generator: str, predictions: list[int], **more: object) -> Scored:
    told = {"repeat": 0, "index": np.arange(4)} | more
    return Scored(target, threat, attack, generator, marks=marks(predictions, LABELS[told["index"]]), **told)


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
    rows, worst = attack_rows(Evaluation(), answers, LABELS, RIGHT, NAMES, normal=None)
    accuracy = {"metric": "accuracy"}
    assert value(rows, target="fp32", attack="fgsm", **accuracy) == 3 / 4
    assert value(rows, target="fp32", attack="fgsm", metric="attack_success") == pytest.approx(1 / 3)
    # fgsm fools image 0, pgd image 1, image 3 was wrong from the start: only image 2 is left.
    assert value(rows, target="fp32", threat="white-box", attack="worst", **accuracy) == 1 / 4
    # int8: the square query fools image 1; images 2 and 3 were wrong from the start.
    assert value(rows, target="int8", threat="white-box", attack="worst", **accuracy) == 1 / 4
    assert value(rows, target="int8", threat="transfer", attack="worst", generator="a", **accuracy) == 1 / 4
    assert value(rows, target="int8", threat="transfer", attack="worst", generator="b", **accuracy) == 2 / 4
    assert {target: (each.mean, len(each)) for target, each in worst.items()} == {"fp32": (1 / 4, 4), "int8": (0, 4)}
    assert value(rows, target="int8", threat="all", **accuracy) == 0.0


def test_repeats_have_a_mean_whose_interval_is_of_the_images() -> None:
    repeats = [
        scored("fp32", "white-box", "pgd", "fp32", predictions, repeat=number)
        for number, predictions in enumerate(([0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 0, 1]))
    ]
    rows, _ = attack_rows(Evaluation(repeats=3), Answers(repeats), LABELS, RIGHT, NAMES, normal=None)
    assert value(rows, attack="pgd", repeat=None, metric="accuracy") == pytest.approx((4 + 3 + 2) / 12)
    (mean,) = [row for row in rows if row.attack == "pgd" and row.repeat is None]
    assert mean.n == 4


def test_without_attacks_the_worst_case_is_the_clean_one() -> None:
    _, worst = attack_rows(Evaluation(), Answers(), LABELS, RIGHT, NAMES, normal=None)
    assert {target: each.mean for target, each in worst.items()} == {"fp32": 3 / 4, "int8": 1 / 2}


def test_two_classes_have_auroc_three_without_a_normal_one_have_not() -> None:
    two = clean_rows({"fp32": marks([0, 0, 1, 1])}, LABELS, NAMES, normal=None)
    assert {row.metric for row in two} == {"accuracy", "auroc", "sensitivity", "specificity"}
    labels, names = np.array([0, 0, 1, 2]), ("a", "b", "c")
    three = {"fp32": marks([0, 0, 1, 2], labels, 3)}
    assert {row.metric for row in clean_rows(three, labels, names, normal=None)} == {"accuracy"}
    medical = clean_rows(three, labels, names, normal=0)
    assert {row.metric for row in medical} == {"accuracy", "auroc", "sensitivity", "specificity"}


MASKS = np.zeros((3, 2, 2), dtype=np.int64)
STRUCTURES = ("background", "skull", "nuclei")


def dice(*images: tuple[float, float]) -> Marks:
    structures = np.array([(0.9, *pair) for pair in images])
    return Marks(np.nanmean(structures[:, 1:], axis=1), structures=structures)


def of(rows: list[Measure], **wanted: object) -> Measure:
    (found,) = [row for row in rows if all(getattr(row, key) == item for key, item in wanted.items())]
    return found


def test_masks_have_a_mean_dice_and_one_of_each_structure_that_an_image_has() -> None:
    nan = float("nan")
    rows = clean_rows({"int8": dice((0.6, nan), (0.6, 0.4), (0.7, 0.5))}, MASKS, STRUCTURES, normal=None)
    assert [(row.metric, row.n) for row in rows] == [("dice", 3), ("dice:skull", 3), ("dice:nuclei", 2)]
    mean, skull, nuclei = rows
    assert mean.value == pytest.approx((0.6 + 0.5 + 0.6) / 3)
    assert mean.interval() == pytest.approx(student([0.6, 0.5, 0.6]))
    assert mean.interval() != wilson(mean.value, 3)
    assert (skull.value, nuclei.value) == (pytest.approx(1.9 / 3), pytest.approx(0.45))


def test_the_worst_mask_of_each_image_brings_its_structures_along() -> None:
    clean = {"fp32": dice((0.9, 0.9), (0.9, 0.9), (0.9, 0.9)), "int8": dice((0.8, 0.8), (0.8, 0.8), (0.1, 0.1))}
    answers = Answers(
        [
            Scored("int8", "white-box", "fgsm", "fp32", 0, np.arange(3), dice((0.2, 0.6), (0.7, 0.7), (0.5, 0.5))),
            Scored("int8", "white-box", "pgd", "fp32", 0, np.arange(3), dice((0.6, 0.4), (0.3, 0.1), (0.5, 0.5))),
        ]
    )
    rows, worst = attack_rows(Evaluation(), answers, MASKS, clean, STRUCTURES, normal=None)
    assert worst["int8"].scores == pytest.approx([0.4, 0.2, 0.1])
    assert worst["fp32"] is clean["fp32"]
    joint = {"target": "int8", "threat": "all", "attack": "worst"}
    assert of(rows, **joint, metric="dice").value == pytest.approx(0.7 / 3)
    assert of(rows, **joint, metric="dice:skull").value == pytest.approx((0.2 + 0.3 + 0.1) / 3)
    assert of(rows, **joint, metric="dice:nuclei").value == pytest.approx((0.6 + 0.1 + 0.1) / 3)
    assert {row.metric for row in rows} == {"dice", "dice:skull", "dice:nuclei"}  # no mask is simply right


def test_repeats_of_masks_have_a_mean_too() -> None:
    parts = [dice((0.2, 0.2), (0.4, 0.4), (0.6, 0.6)), dice((0.4, 0.4), (0.4, 0.4), (0.7, 0.7))]
    answers = Answers([Scored("fp32", "insider", "pgd", "fp32", n, np.arange(3), part) for n, part in enumerate(parts)])
    clean = {"fp32": dice(*[(1, 1)] * 3), "int8": dice(*[(1, 1)] * 3)}
    rows, _ = attack_rows(Evaluation(repeats=2), answers, MASKS, clean, STRUCTURES, normal=None)
    mean = of(rows, attack="pgd", repeat=None, metric="dice")
    assert mean.value == pytest.approx((0.3 + 0.4 + 0.65) / 3)
    assert mean.interval() == pytest.approx(student([0.3, 0.4, 0.65]))
    assert of(rows, attack="pgd", repeat=None, metric="dice:skull").n == 3
