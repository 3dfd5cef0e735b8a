"""Defences: what a target has against an adversary, of privacy, int8 and adversarial training, alone and together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from experiments.study.accuracy_figure import training
from experiments.study.points import Value, words
from experiments.study.setting import Setting

DEFENDED = ("none", "adversarial training")
"""Uses of adversarial data without a malicious client."""


@dataclass(frozen=True, order=True)
class Defence:
    """A combination; ``order`` is from nothing to everything."""

    trained: bool
    private: bool
    small: bool

    def marks(self) -> tuple[bool, bool, bool]:
        """Return whether it is private, int8, adversarially trained."""
        return self.private, self.small, self.trained


def defence_of(setting: Setting, target: str) -> Defence:
    """Return what this target of this setting has."""
    return Defence(setting.use == DEFENDED[1], setting.epsilon is not None, target == "int8")


def representatives(settings: Iterable[Setting]) -> dict[tuple[bool, bool], Setting]:
    """Return one setting for each of (private, adversarially trained), chosen by rule and not by its results.

    The rule: the ε for which most kinds of training are there, the smallest of them; then training on PGD before FGSM
    before others; then the share nearest to 20 % (where the paper sees the best), the smaller of two as near.
    """
    defended = [one for one in settings if one.use in DEFENDED]
    kinds: dict[float, set[str]] = {}
    for one in defended:
        if one.epsilon is not None:
            kinds.setdefault(one.epsilon, set()).add(one.use)
    attacks = ("pgd", "fgsm")

    def rank(one: Setting) -> tuple[float, ...]:
        epsilon = one.epsilon or 0.0
        share = one.share or 0.0
        attack = attacks.index(one.attack) if one.attack in attacks else len(attacks)
        return -len(kinds.get(epsilon, ())), epsilon, attack, round(abs(share - 0.2), 6), share

    chosen: dict[tuple[bool, bool], Setting] = {}
    for one in sorted(defended, key=rank):
        chosen.setdefault((one.epsilon is not None, one.use == DEFENDED[1]), one)
    return chosen


def name(where: Mapping[str, Value]) -> str:
    """Return a point's federation and target: ``ε = 1.7, trained on PGD, 20 %, int8``."""
    parts = [words("epsilon", where["epsilon"])]
    if where["use"] != "none":
        parts.append(training(where["use"], where["training attack"], where["share"]))
    return ", ".join([*parts, *([str(where["target"])] if where.get("target") else [])])
