"""The verdict: private, robust, small, useful, each against a stated or a usual threshold."""

from typing import Any

from common.description import Thresholds
from common.records import Task

USUAL = {"epsilon": 8.0, "robust_accuracy": 0.5, "size_reduction": 0.7, "accuracy": 0.7}
"""Thresholds where the description states none. They are conventions, not truths; docs/threat-models.md says why."""


def verdict(
    thresholds: Thresholds,
    *,
    epsilon: float | None,
    robust_accuracy: float,
    robust_interval: tuple[float, float],
    size_reduction: float,
    accuracy: float,
    accuracy_interval: tuple[float, float],
    credible: bool,
    attacked: bool,
    task: Task = "classification",
) -> dict[str, dict[str, Any]]:
    """Judge the deployed int8 model; returns the ``verdict`` part of evaluation.json.

    Args:
        thresholds: what the description states.
        epsilon: the worst honest client's ε over all rounds; None: there is no guarantee.
        robust_accuracy: worst case over all threats, image by image; for segmentation it is mean Dice, as accuracy is.
        robust_interval: its 95 % interval. A threshold inside it is not decided.
        size_reduction: 1 - int8 bytes / fp32 bytes.
        accuracy: clean accuracy of the int8 model.
        accuracy_interval: its 95 % interval.
        credible: False makes a "robust" undecided: an attack that may have failed proves nothing.
        attacked: whether a white-box attack with a budget above 0 was made; without one nothing is shown.
        task: for the sentences.
    """
    limit = _threshold(thresholds, "epsilon")
    private = _tile(
        thresholds,
        "epsilon",
        epsilon,
        epsilon is not None and epsilon <= limit + 1e-9,
        "no privacy guarantee covers every honest client's records"
        if epsilon is None
        else f"the worst honest client's records have ε = {epsilon:.2f} after all rounds (asked: at most {limit:g})",
    )
    floor = _threshold(thresholds, "robust_accuracy")
    holds = _beyond(robust_accuracy, robust_interval, floor)
    sentence = f"{robust_accuracy:.1%} of attacked images are still right in the worst case (asked: {floor:.0%})"
    if task == "segmentation":
        sentence = f"attacked images have a mean Dice of {robust_accuracy:.1%} in the worst case (asked: {floor:.0%})"
    sentence += _why_not(holds, robust_interval)
    if holds and not credible:
        holds, sentence = None, sentence + "; but the evaluation flagged itself, so it is not decided"
    if holds and not attacked:
        holds, sentence = None, "no white-box attack with a budget above 0 was made, so robustness is not decided"
    robust = _tile(thresholds, "robust_accuracy", robust_accuracy, holds, sentence)
    wanted = _threshold(thresholds, "size_reduction")
    small = _tile(
        thresholds,
        "size_reduction",
        size_reduction,
        size_reduction >= wanted,
        f"the int8 file is {abs(size_reduction):.1%} {'smaller' if size_reduction >= 0 else 'larger'} than the fp32 "
        f"weights (asked: {wanted:.0%} smaller)",
    )
    least = _threshold(thresholds, "accuracy")
    right = _beyond(accuracy, accuracy_interval, least)
    sentence = f"{accuracy:.1%} of clean test images are right (asked: {least:.0%})"
    if task == "segmentation":
        sentence = f"clean test images have a mean Dice of {accuracy:.1%} (asked: {least:.0%})"
    sentence += _why_not(right, accuracy_interval)
    useful = _tile(thresholds, "accuracy", accuracy, right, sentence)
    return {"private": private, "robust": robust, "small": small, "useful": useful}


def _beyond(value: float, interval: tuple[float, float], threshold: float) -> bool | None:
    """Tell whether ``value`` reaches the threshold; None where the interval holds the threshold."""
    low, high = interval
    return None if low < threshold <= high else value >= threshold


def _why_not(holds: bool | None, interval: tuple[float, float]) -> str:
    if holds is not None:
        return ""
    return f"; the interval {interval[0]:.1%} to {interval[1]:.1%} holds the threshold, so it is not decided"


def stated_failure(tiles: dict[str, dict[str, Any]]) -> list[str]:
    """Return the sentences of stated thresholds that do not hold; an undecided one has not been shown to hold."""
    return [
        f"{name}: {tile['sentence']}" for name, tile in tiles.items() if tile["stated"] and tile["holds"] is not True
    ]


def _threshold(thresholds: Thresholds, name: str) -> float:
    stated = getattr(thresholds, name)
    return float(USUAL[name] if stated is None else stated)


def _tile(thresholds: Thresholds, name: str, value: float | None, holds: bool | None, sentence: str) -> dict[str, Any]:
    return {
        "holds": holds,
        "value": value,
        "threshold": _threshold(thresholds, name),
        "stated": getattr(thresholds, name) is not None,
        "sentence": sentence,
    }
