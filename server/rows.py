"""Rows: from scored answers to measures, single attacks first, then means over repeats and worst cases."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.description import Evaluation
from server.adversaries import Answers, Scored, in_worst_case
from server.marks import Marks, over_images, over_repeats
from server.measures import Measure, measure
from server.score import disease_measures


def clean_rows(
    clean: Mapping[str, Marks], labels: np.ndarray, classes: Sequence[str], normal: int | None
) -> list[Measure]:
    """Return the measures on unattacked test images of every target."""
    rows = []
    for target, marks in clean.items():
        rows += _score_rows(target, "clean", "none", marks, classes)
        rows += _disease_rows(target, "clean", "none", marks, labels, normal)
    return rows


def attack_rows(
    evaluation: Evaluation,
    answers: Answers,
    labels: np.ndarray,
    clean: Mapping[str, Marks],
    classes: Sequence[str],
    normal: int | None,
) -> tuple[list[Measure], dict[str, Marks]]:
    """Return all rows under attack, and each target's worst case over all threats, of the images that were attacked.

    Args:
        evaluation: its budget.
        answers: what was scored.
        labels: of the attacked images, [n]; masks, [n, H, W], are not looked at.
        clean: target → its marks on the clean images, of the same n.
        classes: their names.
        normal: the class that means healthy, if there is one.
    """
    rows: list[Measure] = []
    budget = (evaluation.eps, evaluation.step_size, evaluation.steps)

    for answer in answers.scored:
        told: dict[str, Any] = {"generator": answer.generator, "budget": budget, "repeat": answer.repeat}
        where = (answer.target, answer.threat, answer.attack)
        rows += _score_rows(*where, answer.marks, classes, **told)
        rows += _success_rows(*where, answer.marks, clean[answer.target].take(answer.index), **told)
        rows += _disease_rows(*where, answer.marks, labels[answer.index], normal, **told)
    rows += _means(answers.scored, classes, budget)

    worst: dict[str, Marks] = {}
    for target in ("fp32", "int8"):
        mine = [answer for answer in answers.scored if answer.target == target]
        for threat in dict.fromkeys(answer.threat for answer in mine):
            under = [answer for answer in mine if answer.threat == threat]
            names = dict.fromkeys(answer.generator for answer in under) if threat == "transfer" else {"": None}
            for name in names:
                chosen = [answer for answer in under if name in ("", answer.generator)]
                index = np.unique(np.concatenate([answer.index for answer in chosen]))
                marks = in_worst_case(chosen, clean[target]).take(index)
                among: dict[str, Any] = {"generator": name, "budget": budget}
                rows += _score_rows(target, threat, "worst", marks, classes, **among)
                rows += _success_rows(target, threat, "worst", marks, clean[target].take(index), **among)
        if mine:
            index = np.unique(np.concatenate([answer.index for answer in mine]))
            worst[target] = in_worst_case(mine, clean[target]).take(index)
            rows += _score_rows(target, "all", "worst", worst[target], classes, budget=budget)
        else:
            worst[target] = clean[target]
    return rows, worst


def _score_rows(
    target: str,
    threat: str,
    attack: str,
    marks: Marks,
    classes: Sequence[str],
    mean: float | None = None,
    **told: Any,
) -> list[Measure]:
    """Return the accuracy; for segmentation the mean Dice, then that of every structure that an image has.

    ``mean`` is that of the marks, where it was taken in an order that rounds otherwise.
    """
    value = marks.mean if mean is None else mean
    if marks.structures is None:
        return [measure(target, threat, attack, "accuracy", value, len(marks), **told)]
    rows = [measure(target, threat, attack, "dice", value, len(marks), interval=marks.interval, **told)]
    for number, name in list(enumerate(classes))[1:]:
        dice = marks.structures[:, number]
        dice = dice[~np.isnan(dice)]
        if len(dice):
            interval = over_images(dice)
            metric = f"dice:{name}"
            rows.append(
                measure(target, threat, attack, metric, float(dice.mean()), len(dice), interval=interval, **told)
            )
    return rows


def _success_rows(target: str, threat: str, attack: str, marks: Marks, before: Marks, **told: Any) -> list[Measure]:
    """Return the share of images, right before, that are not right any more; no mask is simply right."""
    right = before.scores == 1
    if marks.structures is not None or not right.any():
        return []
    success = float((marks.scores[right] != 1).mean())
    return [measure(target, threat, attack, "attack_success", success, int(right.sum()), **told)]


def _means(scored: list[Scored], classes: Sequence[str], budget: tuple[float, float, int]) -> list[Measure]:
    """Return the mean over repeats where there are several; the interval is of the images, not of the repeats."""
    groups: dict[tuple[str, str, str, str], list[Marks]] = {}
    for answer in scored:
        groups.setdefault((answer.target, answer.threat, answer.attack, answer.generator), []).append(answer.marks)
    rows: list[Measure] = []
    for (target, threat, attack, generator), repeats in groups.items():
        if len(repeats) > 1:
            mean = float(np.mean([marks.mean for marks in repeats]))
            rows += _score_rows(
                target, threat, attack, over_repeats(repeats), classes, mean, generator=generator, budget=budget
            )
    return rows


def _disease_rows(
    target: str, threat: str, attack: str, marks: Marks, labels: np.ndarray, normal: int | None, **told: Any
) -> list[Measure]:
    if marks.logits is None:
        return []
    healthy = normal if normal is not None else (0 if marks.logits.shape[1] == 2 else None)
    if healthy is None:
        return []
    return [
        measure(target, threat, attack, metric, value, n, **told)
        for metric, (value, n) in disease_measures(marks.logits, labels, healthy).items()
    ]
