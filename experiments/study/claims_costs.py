"""What the released code's faults change, and what attacks and defences cost in time: two parts of the claims page."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from experiments.model_card import literal
from experiments.study import phrasing
from experiments.study.deciding import average
from experiments.study.evidence import Numbers, clean_groups, use, without_data
from experiments.study.results import Result, estimated, values
from experiments.study.setting import Setting
from experiments.wording import duration, sentence


def faults(facts: Mapping[str, Any]) -> list[str]:
    """Return the paragraphs on the released code's faults, Markdown."""
    found = facts.get("faults") or []
    if not found:
        return ["Not measured."]
    rows = []
    for fault in found:
        there, here = list(fault["released"]), list(fault["ours"])
        accuracy = fault["unit"] == "accuracy"
        show, apart = (phrasing.share, phrasing.points) if accuracy else (phrasing.number, phrasing.number)
        rows.append(
            (
                _name(fault) + ("" if accuracy else f" ({literal(fault['unit'])})"),
                show(estimated(there)),
                show(estimated(here)),
                apart(estimated([one - other for one, other in zip(there, here, strict=False)])),
                f"{fault['n']:,}",
            )
        )
    return [
        "Each fault of the released code by itself, on our models: what its way measures, what ours does, and the "
        "difference, paired by repeat. An effect that is smaller than a fault's difference may be that fault.",
        phrasing.table(("fault", "as released (95 %; n)", "here (95 %; n)", "difference", "images"), rows),
        "\n".join(f"- **{_name(fault)}.** {literal(fault['sentence'])}" for fault in found),
    ]


def costs(results: Iterable[Result], facts: Mapping[str, Any]) -> list[str]:
    """Return the paragraphs on seconds: of attacks, and of federations with a defence against those without."""
    parts = []
    if rows := _attacks(facts.get("attack_seconds") or {}):
        parts += [
            "CPU seconds to craft the same images, one attack after the other:",
            phrasing.table(("attack", "CPU seconds (95 %; n)", "times FGSM (95 %; n)"), rows),
        ]
    if rows := _federations(results):
        head = ("federation", "against", "seconds of training, times (95 %; n)", "ours takes")
        parts += [
            "Seconds of a whole federation by the clock, paired by repeat, mean over settings; several cells ran on "
            "the machine at once:",
            phrasing.table(head, rows),
        ]
    return parts or ["Not measured."]


def _name(fault: Mapping[str, Any]) -> str:
    return sentence(str(literal(fault["name"]))).removesuffix(".")


def _attacks(seconds: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, taken in seconds.items():
        pairs = zip(taken, seconds.get("fgsm", ()), strict=False)
        ratios = estimated([one / other for one, other in pairs if other > 0])
        rows.append((str(literal(name.upper())), phrasing.number(estimated(list(taken))), phrasing.times(ratios)))
    return rows


def _federations(results: Iterable[Result]) -> list[tuple[str, ...]]:
    groups = clean_groups(results)
    found: dict[tuple[str, str], list[tuple[Numbers, Numbers]]] = {}
    for setting, group in groups.items():
        key, without = _against(setting)
        if without is not None and without in groups:
            found.setdefault(key, []).append((_seconds(group), _seconds(groups[without])))
    rows: list[tuple[str, ...]] = []
    for (name, against), pairs in found.items():
        ratios = average([_ratios(one, other) for one, other in pairs])
        spent = [value for one, _ in pairs for value in one.values()]
        if ratios is not None:
            rows.append((str(literal(name)), against, phrasing.times(ratios), duration(sum(spent) / len(spent))))
    return rows


def _against(setting: Setting) -> tuple[tuple[str, str], Setting | None]:
    """Return ((what it is, against what), the setting to compare with); None for a plain federation."""
    where = f"{setting.data}, {setting.model}"
    if setting.use != "none":
        return (f"{use(replace(setting, share=None))}, {where}", "without adversarial data"), without_data(setting)
    if setting.epsilon is not None:
        return (f"DP-SGD, {where}", "without privacy"), replace(setting, epsilon=None)
    return ("", ""), None


def _seconds(group: Iterable[Result]) -> Numbers:
    def taken(result: Result) -> float | None:
        return result.manifest.get("seconds", {}).get("federation") or None

    return values(group, taken)


def _ratios(one: Numbers, other: Numbers) -> Numbers:
    return {repeat: value / other[repeat] for repeat, value in one.items() if repeat in other}
