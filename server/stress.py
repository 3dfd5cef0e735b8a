"""Stress: a few more attacks on a sample, and what they and the results say about whether to believe the evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attacks.craft import craft
from attacks.credibility import (
    UNBOUNDED,
    Finding,
    check_budgets,
    check_gradients,
    check_single_step,
    check_unbounded,
    check_weaker_threat,
    measure_gradients,
)
from common.config import Evaluation, Experiment
from common.data import stratified_draw
from common.seeds import derive, numpy_generator
from server.adversaries import QUERIES, Answers, Scored, Targets, right_in_worst_case
from server.score import logits_of

SAMPLE = 100
"""Images of the extra attacks, unless ``stress_records`` says otherwise; they look for failures of the attack, not for
the model's accuracy."""
NEGLIGIBLE = 3
"""So many images more or less say nothing about a budget."""


def doubts(
    experiment: Experiment,
    targets: Targets,
    images: Tensor,
    labels: np.ndarray,
    answers: Answers,
    clean: Mapping[str, np.ndarray],
) -> list[dict[str, Any]]:
    """Return every reason to doubt the evaluation, as ``warnings`` of evaluation.json.

    Args:
        experiment: the description.
        targets: fp32, int8 and its twin.
        images: attacked images, uint8 [n, C, H, W].
        labels: int64 [n].
        answers: what was scored.
        clean: whether each target was right on each attacked image before, bool [n].
    """
    evaluation = experiment.evaluation
    findings: list[Finding] = []
    if evaluation.eps > 0:
        # Test images often lie class by class: a sample of the first ones would be of one class.
        seed = experiment.attack_seed()
        index = stratified_draw(labels, evaluation.stress_records or SAMPLE, numpy_generator(seed, "stress sample"))
        for target, sources in (("fp32", (targets.fp32,)), ("int8", (targets.twin, targets.fp32))):
            scored = targets.fp32 if target == "fp32" else targets.int8
            found, right = _stress(evaluation, target, scored, sources, images[index], labels[index], seed)
            white_box = [answer for answer in answers.scored if (answer.target, answer.threat) == (target, "white-box")]
            if white_box:
                best = right_in_worst_case(white_box, labels, clean[target])[index]
                found += _weaker("PGD check", target, right, best)
            findings += found + _comparisons(target, answers.scored, labels, clean[target])
    findings += _gaps(answers.scored, evaluation)
    return [asdict(finding) for finding in dict.fromkeys(findings)]


def _stress(
    evaluation: Evaluation,
    target: str,
    scored: nn.Module,
    sources: Sequence[nn.Module],
    images: Tensor,
    labels: np.ndarray,
    seed: int,
) -> tuple[list[Finding], np.ndarray]:
    """Attack at the budget, at larger ones and without one; look at the gradients themselves.

    Returns:
        The findings, and whether each image is still right at the budget, bool [n].
    """

    def robust(eps: float, step_size: float, steps: int) -> np.ndarray:
        right: np.ndarray = logits_of(scored, images).argmax(1) == labels
        for model in sources:
            adversarial = craft(
                "pgd",
                model,
                images,
                torch.from_numpy(labels),
                eps=eps,
                step_size=step_size,
                steps=steps,
                seed=derive(seed, "stress"),
                title=f"checks of {target}",
            )
            right &= logits_of(scored, adversarial).argmax(1) == labels
        return right

    n = len(labels)
    at_budget = robust(evaluation.eps, evaluation.eps / 4, evaluation.steps)
    before = after = float(at_budget.mean())
    larger = evaluation.eps
    for factor in (2, 4, 8):  # a robust model may bear twice the budget; none bears all
        larger = min(1.0, factor * evaluation.eps)
        after = float(robust(larger, larger / 4, evaluation.steps).mean())
        if (before - after) * n > NEGLIGIBLE:
            break
    else:
        after = max(before, after)  # a few images are chance, not harm
    unbounded = float(robust(UNBOUNDED["eps"], UNBOUNDED["step_size"], int(UNBOUNDED["steps"])).mean())
    findings = [
        *check_budgets([(evaluation.eps, before), (larger, after)], n, target=target),
        *check_unbounded(unbounded, n, target=target),
    ]
    for model in sources:
        findings += check_gradients(measure_gradients(model, images, torch.from_numpy(labels)), target=target)
    return findings, at_budget


def _comparisons(target: str, scored: Sequence[Scored], labels: np.ndarray, clean: np.ndarray) -> list[Finding]:
    """Compare threats on the images that both have: whoever holds the model can do all that others can."""
    mine = [answer for answer in scored if answer.target == target]
    by_gradients = [answer for answer in mine if answer.threat == "white-box" and answer.generator != QUERIES]
    if not by_gradients:
        return []
    findings: list[Finding] = []
    white_box = right_in_worst_case(by_gradients, labels, clean)
    for threat in ("query", "transfer"):
        weaker = [answer for answer in mine if answer.threat == threat]
        if weaker:
            index = np.unique(np.concatenate([answer.index for answer in weaker]))
            findings += _weaker(threat, target, right_in_worst_case(weaker, labels, clean)[index], white_box[index])
    single = [answer for answer in by_gradients if answer.attack == "fgsm"]
    many = [answer for answer in by_gradients if answer.attack == "pgd"]
    if single and many:
        pgd, fgsm = (float(right_in_worst_case(part, labels, clean).mean()) for part in (many, single))
        findings += check_single_step(pgd, fgsm, len(labels), target=target)
    return findings


def _weaker(threat: str, target: str, right: np.ndarray, best: np.ndarray) -> tuple[Finding, ...]:
    """Flag what should be weaker than white-box and is not: whether each image is right under either, bool [n]."""
    only = (int((best & ~right).sum()), int((right & ~best).sum()))
    return check_weaker_threat(threat, float(right.mean()), float(best.mean()), len(right), target=target, only=only)


def _gaps(scored: Sequence[Scored], evaluation: Evaluation) -> list[Finding]:
    """Note what was not tried, so that nobody reads more into the verdict than was measured."""
    if evaluation.eps == 0:
        return [Finding("note", "the budget is 0, so nothing was attacked")]
    tried = {answer.threat for answer in scored}
    missing = [threat for threat in ("white-box", "transfer", "query") if threat not in tried]
    if not missing:
        return []
    return [Finding("note", f"not tried: {', '.join(missing)}; the worst case is over the threats that were")]
