"""What differential privacy does to robustness: the measurements behind the paper's claims on it."""

from dataclasses import replace

from experiments.study.deciding import average, farthest, smallest
from experiments.study.evidence import (
    NON_PRIVATE,
    POISONED,
    PRIVATE,
    TARGETS,
    Evidence,
    Finding,
    Numbers,
    Part,
    attacked_groups,
    clean,
    clean_groups,
    label,
    minus,
    success,
    under,
    under_generator,
    without_data,
)
from experiments.study.results import Result
from experiments.study.setting import Setting
from experiments.study.trial import Trial
from experiments.tables import select

Groups = dict[tuple[Setting, Trial], tuple[Result, ...]]


def within(evidence: Evidence) -> Finding:
    """Return the largest distance between DP and non-DP robust accuracy under transfer."""
    groups, parts = attacked_groups(evidence.results), []
    for (setting, trial), private in groups.items():
        twin = groups.get((replace(setting, epsilon=None), trial), ())
        if setting.epsilon is None or setting.use != "none":
            continue
        for target in TARGETS:
            numbers = minus(under(private, target, "transfer"), under(twin, target, "transfer"))
            if numbers:
                succeeded = [success(group, target, "transfer") for group in (private, twin)]
                beside = {
                    "clean accuracy": minus(clean(private, target), clean(twin, target)),
                    "attack success": minus(*succeeded),
                }
                parts.append(Part(label(setting, target), numbers, beside, (*private, *twin), frozenset(beside)))
    return Finding(farthest([list(part.numbers.values()) for part in parts]), tuple(parts))


def private_generator(evidence: Evidence) -> Finding:
    """Return the smallest success of a DP generator's images on another DP model."""
    parts = []
    for setting, group in strongest(attacked_groups(evidence.results)):
        for target in TARGETS:
            if numbers := success(group, target, "transfer", PRIVATE):
                beside = {
                    "accuracy left": under_generator(group, target, PRIVATE),
                    "clean accuracy": clean(group, target),
                    "success of a non-private generator": success(group, target, "transfer", NON_PRIVATE),
                }
                parts.append(Part(label(setting, target), numbers, beside, group))
    return Finding(smallest([list(part.numbers.values()) for part in parts]), tuple(parts))


def generators_apart(evidence: Evidence) -> Finding:
    """Return how much more accuracy a non-private generator leaves a DP model than a private one does."""
    parts = []
    for setting, group in strongest(attacked_groups(evidence.results)):
        for target in TARGETS:
            strong, weak = (under_generator(group, target, name) for name in (PRIVATE, NON_PRIVATE))
            if numbers := minus(weak, strong):
                beside = {
                    "non-private generator leaves": weak,
                    "private generator leaves": strong,
                    "clean accuracy": clean(group, target),
                }
                parts.append(Part(label(setting, target), numbers, beside, group))
    return Finding(average([part.numbers for part in parts]), tuple(parts))


def strongest(groups: Groups) -> list[tuple[Setting, tuple[Result, ...]]]:
    """Return the settings without adversarial data of the smallest ε of each data set and model, in order.

    Of those that met a DP generator, one for each data set and model: of several trials the first.
    """
    found: dict[tuple[str, str], tuple[Setting, Trial]] = {}
    for (setting, trial), group in groups.items():
        key = (setting.data, setting.model)
        if setting.epsilon is None or setting.use != "none":
            continue
        if not any(select(one.measures, threat="transfer", generator=PRIVATE) for one in group):
            continue
        if key not in found or setting.epsilon < (found[key][0].epsilon or 0):
            found[key] = (setting, trial)
    return [(place[0], groups[place]) for place in found.values()]


def blunted_clean(evidence: Evidence) -> Finding:
    """Return how much less clean accuracy the train-time attacker takes from the DP federation."""
    parts = []
    groups = clean_groups(evidence.results)
    for setting, private in groups.items():
        rows = [groups.get(one, ()) for one in _square(setting)]
        if _attacked(setting):
            parts += _blunted(setting, [clean(row, "fp32") for row in rows], (*private, *rows[2]))
    return _blunting(parts)


def blunted_robust(evidence: Evidence) -> Finding:
    """Return how much less robust accuracy it takes, under the strongest threat that all four federations met."""
    parts = []
    groups = attacked_groups(evidence.results)
    for (setting, trial), private in groups.items():
        if not _attacked(setting):
            continue
        rows = [groups.get((one, trial), ()) for one in _square(setting)]
        for threat in ("white-box", "transfer"):
            numbers = [under(row, "fp32", threat) for row in rows]
            if found := _blunted(setting, numbers, (*private, *rows[2]), threat):
                parts += found
                break
    return _blunting(parts)


def _attacked(setting: Setting) -> bool:
    held = setting.share is not None and abs(setting.share - 0.4) < 0.005
    return setting.use == POISONED and setting.epsilon is not None and held


def _square(setting: Setting) -> tuple[Setting, Setting, Setting, Setting]:
    """Return the settings: DP attacked, DP honest, non-DP attacked, non-DP honest."""
    twin = replace(setting, epsilon=None)
    return setting, without_data(setting), twin, without_data(twin)


def _blunted(setting: Setting, rows: list[Numbers], results: tuple[Result, ...], *more: str) -> list[Part]:
    """Return the damage without DP minus that with DP, from the accuracies in the order of ``_square``."""
    attacked, honest, twin_attacked, twin_honest = rows
    private, non_private = minus(honest, attacked), minus(twin_honest, twin_attacked)
    numbers = minus(non_private, private)
    if not numbers:
        return []
    beside = {"damage without DP": non_private, "damage with DP": private}
    return [Part(label(setting, *more), numbers, beside, results, frozenset(beside))]


def _blunting(parts: list[Part]) -> Finding:
    ours = average([part.numbers for part in parts])
    harm = average([part.beside["damage without DP"] for part in parts])
    undecided = ""
    if ours is not None and (harm is None or harm.low is None or harm.low <= 0):
        undecided = "the attacker is not shown to do any damage without DP, so there is nothing to blunt"
    return Finding(ours, tuple(parts), undecided)
