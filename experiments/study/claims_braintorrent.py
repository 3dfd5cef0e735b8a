"""BrainTorrent's claims, and ours about who breaks it: what finished cells say of each.

Guha Roy et al. 2019, "BrainTorrent: A peer-to-peer environment for decentralized federated learning" (arXiv
1905.06731): better than FedAvg with a server, close to pooled training. Every comparison is paired by repeat, which
shares data, partition and initial weights.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from experiments.study.claims import Claim
from experiments.study.deciding import Band, average, largest, smallest
from experiments.study.evidence import Evidence, Finding, Numbers, Part, minus
from experiments.study.outcome import (
    ACCURACY,
    DICE,
    Trained,
    as_many,
    bytes_ratio,
    own_score,
    same_place,
    score,
    trained,
)
from experiments.study.points import Taken
from experiments.study.results import Estimate, Result, values
from experiments.study.way import ALONE, BRAINTORRENT, FEDAVG, FRESH, POOLED

CLOSE, HARM = 0.02, 0.05
"""What "close to" asserts of a distance, and from where on a loss is called harm: two points, five points."""
STUDY = "claims"
_ABUSED = ", abused by "
BYTES = "FedAvg's bytes, times BrainTorrent's"
Summary = Callable[[Sequence[Numbers]], Estimate | None]


def settings_of(evidence: Evidence, task: str) -> list[Trained]:
    """Return the cells of a task that nobody abuses."""
    return [one for one in trained(evidence.results) if one.task == task and not one.way.abuse]


def against_fedavg(
    evidence: Evidence, *, task: str, equal: str, overall: Summary, method: str = BRAINTORRENT
) -> Finding:
    """Return by how much BrainTorrent's score exceeds FedAvg's, setting by setting.

    Args:
        evidence: all finished cells.
        task: ``Dice`` or ``accuracy``.
        equal: ``local updates`` or ``bytes``, as measured.
        overall: parts → the quantity.
        method: whose; BrainTorrent as published, or a variant.
    """
    cells = settings_of(evidence, task)
    parts = []
    for ours in _of(cells, method):
        for theirs in _of(cells, FEDAVG):
            ratio = bytes_ratio(theirs, ours)
            alike = ours.way.updates == theirs.way.updates if equal == "local updates" else as_many(ratio.values())
            if same_place(ours, theirs) and alike:
                beside = {method: _scores(ours), FEDAVG: _scores(theirs), BYTES: ratio}
                parts.append(_part(ours, minus(_scores(ours), _scores(theirs)), beside, theirs))
    return _finding(parts, overall)


def below_pooled(evidence: Evidence, *, task: str, overall: Summary) -> Finding:
    """Return how far BrainTorrent's score stays below that of pooled training with as many passes over the records."""
    cells = settings_of(evidence, task)
    parts = []
    for ours in _of(cells, BRAINTORRENT):
        for pooled in _of(cells, POOLED):
            alike = (ours.data, ours.model, ours.way.updates) == (pooled.data, pooled.model, pooled.way.updates)
            if alike:
                beside = {POOLED: _scores(pooled), BRAINTORRENT: _scores(ours), "its own models": _own(ours)}
                parts.append(_part(ours, minus(_scores(pooled), _scores(ours)), beside, pooled))
    return _finding(parts, overall)


def against_alone(evidence: Evidence, *, task: str) -> Finding:
    """Return by how much BrainTorrent's own models exceed those of peers that merge nothing, means over the peers."""
    cells = settings_of(evidence, task)
    parts = []
    for ours in _of(cells, BRAINTORRENT):
        for alone in _of(cells, ALONE):
            if same_place(ours, alone) and ours.way.updates == alone.way.updates:
                beside = {"its own models": _own(ours), ALONE: _scores(alone)}
                parts.append(_part(ours, minus(_own(ours), _scores(alone)), beside, alone))
    return _finding(parts, _smallest)


def cost_of_hardening(evidence: Evidence) -> Finding:
    """Return what each hardened rule loses against BrainTorrent where nobody misbehaves."""
    cells = [one for one in trained(evidence.results) if not one.way.abuse]
    parts = []
    for ours in _of(cells, BRAINTORRENT):
        for hardened in cells:
            if is_hardened(hardened) and same_place(ours, hardened) and ours.way.updates == hardened.way.updates:
                beside = {BRAINTORRENT: _scores(ours), "hardened": _scores(hardened)}
                parts.append(_part(hardened, minus(_scores(ours), _scores(hardened)), beside, ours))
    return _finding(parts, _largest)


def harm(evidence: Evidence, *, hardened: bool, overall: Summary) -> Finding:
    """Return what a single misbehaving peer takes, abuse by abuse: the score without it minus the score with it.

    Args:
        evidence: all finished cells.
        hardened: of the hardened rules; else of the protocol as published.
        overall: parts → the quantity.
    """
    cells = trained(evidence.results)
    parts = []
    for abused in cells:
        ours = is_hardened(abused) if hardened else abused.way.method == BRAINTORRENT
        if not (abused.way.abuse and ours):
            continue
        for before in cells:
            alike = before.way.method == abused.way.method and before.way.updates == abused.way.updates
            if alike and not before.way.abuse and same_place(before, abused):
                beside = {"nobody": _scores(before), "one peer": _scores(abused), "honest peers' own": _own(abused)}
                parts.append(_part(abused, minus(_scores(before), _scores(abused)), beside, before))
    return _finding(parts, overall)


def holds_best(evidence: Evidence) -> Finding:
    """Return what the worst abuse takes from each hardened rule, of the rule that loses least.

    Only abuses that all of them met count. Which rule loses least is seen from the same numbers: its loss is biased
    downwards, and the page says so.
    """
    found = harm(evidence, hardened=True, overall=_largest)
    rules: dict[str, dict[str, Numbers]] = {}
    for part in found.parts:
        rule, _, abuse = part.label.partition(_ABUSED)
        rules.setdefault(rule, {})[abuse] = part.numbers
    common = set.intersection(*map(set, rules.values())) if rules else set()
    worst = {
        rule: estimate
        for rule, losses in rules.items()
        if (estimate := _largest([numbers for abuse, numbers in losses.items() if abuse in common]))
    }
    if not worst:
        return found
    best = min(worst, key=lambda rule: worst[rule].mean)
    note = (
        f"The rule that loses least is {best}; it is chosen by the same numbers, so that its loss is biased downwards."
    )
    return Finding(worst[best], found.parts, notes=(note,) if len(worst) > 1 else ())


def is_hardened(one: Trained) -> bool:
    """Tell whether a cell's peers merge by a hardened rule, or with caps."""
    method = one.way.method
    return method.startswith(f"{BRAINTORRENT}, ") and "fresh optimiser" not in method and "of all records" not in method


def _of(cells: Iterable[Trained], method: str) -> list[Trained]:
    return [one for one in cells if one.way.method == method]


def _scores(one: Trained) -> Numbers:
    return _measured(one, score)


def _own(one: Trained) -> Numbers:
    return _measured(one, own_score)


def _measured(one: Trained, taken: Callable[[Result], Taken]) -> Numbers:
    def value(result: Result) -> float | None:
        found = taken(result)
        return None if found is None else found[0]

    return values(one.results, value)


def _part(one: Trained, numbers: Numbers, beside: dict[str, Numbers], other: Trained) -> Part:
    return Part(label_of(one), numbers, beside, (*one.results, *other.results), ratios=frozenset({BYTES}))


def label_of(one: Trained) -> str:
    """Return ``"Brain slices, U-Net, 8 peers, by age, median, abused by sign-flip ×10"``."""
    rule = one.name.removeprefix(f"{BRAINTORRENT}, ") if one.way.method != BRAINTORRENT else ""
    words = [one.data, one.model, f"{one.way.peers} peers", one.way.split, rule]
    place = ", ".join(word for word in words if word)
    return place + (_ABUSED + one.way.abuse if one.way.abuse else "")


def _finding(parts: Sequence[Part], overall: Summary) -> Finding:
    return Finding(overall([part.numbers for part in parts]), tuple(parts))


def _smallest(settings: Sequence[Numbers]) -> Estimate | None:
    return smallest([list(numbers.values()) for numbers in settings])


def _largest(settings: Sequence[Numbers]) -> Estimate | None:
    return largest([list(numbers.values()) for numbers in settings])


@dataclass(frozen=True)
class _Task:
    """A task as claims speak of it."""

    key: str
    name: str
    words: str


_TASKS = (_Task("dice", DICE, "Dice (segmentation, the paper's task)"), _Task("accuracy", ACCURACY, "accuracy"))
_WITHIN = "local updates"


def _about(task: _Task) -> tuple[Claim, ...]:
    quantity = f"clean test {task.words} of BrainTorrent's aggregated model (fp32)"
    claims = []
    for equal in (_WITHIN, "bytes"):
        given = {
            _WITHIN: "as many local updates each, whatever bytes they move",
            "bytes": "as many bytes moved, within 15 % as measured, whatever local updates they make",
        }[equal]
        for key, where, overall, paired in (
            ("average", "on average", average, "mean over settings"),
            ("everywhere", "in every setting", _smallest, "smallest over settings"),
        ):
            claims.append(
                Claim(
                    f"{task.key}-fedavg-{equal.replace(' ', '-')}-{key}",
                    f"{task.name}: better than FedAvg at equal {equal}, {where}", "better",
                    f"{quantity} minus that of FedAvg's global model with {given}; {paired}",
                    "It is above 0", Band(0.0, None, strict=True), "points", STUDY,
                    partial(against_fedavg, task=task.name, equal=equal, overall=overall),
                )
            )  # fmt: skip
    claims.append(
        Claim(
            f"{task.key}-fedavg-fresh-average",
            f"{task.name}: better than FedAvg at equal local updates, both with fresh optimisers, on average",
            "not tried (our question)",
            f"clean test {task.words} of BrainTorrent's aggregated model (fp32) where peers begin each local update "
            "with a fresh optimiser, minus that of FedAvg's global model, whose clients do so, too, with as many local "
            "updates each; mean over settings",
            "It is above 0", Band(0.0, None, strict=True), "points", STUDY,
            partial(against_fedavg, task=task.name, equal=_WITHIN, overall=average, method=FRESH),
        )
    )  # fmt: skip
    for key, where, overall, paired in (
        ("average", "on average", average, "mean over settings"),
        ("everywhere", "in every setting", _largest, "largest over settings"),
    ):
        claims.append(
            Claim(
                f"{task.key}-pooled-{key}", f"{task.name}: close to pooled training, {where}", "close",
                f"clean test {task.words} of pooled training minus that of BrainTorrent's aggregated model (fp32), "
                f"with as many passes over all records; {paired}",
                "“Close” is read as: at most two points below", Band(None, CLOSE), "points", STUDY,
                partial(below_pooled, task=task.name, overall=overall),
            )
        )  # fmt: skip
    claims.append(
        Claim(
            f"{task.key}-alone", f"{task.name}: better than each peer by itself, in every setting", "implied",
            f"mean clean test {task.words} of the peers' own models (fp32) after BrainTorrent minus that after the "
            "same local updates without merging; smallest over settings",
            "It is above 0", Band(0.0, None, strict=True), "points", STUDY,
            partial(against_alone, task=task.name),
        )
    )  # fmt: skip
    return tuple(claims)


BRAINTORRENT_CLAIMS: tuple[Claim, ...] = (
    *_about(_TASKS[0]),
    *_about(_TASKS[1]),
    Claim(
        "trusts-everyone", "One misbehaving peer is enough to harm BrainTorrent", "not tried (our question)",
        "clean test score of the aggregated model (fp32) without a misbehaving peer minus that with one; largest over "
        "abuses and settings, of the protocol as published",
        "“Harm” is read as: more than five points", Band(HARM, None, strict=True), "points", STUDY,
        partial(harm, hardened=False, overall=_largest),
    ),
    Claim(
        "hardening-cost", "Hardened rules cost little where nobody misbehaves", "not tried (our question)",
        "clean test score of BrainTorrent minus that of its hardened variants, aggregated models (fp32), without a "
        "misbehaving peer; largest over rules and settings",
        "“Little” is read as: at most two points", Band(None, CLOSE), "points", STUDY, cost_of_hardening,
    ),
    Claim(
        "hardening-holds", "A hardened rule withstands every abuse tried", "not tried (our question)",
        "clean test score of the aggregated model (fp32) without a misbehaving peer minus that with one, of the "
        "hardened rule that loses least in one setting; largest over abuses",
        "“Withstands” is read as: loses at most five points", Band(None, HARM), "points", STUDY, holds_best,
    ),
)  # fmt: skip
