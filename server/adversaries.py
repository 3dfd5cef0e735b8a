"""Adversaries: each adversarial set is crafted once and scored on every target that it concerns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from attacks.craft import craft, options
from common.description import Evaluation, Model
from common.seeds import derive
from server.adversarial_sets import AdversarialSets, Recipe, digest_of
from server.marks import Marks, marks_of, worst

QUERIES = "queries"
"""What stands for the generator where a white-box adversary asks the int8 model itself."""


@dataclass(frozen=True)
class Scored:
    """How one target answered one adversarial set."""

    target: str
    threat: str
    attack: str
    generator: str
    repeat: int
    index: np.ndarray
    """Places of these images among all attacked ones, [n]."""
    marks: Marks
    """Of these n images."""


@dataclass
class Answers:
    """Everything that was scored, and the images of one set for the report."""

    scored: list[Scored] = field(default_factory=list)
    adversarial: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    """(generator, attack) → images of the first repeat, [n, C, H, W] in [0, 1]."""


@dataclass(frozen=True)
class Targets:
    """The models under attack."""

    fp32: nn.Module
    int8: nn.Module
    twin: nn.Module


def gradient_sources(
    evaluation: Evaluation, targets: Targets, generators: Mapping[str, nn.Module]
) -> list[tuple[str, nn.Module, tuple[tuple[str, str], ...]]]:
    """Return (generator's name, model, ((target, threat), …)): whose gradients are scored on what, under which threat.

    The fp32 parent's set serves three: white-box on fp32, insider on int8, and as one source of white-box on int8.
    """
    threats = set(evaluation.threats)
    sources: list[tuple[str, nn.Module, tuple[tuple[str, str], ...]]] = []
    from_fp32 = []
    if "white-box" in threats:
        from_fp32 += [("fp32", "white-box"), ("int8", "white-box")]
    if "insider" in threats:
        from_fp32.append(("int8", "insider"))
    if from_fp32:
        sources.append(("fp32", targets.fp32, tuple(from_fp32)))
    if "white-box" in threats:
        sources.append(("twin", targets.twin, (("int8", "white-box"),)))
    if "transfer" in threats:
        sources += [(name, model, (("fp32", "transfer"), ("int8", "transfer"))) for name, model in generators.items()]
    return sources


def attack_all(
    evaluation: Evaluation,
    targets: Targets,
    generators: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    query_index: np.ndarray,
    seed: int,
    network: Model | None = None,
    sets: AdversarialSets | None = None,
) -> Answers:
    """Craft and score every set that the description asks for.

    Args:
        evaluation: threats, attacks and budget.
        targets: fp32, int8 and the differentiable twin of int8.
        generators: models of other federations, for transfer.
        images: attacked test images, uint8 [n, C, H, W].
        labels: int64 [n], or masks [n, H, W].
        query_index: the places of the images that query attacks get.
        seed: of the random starts.
        network: which network ``targets`` and ``generators`` all are, as described; needed with ``sets``.
        sets: where sets of gradient attacks are kept for other targets; what is there already is not crafted again.
    """
    answers = Answers()
    everything = np.arange(len(images))
    scored_on = {"fp32": targets.fp32, "int8": targets.int8}
    for source, model, concerns in gradient_sources(evaluation, targets, generators):
        crafted = partial(_crafted, evaluation, source, model, images, labels)
        if sets is not None and network is not None and evaluation.eps > 0:
            digest = digest_of(network, model, "twin" if model is targets.twin else "fp32")
            crafted = partial(_kept, sets, digest, evaluation, source, model, images, labels)
        for attack in evaluation.attacks:
            for repeat in range(evaluation.repeats if "seed" in options(attack) else 1):
                adversarial = crafted(attack, derive(seed, "attack", Path(attack).name, repeat))
                if repeat == 0:
                    answers.adversarial[source, attack] = adversarial
                names = {target for target, _ in concerns}
                marks = {name: marks_of(scored_on[name], adversarial, labels) for name in names}
                answers.scored += [
                    Scored(target, threat, attack, source, repeat, everything, marks[target])
                    for target, threat in concerns
                ]
    if "query" in evaluation.threats:
        _query(evaluation, scored_on, images, labels, query_index, seed, answers)
    return answers


def _crafted(
    evaluation: Evaluation, source: str, model: nn.Module, images: Tensor, labels: Tensor, attack: str, seed: int
) -> Tensor:
    return craft(
        attack,
        model,
        images,
        labels,
        eps=evaluation.eps,
        step_size=evaluation.step_size,
        steps=evaluation.steps,
        seed=seed,
        title=f"{attack} with {source} gradients",
    )


def _kept(
    sets: AdversarialSets,
    digest: str,
    evaluation: Evaluation,
    source: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: str,
    seed: int,
) -> Tensor:
    recipe = Recipe(
        generator=digest,
        attack=attack,
        eps=evaluation.eps,
        step_size=evaluation.step_size,
        steps=evaluation.steps,
        seed=seed,
        images=images,
        labels=labels,
    )
    return sets.crafted(recipe, lambda: _crafted(evaluation, source, model, images, labels, attack, seed))


def _query(
    evaluation: Evaluation,
    scored_on: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    index: np.ndarray,
    seed: int,
    answers: Answers,
) -> None:
    chosen = torch.from_numpy(index)
    for target, model in scored_on.items():
        for attack in evaluation.query_attacks:
            adversarial = craft(
                attack,
                model,
                images[chosen],
                labels[chosen],
                eps=evaluation.eps,
                step_size=evaluation.step_size,
                steps=evaluation.steps,
                queries=evaluation.queries,
                seed=derive(seed, "attack", Path(attack).name, 0),
                title=f"{attack} on {target}",
            )
            answers.adversarial[f"query {target}", attack] = adversarial
            marks = marks_of(model, adversarial, labels[chosen])
            answers.scored.append(Scored(target, "query", attack, "", 0, index, marks))
            # Whoever holds the int8 model may also query it: its white-box worst case includes that.
            if target == "int8" and "white-box" in evaluation.threats:
                answers.scored.append(Scored(target, "white-box", attack, QUERIES, 0, index, marks))


def in_worst_case(scored: Sequence[Scored], clean: Marks) -> Marks:
    """Return the marks of each attacked image under the worst of these sets: right only if it is under every one.

    Args:
        scored: answers of one target.
        clean: its marks on all the clean images; doing nothing is an attack too.
    """
    return worst(clean, [(answer.index, answer.marks) for answer in scored])
