"""BrainTorrent's claims, and ours about who breaks it: what finished cells say of each.

Guha Roy et al. 2019, "BrainTorrent: A peer-to-peer environment for decentralized federated learning" (arXiv
1905.06731): better than FedAvg with a server, close to pooled training. Every comparison is paired by repeat, which
shares data, partition and initial weights.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean

from experiments.study.claims import Claim
from experiments.study.deciding import TAIL, Band, average, bounds, largest
from experiments.study.evidence import (
    Evidence,
    Finding,
    Numbers,
    Part,
    finding,
    largest_of,
    minus,
    smallest_of,
)
from experiments.study.outcome import (
    ABOUT,
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
from experiments.wording import listed, percent

CLOSE, HARM = 0.02, 0.05
"""What "close to" asserts of a distance, and from where on a loss is called harm: two points, five points."""
STUDY = "claims"
_ABUSED = ", abused by "
BYTES = "FedAvg's bytes, times BrainTorrent's"
_EQUAL_BYTES = f"within {percent(ABOUT, 0)} on average over repeats"
Summary = Callable[[Sequence[Numbers]], Estimate | None]


def settings_of(evidence: Evidence, task: str) -> list[Trained]:
    """Return the cells of a task that nobody abuses."""
    return [one for one in trained(evidence.results) if one.task == task and not one.way.abuse]


def against_fedavg(
    evidence: Evidence, *, task: str, equal: str, overall: Summary, method: str = BRAINTORRENT
) -> Finding:
    """Return by how much BrainTorrent's score exceeds FedAvg's, setting by setting.

    A note names the settings that are left out because no FedAvg moved as many bytes.

    Args:
        evidence: all finished cells.
        task: ``Dice`` or ``accuracy``.
        equal: ``local updates`` or ``bytes``, as measured on average over repeats.
        overall: parts → the quantity.
        method: whose; BrainTorrent as published, or a variant.
    """
    cells = settings_of(evidence, task)
    parts = []
    left: list[str] = []
    for ours in _of(cells, method):
        others: list[float] = []
        found = False
        for theirs in _of(cells, FEDAVG):
            if not same_place(ours, theirs):
                continue
            ratio = bytes_ratio(theirs, ours)
            if ours.way.updates == theirs.way.updates if equal == "local updates" else as_many(ratio.values()):
                beside = {method: _scores(ours), FEDAVG: _scores(theirs), BYTES: ratio}
                parts.append(_part(ours, minus(_scores(ours), _scores(theirs)), beside, theirs))
                found = True
            elif ratio:
                others.append(mean(ratio.values()))
        if others and not found and equal == "bytes":
            nearest = min(others, key=lambda one: abs(one - 1))
            left.append(f"{label_of(ours)} ({nearest:.2f} times {method}'s)")
    note = f"Left out, because FedAvg's bytes are not {method}'s {_EQUAL_BYTES}: {'; '.join(left)}."
    return Finding(finding(parts, overall).ours, tuple(parts), notes=(note,) if left else ())


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
    return finding(parts, overall)


def against_alone(evidence: Evidence, *, task: str) -> Finding:
    """Return by how much BrainTorrent's own models exceed those of peers that merge nothing, means over the peers."""
    cells = settings_of(evidence, task)
    parts = []
    for ours in _of(cells, BRAINTORRENT):
        for alone in _of(cells, ALONE):
            if same_place(ours, alone) and ours.way.updates == alone.way.updates:
                beside = {"its own models": _own(ours), ALONE: _scores(alone)}
                parts.append(_part(ours, minus(_own(ours), _scores(alone)), beside, alone))
    return finding(parts, smallest_of)


def cost_of_hardening(evidence: Evidence) -> Finding:
    """Return what each hardened rule loses against BrainTorrent where nobody misbehaves."""
    cells = [one for one in trained(evidence.results) if not one.way.abuse]
    parts = []
    for ours in _of(cells, BRAINTORRENT):
        for hardened in cells:
            if is_hardened(hardened) and same_place(ours, hardened) and ours.way.updates == hardened.way.updates:
                beside = {BRAINTORRENT: _scores(ours), "hardened": _scores(hardened)}
                parts.append(_part(hardened, minus(_scores(ours), _scores(hardened)), beside, ours))
    return finding(parts, largest_of)


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
    return finding(parts, overall)


def holds_best(evidence: Evidence) -> Finding:
    """Return what the worst abuse takes from the hardened rule that loses least.

    Which rule that is, only abuses decide that all of them met; what it loses is the largest over all that it met
    itself. An abuse with a single repeat does not count. The rule is chosen by the same numbers, so that the loss seen
    is biased downwards; the interval allows for that.
    """
    found = harm(evidence, hardened=True, overall=largest_of)
    rules: dict[str, dict[str, list[list[float]]]] = {}
    for part in found.parts:
        if len(part.numbers) > 1:
            rule, _, abuse = part.label.partition(_ABUSED)
            rules.setdefault(rule, {}).setdefault(abuse, []).append(list(part.numbers.values()))
    if not rules:
        return found
    common = set.intersection(*map(set, rules.values()))
    if not common:
        return Finding(None, found.parts, "no abuse was tried on every hardened rule, so that none can be chosen")
    seen = {rule: max(mean(one) for abuse in common for one in met[abuse]) for rule, met in rules.items()}
    best = min(seen, key=lambda rule: seen[rule])
    losses = {rule: [one for several in met.values() for one in several] for rule, met in rules.items()}
    notes = []
    if len(rules) > 1:
        notes.append(
            f"The rule that loses least to what all rules met is {best}; it is chosen by the same numbers, so that the "
            f"loss seen is biased downwards. The interval is not: its upper end holds for all {len(rules)} rules at "
            "once (Bonferroni), its lower end is that of whichever rule may lose least to all that it met."
        )
    published = harm(evidence, hardened=False, overall=largest_of)
    tried = [part.label.partition(_ABUSED)[2] for part in (*published.parts, *found.parts)]
    if missed := [abuse for abuse in dict.fromkeys(tried) if abuse not in rules[best]]:
        notes.append(f"It says nothing of what {best} did not meet twice: {listed(missed)}.")
    others = [several for rule, several in losses.items() if rule != best]
    return Finding(chosen(losses[best], others), found.parts, notes=tuple(notes))


def chosen(settings: Sequence[Sequence[float]], others: Sequence[Sequence[Sequence[float]]]) -> Estimate | None:
    """Return the largest mean over the settings of one family that was chosen among several for being small.

    The 95 % interval holds the largest true mean of the chosen family, and the smallest of all families' largest true
    means as well. Its upper end comes from bounds that hold for all families at once (Bonferroni), so that it does not
    matter how one was chosen. Its lower end is the lowest of all families' lower ends: only the family whose largest
    true mean is smallest can break it.

    Args:
        settings: of the chosen family, the repeats of each setting; at least two repeats.
        others: the settings of each other family, likewise.
    """
    found = largest(settings)
    if found is None:
        return None
    high = max(bounds(numbers, TAIL / (1 + len(others)))[1] for numbers in settings)
    ends = [one.low for one in (found, *map(largest, others)) if one is not None and one.low is not None]
    return Estimate(found.mean, min(ends), high, found.values)


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
            "bytes": f"as many bytes moved, as measured, {_EQUAL_BYTES}, whatever local updates they make",
        }[equal]
        for key, where, overall, paired in (
            ("average", "on average", average, "mean over settings"),
            ("everywhere", "in every setting", smallest_of, "smallest over settings"),
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
        ("everywhere", "in every setting", largest_of, "largest over settings"),
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
        partial(harm, hardened=False, overall=largest_of),
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
        "hardened rule in one setting that loses least to what all of them met; largest over all abuses that it met",
        "“Withstands” is read as: loses at most five points", Band(None, HARM), "points", STUDY, holds_best,
    ),
)  # fmt: skip
