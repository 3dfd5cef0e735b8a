"""Combinations of {private, compressed, adversarially trained}: which is best against whom, and what each costs.

Cells of any study are told apart, whatever its axes are: by their whole descriptions.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from experiments.study.alike import described
from experiments.study.deciding import average
from experiments.study.evidence import (
    POISONED,
    TARGETS,
    TRAINED,
    Numbers,
    in_turn,
    minus,
    own_generator,
    success,
    unique,
    use,
    without_data,
)
from experiments.study.results import Estimate, Result, estimated, values
from experiments.study.setting import USES, Setting
from experiments.study.trial import Queries, Trial, queries_of, trial_of
from experiments.study.worst_case import bounded_by, comparable
from experiments.tables import THREATS, threats
from experiments.wording import grey_levels

DP = "DP-SGD"


@dataclass(frozen=True)
class Scenario:
    """What no defence changes: the data, the network, who attacks the training, and how hard the model is attacked."""

    data: str
    model: str
    attacker: str
    trial: Trial
    queries: Queries | None

    def title(self) -> str:
        """Return ``"CIFAR-10, ResNet-9, 40 % PGD train-time attack, 8/255"``."""
        words = [self.data, self.model, self.attacker, grey_levels(self.trial.eps)]
        return ", ".join(word for word in words if word)


@dataclass(frozen=True)
class Combination:
    """One model as deployed in one scenario, over its repeats.

    Attributes:
        scenario: what it was tried in.
        setting: its federation's.
        target: ``fp32`` or ``int8``.
        results: its cells, repeat by repeat.
        label: what tells it from the others of its scenario.
    """

    scenario: Scenario
    setting: Setting
    target: str
    results: tuple[Result, ...]
    label: str = ""

    @property
    def private(self) -> bool:
        """Whether the honest clients train with DP-SGD."""
        return self.setting.epsilon is not None

    @property
    def compressed(self) -> bool:
        """Whether it is deployed as int8."""
        return self.target == "int8"

    @property
    def trained(self) -> bool:
        """Whether clients train on adversarial images to defend themselves."""
        return self.setting.use in (TRAINED, USES[3])

    def accuracy(self, threat: str) -> Numbers:
        """Return accuracy of each repeat: ``clean``, or under a threat at its strongest attack, image by image.

        Under ``all`` it is that of ``worst_case.comparable`` over the scenario; ``bounded`` says so.

        The insider holds the fp32 model: against fp32 deployed that is who holds the deployed model.
        """
        if threat == "insider" and not self.compressed:
            threat = "white-box"
        return values(self.results, lambda one: one.accuracy(self.target, threat, own_generator(one, threat)))

    def bounded(self) -> str:
        """Return over which adversaries its worst case is taken, as a sentence; empty: over all, image by image."""
        return bounded_by(self.results, self.target)

    def success(self, threat: str) -> Numbers:
        """Return the share of images, right before, that the threat turned wrong, of each repeat."""
        return success(
            self.results, self.target, "white-box" if threat == "insider" and not self.compressed else threat
        )

    def seconds(self) -> Numbers:
        """Return seconds of the federation."""
        return values(self.results, lambda one: one.manifest.get("seconds", {}).get("federation"))

    def size(self) -> Numbers:
        """Return bytes of the deployed model."""
        return values(self.results, lambda one: one.evaluation.get("compression", {}).get(f"{self.target}_bytes"))

    def sent(self) -> Numbers:
        """Return bytes that all clients sent over all rounds."""
        return values(
            self.results, lambda one: sum(told["up"] for told in one.manifest.get("bytes", {}).values()) or None
        )

    def epsilon(self) -> Numbers:
        """Return the ε that was reached."""
        return values(self.results, lambda one: one.epsilon)


@dataclass(frozen=True)
class Best:
    """The strongest combination under one threat.

    Attributes:
        winner: with the highest mean robust accuracy.
        accuracy: that.
        rivals: the others whose intervals overlap the winner's (or that have none), best first.
        tried: how many combinations were compared.
    """

    winner: Combination
    accuracy: Estimate
    rivals: tuple[Combination, ...]
    tried: int

    @property
    def clear(self) -> bool:
        """Whether it is clearly best: it has an interval and somebody to beat, and no other interval overlaps it."""
        return self.accuracy.low is not None and not self.rivals and self.tried > 1


@dataclass(frozen=True)
class Effect:
    """What one defence changes, all else equal.

    Attributes:
        defence: its name: ``"DP-SGD, ε = 7"``, ``"int8"`` or ``"20 % PGD adversarial training"``.
        kind: its name whatever its strength: ``"DP-SGD"``, ``"int8"`` or ``"adversarial training"``.
        pairs: (with, without), all else equal.
    """

    defence: str
    kind: str
    pairs: tuple[tuple[Combination, Combination], ...]

    def change(self, measured: Callable[[Combination], Numbers]) -> Estimate | None:
        """Return the mean over pairs of with minus without, paired by repeat."""
        return average_or_single([minus(measured(one), measured(other)) for one, other in self.pairs])

    def ratio(self, measured: Callable[[Combination], Numbers]) -> Estimate | None:
        """Return the mean over pairs of with divided by without, paired by repeat."""
        ratios = []
        for one, other in self.pairs:
            below = measured(other)
            ratios.append(
                {repeat: value / below[repeat] for repeat, value in measured(one).items() if below.get(repeat)}
            )
        return average_or_single(ratios)


def combinations(results: Iterable[Result]) -> tuple[Combination, ...]:
    """Return every combination with its repeats, in order of first appearance.

    A federation that several studies evaluate is one combination; where both measured a thing, that cell counts which
    was asked of most threats. The worst cases of a scenario are over the adversaries that all of it met.
    """
    levelled: dict[Scenario, list[Result]] = {}
    for scenario, result in _placed(unique(results)):
        levelled.setdefault(scenario, []).append(result)
    groups: dict[tuple[Scenario, Setting, str], list[Result]] = {}
    for scenario, members in levelled.items():
        for result in comparable(members):
            groups.setdefault((scenario, result.setting, _body(result)), []).append(result)
    found = [
        Combination(scenario, setting, target, in_turn(cells))
        for (scenario, setting, _), cells in groups.items()
        for target in TARGETS
        if any(one.accuracy(target) is not None for one in cells)
    ]
    return _labelled(found)


def scenarios(found: Iterable[Combination]) -> dict[Scenario, tuple[Combination, ...]]:
    """Return the combinations of each scenario."""
    groups: dict[Scenario, list[Combination]] = {}
    for one in found:
        groups.setdefault(one.scenario, []).append(one)
    return {scenario: tuple(members) for scenario, members in groups.items()}


def threats_of(found: Iterable[Combination]) -> tuple[str, ...]:
    """Return the threats that any of them met, ``all`` last."""
    there = {threat for one in found for result in one.results for threat in threats(result.measures)}
    known = [threat for threat in THREATS if threat in there]
    return (*known, *sorted(there - set(known)))


def best(members: Sequence[Combination], threat: str) -> Best | None:
    """Return the strongest combination under a threat (``clean``: without one); None if none was measured.

    Intervals that overlap are no proof that two are alike, and a gap is more than a test at 5 % asks for: "clearly
    best" errs towards a tie.
    """
    rows = [(one, found) for one in members if (found := _estimate(one.accuracy(threat))) is not None]
    if not rows:
        return None
    rows.sort(key=lambda row: -row[1].mean)
    (winner, accuracy), *others = rows
    rivals = tuple(one for one, found in others if _overlap(accuracy, found))
    return Best(winner, accuracy, rivals, len(rows))


def effects(members: Sequence[Combination]) -> tuple[Effect, ...]:
    """Return what each defence changes in one scenario, over all pairs that differ in nothing else."""
    found: dict[tuple[str, str], list[tuple[Combination, Combination]]] = {}
    for one in members:
        for kind, defence, other in _without(one, members):
            found.setdefault((defence, kind), []).append((one, other))
    return tuple(Effect(*names, tuple(pairs)) for names, pairs in found.items())


def together(found: Iterable[Effect]) -> tuple[Effect, ...]:
    """Return the effects of each kind of defence as one, over all strengths and scenarios."""
    kinds: dict[str, list[tuple[Combination, Combination]]] = {}
    for effect in found:
        kinds.setdefault(effect.kind, []).extend(effect.pairs)
    return tuple(Effect(kind, kind, tuple(pairs)) for kind, pairs in kinds.items())


def average_or_single(parts: Sequence[Numbers]) -> Estimate | None:
    """Return the mean over settings as ``deciding.average``; without repeats, the mean alone, without an interval."""
    joint = average(parts)
    if joint is not None:
        return joint
    single = [number for part in parts for number in part.values()]
    return Estimate(sum(single) / len(single), None, None, (sum(single) / len(single),)) if single else None


def _without(one: Combination, members: Sequence[Combination]) -> Iterable[tuple[str, str, Combination]]:
    """Yield (kind, defence, the combination that lacks only this defence)."""
    setting = one.setting
    weaker: list[tuple[str, str, Setting, str, tuple[str, ...]]] = []
    if one.private:
        twin = replace(setting, epsilon=None)
        weaker.append((DP, f"{DP}, {setting.privacy()}", twin, one.target, ("privacy", "private")))
    if one.compressed:
        weaker.append(("int8", "int8", setting, "fp32", ()))
    if one.trained:
        both = setting.use != TRAINED
        twin = replace(setting, use=POISONED) if both else without_data(setting)
        weaker.append((TRAINED, TRAINED if both else use(setting), twin, one.target, ("adversarial_training",)))
    for kind, defence, wanted, target, free in weaker:
        there = (other for other in members if (other.setting, other.target) == (wanted, target))
        twins = [other for other in there if _body(one.results[0], free) == _body(other.results[0], free)]
        if twins:
            yield kind, defence, twins[0]


def _body(result: Result, free: tuple[str, ...] = ()) -> str:
    """Return what a federation and its compression depend on, but for the seed and the ``free`` keys."""
    return described(result, evaluation=False, free=free)


def _placed(results: Iterable[Result]) -> list[tuple[Scenario, Result]]:
    """Return each result with its scenario; those without queries stand with the first that are equal but for these."""
    found = [(_scenario(result), result) for result in results]
    queried: dict[Scenario, Scenario] = {}
    for scenario, _ in found:
        if scenario.queries is not None:
            queried.setdefault(replace(scenario, queries=None), scenario)
    return [(queried.get(scenario, scenario), result) for scenario, result in found]


def _scenario(result: Result) -> Scenario:
    setting, experiment = result.setting, result.cell.experiment
    known = setting.use in ("none", TRAINED)
    attacker = "" if known else use(replace(setting, use=POISONED) if setting.use == USES[3] else setting)
    return Scenario(setting.data, setting.model, attacker, trial_of(experiment), queries_of(experiment))


def _labelled(found: Sequence[Combination]) -> tuple[Combination, ...]:
    """Name each combination; where two of a scenario would have one name, add the axes in which they differ."""
    labelled = [replace(one, label=_label(one)) for one in found]
    named: dict[tuple[Scenario, str], list[Combination]] = {}
    for one in labelled:
        named.setdefault((one.scenario, one.label), []).append(one)
    return tuple(_apart(one, named[one.scenario, one.label]) for one in labelled)


def _apart(one: Combination, alike: Sequence[Combination]) -> Combination:
    if len(alike) == 1:
        return one
    places = [other.results[0].cell.coordinates for other in alike]
    own = one.results[0].cell.coordinates
    varying = [axis for axis in own if len({place.get(axis) for place in places}) > 1]
    told = [f"{axis} = {own[axis]}" for axis in varying] or [one.results[0].cell.study]
    return replace(one, label=", ".join([one.label, *told]))


def _label(one: Combination) -> str:
    words = []
    if one.private:
        words.append(f"DP ({one.setting.privacy()})")
    if one.trained:
        words.append(f"trained on {_data(one.setting)}" if one.setting.use == TRAINED else "adversarially trained")
    if one.compressed:
        words.append("int8")
    return " + ".join(words) or "no defence"


def _data(setting: Setting) -> str:
    return use(setting).removesuffix(f" {TRAINED}")


def _estimate(numbers: Numbers) -> Estimate | None:
    return estimated(list(numbers.values()))


def _overlap(first: Estimate, second: Estimate) -> bool:
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return True
    return first.low <= second.high and second.low <= first.high
