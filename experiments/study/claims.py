"""The paper's claims, and what finished cells say of each: confirmed, refuted, or not decidable at this scale.

Usynin et al. 2022, "Can collaborative learning be private, robust and scalable?" (arXiv 2205.02652). Each claim is
data: what it says, the quantity that it speaks of, the band that it asserts, and the function that measures it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from experiments.study import claims_adversarial, claims_compression, claims_privacy
from experiments.study.deciding import CONFIRMED, OPEN, REFUTED, Band, about, decide, without_width
from experiments.study.evidence import Evidence, Finding, Part, flagged, unique
from experiments.study.results import Estimate, Result

Unit = Literal["share", "points", "distance", "times"]
"""How a number is read: a share in [0, 1], a difference of shares, one without its sign, or a ratio."""
HALF_POINT, ONE_POINT, TWO_POINTS = 0.005, 0.01, 0.02


@dataclass(frozen=True)
class Claim:
    """One claim of the paper in one reading.

    Attributes:
        key: a short name, stable.
        sentence: what the paper says.
        paper: its figure.
        quantity: what is measured here, exactly.
        reading: what the claim asserts of the quantity, in words.
        band: the same in numbers.
        unit: of the quantity.
        study: whose cells show it.
        measure: evidence → finding.
        quantization: whether the robustness of an int8 model is at stake, so that gradient masking matters.
    """

    key: str
    sentence: str
    paper: str
    quantity: str
    reading: str
    band: Band
    unit: Unit
    study: str
    measure: Callable[[Evidence], Finding]
    quantization: bool = False


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        claim: the claim's sentence.
        paper: its figure.
        quantity: what was measured.
        ours: that, with its 95 % interval over repeats of the training; None: nothing to go by.
        verdict: ``confirmed``, ``refuted`` or ``not decidable at this scale``.
        why: one sentence.
        command: what measures it again.
        masking: whether the evaluations flagged int8's robust accuracies; None: the claim is not about them.
        asked: the claim itself, with its rule.
        parts: setting by setting.
        notes: sentences that belong beside it.
    """

    claim: str
    paper: str
    quantity: str
    ours: Estimate | None
    verdict: str
    why: str
    command: str
    masking: str | None
    asked: Claim
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()


NONE_EXCEEDS = "“Up to” is read as: the largest over all settings is about that, from half of it to half as much again"
NO_GAIN = "“None” is read as: at most one point"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "size-resnet9", "int8 makes ResNet-9 74.4 % smaller", "−74.4 %",
        "1 − bytes of the int8 / bytes of the fp32 weights, each as PyTorch saves them, ResNet-9 at the paper's width",
        "It is 74.4 %, give or take half a point for what a file adds to the weights. A size does not vary, so "
        "there is no interval",
        Band(0.744 - HALF_POINT, 0.744 + HALF_POINT), "share", "claims",
        partial(claims_compression.reduction, model="ResNet-9"),
    ),
    Claim(
        "size-resnet18", "int8 makes ResNet-18 76.6 % smaller", "−76.6 %",
        "1 − bytes of the int8 / bytes of the fp32 weights, each as PyTorch saves them, ResNet-18 at the paper's width",
        "It is 76.6 %, give or take half a point. Eight bits instead of 32 a weight cannot save more than 75 %",
        Band(0.766 - HALF_POINT, 0.766 + HALF_POINT), "share", "claims",
        partial(claims_compression.reduction, model="ResNet-18"),
    ),
    Claim(
        "int8-accuracy-average", "int8 keeps clean accuracy within ±1 %: on average", "within ±1 %",
        "clean accuracy of int8 minus fp32 of the same model, mean over all settings",
        "It lies between −1 and +1 points",
        Band(-ONE_POINT, ONE_POINT), "points", "table-accuracy", claims_compression.accuracy_on_average,
    ),
    Claim(
        "int8-accuracy-everywhere", "int8 keeps clean accuracy within ±1 %: in every setting", "within ±1 %",
        "largest change of clean accuracy by int8, up or down, over all settings",
        "No setting changes by more than one point",
        Band(None, ONE_POINT), "distance", "table-accuracy", claims_compression.accuracy_everywhere,
    ),
    Claim(
        "dp-within", "Under a transfer attack DP models are within ±2 % of non-DP models", "within ±2 %",
        "largest distance between robust accuracy of DP and non-DP targets under transfer, each attacked from a "
        "generator of its own privacy, over all ε, data sets, models, fp32 and int8; no adversarial training data",
        "No pair is farther apart than two points",
        Band(None, TWO_POINTS), "distance", "fig2", claims_privacy.within,
    ),
    Claim(
        "int8-transfer-small", "int8 gains up to 5 % under transfer: the small model", "up to 5 %",
        "largest gain of robust accuracy under transfer by int8 over fp32, over all settings of ResNet-9",
        NONE_EXCEEDS, about(0.05), "points", "claims",
        partial(claims_compression.largest_gain, threat="transfer", model="ResNet-9"), True,
    ),
    Claim(
        "int8-transfer-large", "int8 gains up to 20 % under transfer: the large model", "up to 20 %",
        "largest gain of robust accuracy under transfer by int8 over fp32, over all settings of ResNet-18",
        NONE_EXCEEDS, about(0.20), "points", "claims",
        partial(claims_compression.largest_gain, threat="transfer", model="ResNet-18"), True,
    ),
    Claim(
        "int8-insider-average", "int8 gains nothing against the strongest insider: on average", "none",
        "robust accuracy of int8 against an insider who crafts on the fp32 model, minus that of fp32 against the same "
        "images, mean over all settings that keep anything",
        NO_GAIN, Band(None, ONE_POINT), "points", "claims",
        partial(claims_compression.mean_gain, threat="insider"), True,
    ),
    Claim(
        "int8-insider-everywhere", "int8 gains nothing against the strongest insider: in every setting", "none",
        "largest gain of robust accuracy by int8 against the insider, over all settings that keep anything",
        NO_GAIN, Band(None, ONE_POINT), "points", "claims",
        partial(claims_compression.largest_gain, threat="insider"), True,
    ),
    Claim(
        "int8-white-box-average", "int8 gains nothing against who holds the deployed model: on average", "none",
        "robust accuracy of int8 minus fp32, each against its own white-box attack, mean over all settings that "
        "keep anything; the int8 attack goes through a differentiable twin, the fp32 parent and, where tried, queries",
        NO_GAIN, Band(None, ONE_POINT), "points", "claims",
        partial(claims_compression.mean_gain, threat="white-box"), True,
    ),
    Claim(
        "int8-white-box-everywhere", "int8 gains nothing against who holds the deployed model: in every setting",
        "none",
        "largest gain of robust accuracy by int8 against white-box attacks, over all settings that keep anything",
        NO_GAIN, Band(None, ONE_POINT), "points", "claims",
        partial(claims_compression.largest_gain, threat="white-box"), True,
    ),
    Claim(
        "dp-breaks-dp", "A DP model as generator breaks another DP model almost always", "almost always (5 % left)",
        "smallest share of images, right before, that a DP generator's attack turns wrong on another DP model, over "
        "data sets, models, fp32 and int8, at the smallest ε of each",
        "“Almost always” is read as: at least 90 %. The share among images that were right does not suffer from a low "
        "clean accuracy, as the 5 % do",
        Band(0.9, None), "share", "fig3", claims_privacy.private_generator,
    ),
    Claim(
        "generators-apart", "A non-private generator leaves a DP model 30 %, a DP generator 5 %", "30 % against 5 %",
        "robust accuracy of DP models under transfer from the non-private minus from the DP generator, mean over data "
        "sets, models, fp32 and int8, at the smallest ε of each",
        "It is about 25 points: from half of that to half as much again",
        about(0.25), "points", "fig3", claims_privacy.generators_apart,
    ),
    Claim(
        "adversarial-training-cost", "Adversarial training costs up to 13 % clean accuracy", "up to 13 %",
        "largest loss of clean accuracy (fp32) against the same federation without adversarial data, over attacks and "
        "shares; FAB aside, for which the paper has a claim of its own",
        NONE_EXCEEDS, about(0.13), "points", "fig4", claims_adversarial.clean_cost,
    ),
    Claim(
        "twenty-per-cent", "20 % adversarial data is usually best", "usually",
        "share of comparisons in which, of all shares tried, 20 % gives the highest robust accuracy under transfer "
        "(fp32); one comparison for each attack and repeat, ties split",
        "“Usually” is read as: in more than half. The interval is Wilson's over the comparisons, as if they were "
        "independent",
        Band(0.5, None, strict=True), "share", "fig4", claims_adversarial.best_share,
    ),
    Claim(
        "pgd-time", "PGD costs up to 8 times FGSM's time", "8×",
        "CPU seconds of PGD (10 steps) / FGSM, crafting the same images",
        "It is about 8: from half of that to half as much again",
        about(8.0), "times", "claims", partial(claims_adversarial.time_ratio, above="pgd", below="fgsm"),
    ),
    Claim(
        "fab-time", "FAB costs 20 times", "20×",
        "CPU seconds of FAB (10 steps) / FGSM, crafting the same images",
        "It is about 20: from half of that to half as much again. The paper does not say 20 times of what; FGSM is "
        "what the sentence before compares with",
        about(20.0), "times", "claims", partial(claims_adversarial.time_ratio, above="fab", below="fgsm"),
    ),
    Claim(
        "fab-accuracy", "FAB as training data drops accuracy to 20 %", "20 %",
        "clean accuracy (fp32) of models trained with FAB's images, mean over shares",
        "It is about 20 %: from half of that to half as much again, and the same federation without adversarial data "
        "is above that",
        about(0.20), "share", "fig4", partial(claims_adversarial.fab_accuracy, limit=0.30),
    ),
    Claim(
        "dp-blunts-clean", "DP blunts a train-time attacker who holds 40 % of the data: clean accuracy", "blunts",
        "clean accuracy (fp32) that the attacker takes from the non-private federation minus what it takes from the DP "
        "one, mean over attacks",
        "It is above 0, and the attacker does damage without DP",
        Band(0.0, None, strict=True), "points", "fig5", claims_privacy.blunted_clean,
    ),
    Claim(
        "dp-blunts-robust", "DP blunts a train-time attacker who holds 40 % of the data: robust accuracy", "blunts",
        "robust accuracy (fp32; white-box, else transfer) that the attacker takes from the non-private federation "
        "minus what it takes from the DP one, mean over attacks",
        "It is above 0, and the attacker does damage without DP",
        Band(0.0, None, strict=True), "points", "fig5", claims_privacy.blunted_robust,
    ),
)  # fmt: skip


def command(study: str) -> str:
    """Return what runs one of the paper's studies."""
    return f"psreval study experiments/paper/{study}.toml"


def judge(
    results: Sequence[Result],
    facts: Mapping[str, Any],
    commands: Callable[[str], str] = command,
    claims: Sequence[Claim] = CLAIMS,
) -> tuple[Verdict, ...]:
    """Return the verdict on every claim.

    Args:
        results: finished cells of any studies; a half-finished study decides what it can.
        facts: ``facts.json``; any of it may be missing.
        commands: the name of a study → the command that runs it.
        claims: which.
    """
    evidence = Evidence(results, facts)
    return tuple(_judged(claim, claim.measure(evidence), commands(claim.study)) for claim in claims)


def _judged(claim: Claim, found: Finding, asked: str) -> Verdict:
    ours = found.ours
    if ours is not None and claim.unit == "share":
        low, high = (None if end is None else min(1.0, max(0.0, end)) for end in (ours.low, ours.high))
        ours = replace(ours, low=low, high=high)
    verdict = OPEN if found.undecided else decide(ours, claim.band)
    return Verdict(
        claim=claim.sentence,
        paper=claim.paper,
        quantity=claim.quantity,
        ours=ours,
        verdict=verdict,
        why=_why(ours, verdict, found),
        command=asked,
        masking=_masking(found.parts) if claim.quantization else None,
        asked=claim,
        parts=found.parts,
        notes=found.notes,
    )


def _why(ours: Estimate | None, verdict: str, found: Finding) -> str:
    if found.undecided:
        return found.undecided
    if ours is None:
        single = any(len(part.numbers) == 1 for part in found.parts)
        return (
            "every setting has a single repeat, and one training says nothing of the next"
            if single
            else "nothing was measured for it"
        )
    if ours.low is None:
        return "a single repeat has no interval"
    if ours.n == 1:
        return "it is what the claim asserts" if verdict == CONFIRMED else "it is not what the claim asserts"
    where = {
        CONFIRMED: "the whole interval lies in what the claim asserts",
        REFUTED: "the whole interval lies outside what the claim asserts",
        OPEN: "the interval lies partly in what the claim asserts and partly outside",
    }[verdict]
    return where + ("; every repeat gave the same value, so the interval has no width" if without_width(ours) else "")


def _masking(parts: Sequence[Part]) -> str:
    """Return whether the evaluations behind a claim flagged int8's robust accuracies as not to be believed."""
    results = unique(result for part in parts for result in part.results)
    if not results:
        return "no evaluation to look at"
    cells, sentences = flagged(results, "int8")
    queried = sum("query" in result.cell.experiment.evaluation.threats for result in results)
    asked = f"queries were tried in {queried}" if queried else "queries, which see through masked gradients, in none"
    if not cells:
        return f"not flagged in any of {len(results)} evaluations ({asked})"
    more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
    return f"flagged in {cells} of {len(results)} evaluations ({asked}): {sentences[0]}{more}"
