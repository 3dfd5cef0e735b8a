"""Rows: from scored answers to measures, single attacks first, then means over repeats and worst cases."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.config import Evaluation
from server.adversaries import Answers, Scored, right_in_worst_case
from server.measures import Measure, measure
from server.score import accuracy, disease_measures


def clean_rows(clean: Mapping[str, np.ndarray], labels: np.ndarray, normal: int | None) -> list[Measure]:
    """Return the measures on unattacked test images of every target (logits [N, K])."""
    rows = []
    for target, logits in clean.items():
        rows.append(measure(target, "clean", "none", "accuracy", accuracy(logits, labels), len(labels)))
        rows += _disease_rows(target, "clean", "none", logits, labels, normal)
    return rows


def attack_rows(
    evaluation: Evaluation,
    answers: Answers,
    labels: np.ndarray,
    right_before: Mapping[str, np.ndarray],
    normal: int | None,
) -> tuple[list[Measure], dict[str, tuple[float, int]]]:
    """Return all rows under attack, and each target's worst case over all threats (accuracy, n).

    Args:
        evaluation: its budget.
        answers: what was scored.
        labels: of the attacked images, [n].
        right_before: target → whether it was right on the clean image, bool [n].
        normal: the class that means healthy, if there is one.
    """
    rows: list[Measure] = []
    budget = (evaluation.eps, evaluation.step_size, evaluation.steps)

    for answer in answers.scored:
        told: dict[str, Any] = {"generator": answer.generator, "budget": budget, "repeat": answer.repeat}
        truth = labels[answer.index]
        right = answer.logits.argmax(1) == truth
        where = (answer.target, answer.threat, answer.attack)
        rows.append(measure(*where, "accuracy", float(right.mean()), len(right), **told))
        before = right_before[answer.target][answer.index]
        if before.any():
            rows.append(measure(*where, "attack_success", float((~right[before]).mean()), int(before.sum()), **told))
        rows += _disease_rows(*where, answer.logits, truth, normal, **told)
    rows += _means(answers.scored, labels, budget)

    worst: dict[str, tuple[float, int]] = {}
    for target in ("fp32", "int8"):
        mine = [answer for answer in answers.scored if answer.target == target]
        for threat in dict.fromkeys(answer.threat for answer in mine):
            under = [answer for answer in mine if answer.threat == threat]
            names = dict.fromkeys(answer.generator for answer in under) if threat == "transfer" else {"": None}
            for name in names:
                chosen = [answer for answer in under if name in ("", answer.generator)]
                index = np.unique(np.concatenate([answer.index for answer in chosen]))
                right = right_in_worst_case(chosen, labels, right_before[target])[index]
                among: dict[str, Any] = {"generator": name, "budget": budget}
                rows.append(measure(target, threat, "worst", "accuracy", float(right.mean()), len(right), **among))
                before = right_before[target][index]
                if before.any():
                    success = float((~right[before]).mean())
                    rows.append(measure(target, threat, "worst", "attack_success", success, int(before.sum()), **among))
        if mine:
            index = np.unique(np.concatenate([answer.index for answer in mine]))
            right = right_in_worst_case(mine, labels, right_before[target])[index]
            worst[target] = (float(right.mean()), len(right))
            rows.append(measure(target, "all", "worst", "accuracy", *worst[target], budget=budget))
        else:
            worst[target] = (float(right_before[target].mean()), len(labels))
    return rows, worst


def _means(scored: list[Scored], labels: np.ndarray, budget: tuple[float, float, int]) -> list[Measure]:
    """Return the mean over repeats where there are several; the interval is of the images, not of the repeats."""
    groups: dict[tuple[str, str, str, str], list[float]] = {}
    sizes: dict[tuple[str, str, str, str], int] = {}
    for answer in scored:
        key = (answer.target, answer.threat, answer.attack, answer.generator)
        groups.setdefault(key, []).append(accuracy(answer.logits, labels[answer.index]))
        sizes[key] = len(answer.index)
    return [
        measure(
            target, threat, attack, "accuracy", float(np.mean(values)), sizes[key], generator=generator, budget=budget
        )
        for key, values in groups.items()
        if len(values) > 1
        for target, threat, attack, generator in [key]
    ]


def _disease_rows(
    target: str, threat: str, attack: str, logits: np.ndarray, labels: np.ndarray, normal: int | None, **told: Any
) -> list[Measure]:
    healthy = normal if normal is not None else (0 if logits.shape[1] == 2 else None)
    if healthy is None:
        return []
    return [
        measure(target, threat, attack, metric, value, n, **told)
        for metric, (value, n) in disease_measures(logits, labels, healthy).items()
    ]
