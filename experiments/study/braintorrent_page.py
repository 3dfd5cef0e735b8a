"""What became of BrainTorrent's claims, as Markdown: generated from finished cells; same cells, same bytes."""

from collections.abc import Callable, Sequence

from experiments.study.claims import Verdict, judge
from experiments.study.claims_braintorrent import BRAINTORRENT_CLAIMS
from experiments.study.claims_page import SHOW, whole_page
from experiments.study.results import Result

RULES = """
A claim is decided by one interval and nothing else: **confirmed** if the whole 95 % interval lies in what the claim
asserts, **refuted** if it lies wholly outside, **not decidable at this scale** otherwise. Intervals are Student's t
over repeats of the training; every difference is paired by repeat, which shares records, partition, initial weights
and test images. Where a smallest or largest over settings is printed, it is the one *seen*, biased away from the rest;
its interval is not: the end that a lucky setting could break holds for all settings at once (Bonferroni). Where one of
several rules is chosen by the same numbers, the end that a lucky rule could break holds for all rules at once.
""".strip()

CAVEATS = """
- All repeats share one partition and one test split: the intervals tell the luck of initial weights, of batches and of
  the order of initiators, not that of who holds what.
- Equal local updates is equal work: the same passes over the same records. Equal bytes is not: FedAvg works longer
  where BrainTorrent moves more, and shorter where it moves less. Bytes are equal within 15 % on average over repeats;
  in a single repeat they may differ by more, since the order of initiators decides what is new. A setting without such
  a FedAvg is left out of claims at equal bytes, and named there.
- FedAvg's and pooled clients begin each round with a fresh optimiser; BrainTorrent's peers keep theirs, as published.
  “fresh optimiser” is BrainTorrent without that advantage.
- The aggregated model is nobody's: to have it, every peer must give its model once more. Those bytes are not counted.
- A rule that withstands the abuses tried here may fall to one made against it.
- A Student interval over three repeats is wide. "Not decidable" says that of this scale, not of the claim.
""".strip()


def braintorrent_page(
    results: Sequence[Result], scale: str, command: Callable[[str], str], *, level: str = "##"
) -> str:
    """Return the verdicts with everything that belongs to them.

    Args:
        results: finished cells of all of BrainTorrent's studies.
        scale: the scale's name and description, as the study file has them.
        command: the name of a study → the command that runs it.
        level: what a heading begins with.
    """
    verdicts = judge(results, {}, command, BRAINTORRENT_CLAIMS)
    return whole_page(verdicts, results, scale, RULES, CAVEATS, level, answers(verdicts))


def answers(verdicts: Sequence[Verdict]) -> list[str]:
    """Return what became of "better than FedAvg, close to pooled", a sentence a task that was measured."""
    found = {one.asked.key: one for one in verdicts}
    told = []
    for key, name in (("dice", "Dice"), ("accuracy", "accuracy")):
        mine = {end: found[f"{key}-{end}"] for end in _ASKED if f"{key}-{end}" in found}
        if not any(one.ours for one in mine.values()):
            continue
        words = [f"{text} **{mine[end].verdict}** ({SHOW['points'](mine[end].ours)})" for end, text in _ASKED.items()]
        told.append(f"By {name}, on average over settings: {'; '.join(words)}.")
    return told


_ASKED = {
    "fedavg-local-updates-average": "better than FedAvg at equal local updates:",
    "fedavg-fresh-average": "with fresh optimisers in both:",
    "fedavg-bytes-average": "at equal bytes:",
    "pooled-average": "close to pooled training:",
}
