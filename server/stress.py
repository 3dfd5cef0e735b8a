"""Stress: a few more attacks on a sample, and what they and the results say about whether to believe the evaluation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attacks.craft import craft
from attacks.credibility import (
    UNBOUNDED,
    Finding,
    Gradients,
    check_budgets,
    check_gradients,
    check_single_step,
    check_unbounded,
    check_weaker_threat,
    measure_gradients,
)
from common.config import Experiment
from common.data import stratified_draw
from common.description import Evaluation
from common.seeds import derive, numpy_generator
from common.task import SCORES
from server.adversaries import QUERIES, Answers, Scored, Targets, in_worst_case
from server.marks import Marks, marks_of

SAMPLE = 100
"""Images of the extra attacks, unless ``stress_records`` says otherwise; they look for failures of the attack, not for
the model's accuracy."""
NEGLIGIBLE = 3
"""So many images more or less say nothing about a budget."""
POINT = 0.01
"""A difference of Dice in an image up to this says nothing about who hurts it more."""


def doubts(
    experiment: Experiment,
    targets: Targets,
    images: Tensor,
    labels: np.ndarray,
    answers: Answers,
    clean: Mapping[str, Marks],
    strata: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Return every reason to doubt the evaluation, as ``warnings`` of evaluation.json.

    Args:
        experiment: the description.
        targets: fp32, int8 and its twin.
        images: attacked images, uint8 [n, C, H, W].
        labels: int64 [n], or masks [n, H, W].
        answers: what was scored.
        clean: each target's marks on the images before they were attacked.
        strata: int64 [n], by which a sample is drawn; None: the labels.
    """
    evaluation = experiment.evaluation
    findings: list[Finding] = []
    if evaluation.eps > 0:
        # Test images often lie class by class: a sample of the first ones would be of one class.
        seed = experiment.attack_seed()
        wanted = evaluation.stress_records or SAMPLE
        index = stratified_draw(labels if strata is None else strata, wanted, numpy_generator(seed, "stress sample"))
        sample = Sample(images[index], labels[index], derive(seed, "stress"))
        for target, sources in (("fp32", (targets.fp32,)), ("int8", (targets.twin, targets.fp32))):
            scored = targets.fp32 if target == "fp32" else targets.int8
            found, left = _stress(evaluation, target, scored, sources, sample, clean[target].scores[index])
            white_box = [answer for answer in answers.scored if (answer.target, answer.threat) == (target, "white-box")]
            if white_box:
                best = in_worst_case(white_box, clean[target]).scores[index]
                found += _weaker("PGD check", target, left, best, _score(labels))
            findings += found + _comparisons(target, answers.scored, _score(labels), clean[target])
    findings += _gaps(answers.scored, evaluation)
    return [asdict(finding) for finding in dict.fromkeys(findings)]


class Sample:
    """The images of the extra attacks, and what each model's gradients made of them, crafted once for all targets."""

    def __init__(self, images: Tensor, labels: np.ndarray, seed: int) -> None:
        """Take uint8 images [n, C, H, W], their labels [n] or masks [n, H, W], and the seed of the random starts."""
        self.images, self.labels, self._seed = images, labels, seed
        self._sets: dict[tuple[nn.Module, float, float, int], Tensor] = {}
        self._gradients: dict[nn.Module, Gradients] = {}

    def attacked(self, model: nn.Module, target: str, eps: float, step_size: float, steps: int) -> Tensor:
        """Return the images after PGD on ``model``, float32 [n, C, H, W]; ``target`` is named in the progress."""
        key = (model, eps, step_size, steps)
        if key not in self._sets:
            labels = torch.from_numpy(self.labels)
            budget: Any = {"eps": eps, "step_size": step_size, "steps": steps}
            self._sets[key] = craft(
                "pgd", model, self.images, labels, seed=self._seed, title=f"checks of {target}", **budget
            )
        return self._sets[key]

    def gradients(self, model: nn.Module) -> Gradients:
        """Return how often the model's input gradients vanish on the unchanged images."""
        if model not in self._gradients:
            self._gradients[model] = measure_gradients(model, self.images, torch.from_numpy(self.labels))
        return self._gradients[model]


def _stress(
    evaluation: Evaluation,
    target: str,
    scored: nn.Module,
    sources: Sequence[nn.Module],
    sample: Sample,
    clean: np.ndarray,
) -> tuple[list[Finding], np.ndarray]:
    """Attack at the budget, at larger ones and without one; look at the gradients themselves.

    Args:
        evaluation: its budget.
        target, scored: the target's name and the model.
        sources: whose gradients are followed; each image's worst counts. The last one's sets may be there already.
        sample: the images.
        clean: the target's scores on them, unchanged, [n].

    Returns:
        The findings, and each image's score at the budget, [n].
    """

    def robust(eps: float, step_size: float, steps: int) -> np.ndarray:
        scores = clean
        for model in reversed(sources):
            if not scores.any():
                break  # nothing is left to lose
            adversarial = sample.attacked(model, target, eps, step_size, steps)
            scores = np.minimum(scores, marks_of(scored, adversarial, sample.labels).scores)
        return scores

    n = len(clean)
    at_budget = robust(evaluation.eps, evaluation.eps / 4, evaluation.steps)
    before = float(at_budget.mean())
    findings: list[Finding] = []
    if before * n > NEGLIGIBLE:  # else no larger budget can hurt noticeably more
        findings += check_budgets([(evaluation.eps, before), _larger(evaluation, before, n, robust)], n, target=target)
    unbounded = float(robust(UNBOUNDED["eps"], UNBOUNDED["step_size"], int(UNBOUNDED["steps"])).mean())
    findings += check_unbounded(unbounded, n, target=target, score=_score(sample.labels))
    for model in sources:
        findings += check_gradients(sample.gradients(model), target=target)
    return findings, at_budget


def _larger(
    evaluation: Evaluation, before: float, n: int, robust: Callable[[float, float, int], np.ndarray]
) -> tuple[float, float]:
    """Return a budget that hurts more than the evaluation's and the mean score that it leaves; or the largest tried.

    Args:
        evaluation: its budget and steps.
        before: the mean score that its budget leaves.
        n: number of images.
        robust: (eps, step size, steps) → scores [n].
    """
    for factor in (2, 4, 8):  # a robust model may bear twice the budget; none bears all
        larger = min(1.0, factor * evaluation.eps)
        after = float(robust(larger, larger / 4, evaluation.steps).mean())
        if (before - after) * n > NEGLIGIBLE:
            return larger, after
    return larger, max(before, after)  # a few images are chance, not harm


def _comparisons(target: str, scored: Sequence[Scored], score: str, clean: Marks) -> list[Finding]:
    """Compare threats on the images that both have: whoever holds the model can do all that others can."""
    mine = [answer for answer in scored if answer.target == target]
    by_gradients = [answer for answer in mine if answer.threat == "white-box" and answer.generator != QUERIES]
    if not by_gradients:
        return []
    findings: list[Finding] = []
    white_box = in_worst_case(by_gradients, clean).scores
    for threat in ("query", "transfer"):
        weaker = [answer for answer in mine if answer.threat == threat]
        if weaker:
            index = np.unique(np.concatenate([answer.index for answer in weaker]))
            findings += _weaker(threat, target, in_worst_case(weaker, clean).scores[index], white_box[index], score)
    single = [answer for answer in by_gradients if answer.attack == "fgsm"]
    many = [answer for answer in by_gradients if answer.attack == "pgd"]
    if single and many:
        pgd, fgsm = (in_worst_case(part, clean).scores for part in (many, single))
        # Right and wrong are compared as if independent, which flags less; for means of Dice that would flag nothing.
        only = None if score == "accuracy" else _only(fgsm, pgd)
        findings += check_single_step(float(pgd.mean()), float(fgsm.mean()), len(clean), target=target, only=only)
    return findings


def _weaker(threat: str, target: str, left: np.ndarray, best: np.ndarray, score: str) -> tuple[Finding, ...]:
    """Flag what should be weaker than white-box and is not: each image's score under either, [n]."""
    return check_weaker_threat(
        threat, float(left.mean()), float(best.mean()), len(left), target=target, only=_only(left, best), score=score
    )


def _only(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """Return how many images score lower in ``first`` and how many in ``second``, [n] each, by more than a point."""
    return int((second - first > POINT).sum()), int((first - second > POINT).sum())


def _score(labels: np.ndarray) -> str:
    return SCORES["segmentation" if labels.ndim == 3 else "classification"]


def _gaps(scored: Sequence[Scored], evaluation: Evaluation) -> list[Finding]:
    """Note what was not tried, so that nobody reads more into the verdict than was measured."""
    if evaluation.eps == 0:
        return [Finding("note", "the budget is 0, so nothing was attacked")]
    tried = {answer.threat for answer in scored}
    missing = [threat for threat in ("white-box", "transfer", "query") if threat not in tried]
    if not missing:
        return []
    return [Finding("note", f"not tried: {', '.join(missing)}; the worst case is over the threats that were")]
