"""Evidence for a claim: finished cells put side by side, setting by setting and repeat by repeat."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isclose
from typing import Any

from experiments.study.deciding import largest, smallest
from experiments.study.results import Estimate, Result, values
from experiments.study.setting import Setting
from experiments.study.trial import Trial, trial_of
from experiments.tables import select, worst
from experiments.wording import percent

BUDGET = 8 / 255
"""The paper's, of every attack at inference."""
TARGETS = ("fp32", "int8")
TRAINED = "adversarial training"
POISONED = "train-time attack"
PRIVATE, NON_PRIVATE = "private", "non-private"
"""What the studies call their transfer generators."""

Numbers = Mapping[int, float]
"""Repeat → value."""


@dataclass(frozen=True)
class Part:
    """What one setting contributes.

    Attributes:
        label: the setting, for people.
        numbers: what is decided on.
        beside: further columns, name → numbers; what may explain it away.
        results: the cells behind it.
        differences: which of the columns are differences of shares.
        ratios: which of them are ratios.
    """

    label: str
    numbers: Numbers
    beside: Mapping[str, Numbers] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    differences: frozenset[str] = frozenset()
    ratios: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Finding:
    """What was measured for a claim.

    Attributes:
        ours: the quantity, with its interval; None: nothing to go by.
        parts: setting by setting.
        undecided: why the interval must not decide, though it is there; empty: it may.
        notes: sentences that belong beside the number.
    """

    ours: Estimate | None
    parts: tuple[Part, ...] = ()
    undecided: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """All that claims are judged by.

    Attributes:
        results: finished cells of any studies; a cell may occur twice.
        facts: ``facts.json``: sizes, seconds of attacks, faults; any of it may be missing.
    """

    results: Sequence[Result]
    facts: Mapping[str, Any]


def finding(parts: Sequence[Part], overall: Callable[[Sequence[Numbers]], Estimate | None]) -> Finding:
    """Return what settings come to together."""
    return Finding(overall([part.numbers for part in parts]), tuple(parts))


def smallest_of(settings: Sequence[Numbers]) -> Estimate | None:
    """Return the smallest over settings (``deciding.smallest``)."""
    return smallest([list(numbers.values()) for numbers in settings])


def largest_of(settings: Sequence[Numbers]) -> Estimate | None:
    """Return the largest over settings (``deciding.largest``)."""
    return largest([list(numbers.values()) for numbers in settings])


def clean_groups(results: Iterable[Result]) -> dict[Setting, tuple[Result, ...]]:
    """Return the cells of each federation's setting; what they are attacked with does not matter to clean scores."""
    return _grouped(results, lambda result: replace(result.setting, budget=0.0))


def attacked_groups(results: Iterable[Result]) -> dict[tuple[Setting, Trial], tuple[Result, ...]]:
    """Return the cells of each setting and trial at the paper's budget.

    Of a repeat that several cells attacked, the one that was asked of most threats comes first, so that it counts.
    """
    at_budget = [result for result in results if isclose(result.setting.budget, BUDGET, rel_tol=1e-6)]
    return _grouped(at_budget, lambda result: (result.setting, trial_of(result.cell.experiment)))


def minus(first: Numbers, second: Numbers) -> Numbers:
    """Return ``first - second`` over the repeats of both."""
    return {repeat: value - second[repeat] for repeat, value in first.items() if repeat in second}


def clean(group: Iterable[Result], target: str) -> Numbers:
    """Return clean accuracy of each repeat."""
    return values(group, lambda result: result.accuracy(target))


def under(group: Iterable[Result], target: str, threat: str) -> Numbers:
    """Return robust accuracy of each repeat, in [0, 1]; transfer from the generator of the target's own privacy."""
    return values(group, lambda result: result.accuracy(target, threat, own_generator(result, threat)))


def under_generator(group: Iterable[Result], target: str, generator: str) -> Numbers:
    """Return robust accuracy of each repeat against what one transfer generator crafted."""
    return values(group, lambda result: result.accuracy(target, "transfer", generator))


def success(group: Iterable[Result], target: str, threat: str, generator: str | None = None) -> Numbers:
    """Return the share of images, right before, that the threat turned wrong, of each repeat.

    It does not suffer from a low clean accuracy, as robust accuracy does. Repeats without an image that was right have
    none.

    Args:
        group: cells of one setting.
        target: ``fp32`` or ``int8``.
        threat: its name.
        generator: of a transfer attack; None: of the target's own privacy.
    """

    def measured(result: Result) -> float | None:
        name = generator if generator is not None else own_generator(result, threat)
        found = worst(result.measures, target, threat, "attack_success", name)
        return None if found is None else found.value

    return values(group, measured)


def own_generator(result: Result, threat: str) -> str | None:
    """Return the transfer generator whose federation was as private as the target's; None: all that there are."""
    if threat != "transfer":
        return None
    name = NON_PRIVATE if result.setting.epsilon is None else PRIVATE
    return name if select(result.measures, threat=threat, generator=name) else None


def label(setting: Setting, *more: str) -> str:
    """Return ``"CIFAR-10, ResNet-9, ε = 1.7, 20 % PGD adversarial training, int8"``."""
    words = [setting.data, setting.model, setting.privacy()]
    return ", ".join([*words, *([use(setting)] if setting.use != "none" else []), *more])


def use(setting: Setting) -> str:
    """Return ``"20 % PGD adversarial training"``, or ``"no adversarial data"``."""
    if setting.use == "none":
        return "no adversarial data"
    share = "" if setting.share is None else f"{percent(setting.share, 0)} "
    return share + (f"{setting.attack.upper()} " if setting.attack else "") + setting.use


def without_data(setting: Setting) -> Setting:
    """Return the same setting without any adversarial training data."""
    return replace(setting, use="none", attack=None, share=None)


def flagged(results: Iterable[Result], target: str) -> tuple[int, tuple[str, ...]]:
    """Return how many evaluations flagged a target's robust accuracies as not to be believed, and their sentences."""
    cells, sentences = 0, []
    for result in unique(results):
        mine = [
            str(warning["sentence"])
            for warning in result.evaluation.get("warnings", ())
            if warning.get("severity") == "unreliable" and str(warning.get("sentence", "")).startswith(f"{target}:")
        ]
        cells += bool(mine)
        sentences += mine
    return cells, tuple(dict.fromkeys(sentences))


def unique(results: Iterable[Result]) -> tuple[Result, ...]:
    """Return each finished cell once, though several studies or settings ask for it."""
    return tuple({result.path: result for result in results}.values())


def in_turn(results: Iterable[Result]) -> tuple[Result, ...]:
    """Return cells repeat by repeat; of several of one repeat the one first that was asked of most threats."""
    return tuple(sorted(results, key=lambda one: (one.cell.repeat, -len(one.cell.experiment.evaluation.threats))))


def _grouped(results: Iterable[Result], key: Callable[[Result], Any]) -> dict[Any, tuple[Result, ...]]:
    groups: dict[Any, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return {name: in_turn(found) for name, found in groups.items()}
