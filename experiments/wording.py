"""Numbers and findings in words, as reports and model cards print them; fractions become per cent only here."""

import math
from collections.abc import Mapping, Sequence

from common.intervals import wilson
from common.records import Task
from experiments.run_files import Run
from experiments.run_formats import Answer, ClientLedger, DataFacts, Evaluated, Ledger
from experiments.tables import TARGETS, targets, threats, worst
from server.manifest import DESCRIBED
from server.measures import Measure

NONE = "–"
NOT_MEASURED = "not measured"
NO_DOT_PRODUCT = "This processor has no 8-bit dot product (VNNI): int8 gains less time here than where there is one."
QUESTIONS = ("private", "robust", "small", "useful")
HEADINGS = {
    "clean": ("No adversary", "unchanged images"),
    "white-box": ("White-box", "holds the deployed model"),
    "insider": ("Insider", "holds the fp32 global model"),
    "transfer": ("Transfer", "holds another model"),
    "query": ("Query", "only asks for answers"),
    "all": ("All together", "worst over every adversary"),
}
"""Threat → (heading, what the adversary holds, in a few words)."""


def on_threads(threads: int | None) -> str:
    """Return ``, one thread`` or ``, 4 threads``; empty where nobody wrote it down."""
    return "" if threads is None else ", one thread" if threads == 1 else f", {threads} threads"


def heading(threat: str) -> str:
    """Return a threat's heading; one that psreval does not know is its own."""
    return HEADINGS.get(threat, (threat, ""))[0]


def percent(share: float | None, digits: int = 1) -> str:
    """Return ``"31.5 %"`` for 0.315."""
    return NONE if share is None else f"{100 * share:.{digits}f} %"


def interval(low_high: tuple[float, float] | None) -> str:
    """Return ``"27.6–35.7"`` (per cent) for (0.276, 0.357)."""
    return "" if low_high is None else f"{100 * low_high[0]:.1f}–{100 * low_high[1]:.1f}"


def estimate(measure: Measure | None) -> str:
    """Return ``"31.5 % (27.6–35.7)"``; the interval is the 95 % one."""
    if measure is None:
        return NONE
    within = interval(measure.interval())
    return percent(measure.value) + (f" ({within})" if within else "")


def grey_levels(budget: float | None) -> str:
    """Return ``"8/255"`` for 8 grey levels (to a thousandth of one), else the number to three digits."""
    if budget is None:
        return NONE
    levels = budget * 255
    return f"{round(levels)}/255" if math.isclose(levels, round(levels), abs_tol=1e-3) else f"{budget:.3g}"


def size(count: int | float | None) -> str:
    """Return bytes in kB or MB, three digits: ``"2.48 MB"``."""
    if count is None:
        return NONE
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= power * 0.9995:
            return f"{_three_digits(count / power)} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float | None) -> str:
    """Return ``"0.4 s"``, ``"42 s"``, ``"3 min 5 s"`` or ``"2 h 10 min"``."""
    if seconds is None:
        return NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def epsilon(value: float | None) -> str:
    """Return ``"ε = 6.90"``; None is no guarantee at all."""
    return "no guarantee" if value is None else f"ε = {value:.2f}"


def power_of_ten(value: float | None) -> str:
    """Return δ = 1e-5 as ``"10⁻⁵"``."""
    if value is None or value <= 0:
        return NONE
    mantissa, exponent = f"{value:.1e}".split("e")
    raised = "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return raised if mantissa == "1.0" else f"{mantissa.removesuffix('.0')}·{raised}"


def sentence(text: str) -> str:
    """Return ``text`` with a capital and a full stop; fp32 and int8 have no capitals."""
    text = text.strip()
    first = text[:1] if text.startswith(TARGETS) else text[:1].upper()
    return first + text[1:] + ("" if not text or text[-1] in ".!?" else ".")


def source(data: DataFacts) -> str:
    """Return where the data comes from; synthetic data is called so."""
    marked = data.synthetic and "synthetic" not in data.source.lower()
    return data.source + (" (synthetic)" if marked else "")


def listed(words: Sequence[str], last: str = "and") -> str:
    """Return ``"a, b and c"``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""


def score(data: DataFacts) -> str:
    """Return what a run is judged by: ``"accuracy"``, or, where every pixel has a class, ``"Dice"``."""
    return "Dice" if data.task == "segmentation" else "accuracy"


def unseeing(data: DataFacts) -> str:
    """Return what a model that never looks reaches, in words."""
    if data.task == "segmentation":
        return "the Dice of one mask for all images, each pixel's commonest class, which needs no look at them"
    return "the share of the commonest class, which a model that never looks reaches"


def spread(data: DataFacts) -> str:
    """Return whose intervals a run's are."""
    return "Student's over the images" if data.task == "segmentation" else "Wilson"


def headline(evaluation: Evaluated) -> str:
    """Return the verdict as one sentence: ``"Private, small and useful, but not robust."``"""
    answers = {question: getattr(evaluation.verdict, question) for question in QUESTIONS}
    yes = [question for question, answer in answers.items() if answer.holds]
    no = [question for question, answer in answers.items() if answer.holds is False]
    undecided = [question for question, answer in answers.items() if answer.holds is None]
    if len(no) == len(QUESTIONS):
        return "Neither private, nor robust, nor small, nor useful."
    decided = ", but ".join(part for part in (listed(yes), listed([f"not {question}" for question in no])) if part)
    open_ = f"whether it is {listed(undecided)} is not decided" if undecided else ""
    return sentence("; ".join(part for part in (decided, open_) if part))


def against_whom(run: Run) -> str:
    """Return who hurts the model that is deployed most, in a sentence with n and interval, or that nobody tried."""
    target = "int8" if "int8" in targets(run.measures) else "fp32"
    rows = [
        (threat, found)
        for threat in threats(run.measures)
        if threat != "all" and (found := worst(run.measures, target, threat))
    ]
    if not rows:
        return "No attack was tried, so nothing is known of the model's robustness."
    threat, found = min(rows, key=lambda row: row[1].value)
    name = heading(threat).lower() + (f" from {found.generator}" if found.generator and threat == "transfer" else "")
    return (
        f"Of the adversaries tried, {name} is the strongest: with changes of at most "
        f"{grey_levels(found.eps or run.experiment.evaluation.eps)} it leaves the {target} model "
        f"{'a mean Dice' if run.manifest.data.task == 'segmentation' else 'an accuracy'} of "
        f"{estimate(found)}, n = {found.n}."
    )


def threshold(question: str, answer: Answer) -> str:
    """Return what was asked for, and whether the description or psreval's defaults asked."""
    if answer.threshold is None:
        return "nothing asked for"
    wanted = f"ε ≤ {answer.threshold:g}" if question == "private" else f"≥ {percent(answer.threshold, 0)}"
    if question != "private" and not math.isclose(answer.threshold * 100, round(answer.threshold * 100)):
        wanted = f"≥ {percent(answer.threshold)}"
    return f"asked: {wanted} ({'stated' if answer.stated else 'default'})"


def whose_epsilon(ledger: Ledger) -> list[str]:
    """Return sentences that say for whose records the printed ε holds, and for whose it does not."""
    honest = [client for client in ledger.clients if client.honest]
    return [_worst_honest(honest, ledger.worst_honest_epsilon), *_malicious(ledger.clients)]


def partly_queried(part: str) -> str:
    """Return what it means for the worst cases that queries were tried on a part of the images only."""
    return sentence(f"{part}; on the others every worst case is that of the other attacks") if part else ""


def epsilon_holds_against(run: Run) -> str:
    """Return in a few words against whom the verdict's ε holds; empty where there is no ε."""
    if run.evaluation.verdict.private.value is None:
        return ""
    if run.manifest.runner not in DESCRIBED:
        return "against whom, each client's own noise decides"
    return (
        "against the server too"
        if run.experiment.privacy.secure_noise
        else "only against those who do not know the seed"
    )


def noise(run: Run) -> list[str]:
    """Return, where a client is private, the sentence that says where its noise comes from and whom ε holds against."""
    if not any(client.private for client in run.ledger.clients):
        return []
    if run.manifest.runner not in DESCRIBED:
        return [
            "Each client decides for itself where its noise comes from, and the server cannot see it: where that is "
            "the operating system's entropy (privacy.secure_noise of its own file), ε holds against the server too."
        ]
    if run.experiment.privacy.secure_noise:
        return ["The noise comes from the operating system's entropy, from no seed: ε holds against the server too."]
    return [
        "The noise follows from the seed (privacy.secure_noise = false), and the server knows the seed: "
        "ε holds only against those who do not know it."
    ]


def agreements(shares: Mapping[str, float | None], task: Task = "classification") -> list[str]:
    """Return ``"int8 and fp32 for 98.5 % (97.6–99.1)"`` for every pair whose agreement was measured.

    Pixels of one image are not independent, so that the interval of their share is left out.
    """
    pairs = (
        ("int8_fp32", "int8 and fp32"),
        ("int8_twin", "int8 and its differentiable twin"),
        ("onnx_int8", "the int8 ONNX file and the int8 kernels"),
    )
    records = int(shares.get("records") or 0)
    found = []
    for key, pair in pairs:
        share = shares.get(key)
        if share is not None:
            within = f" ({interval(wilson(share, records))})" if task == "classification" else " of the pixels"
            found.append(f"{pair} for {percent(share)}{within}")
    return found


def unknown(nodes: Sequence[str], most: int = 8) -> str:
    """Return a sentence that names the nodes of which nobody knows which client they are."""
    names = [*nodes[:most], f"{len(nodes) - most} more"] if len(nodes) > most else list(nodes)
    one = len(nodes) == 1
    return (
        f"{len(nodes)} unknown node{'' if one else 's'} connected that {'is' if one else 'are'} none of the clients, "
        f"and took no part: {listed(names)}."
    )


def partition_spec(spec: str | Sequence[float]) -> str:
    """Return a partition's rule; relative sizes as ``"sizes 3 : 1"``."""
    return spec if isinstance(spec, str) else "sizes " + " : ".join(f"{size:g}" for size in spec)


def _worst_honest(honest: Sequence[ClientLedger], worst_epsilon: float | None) -> str:
    if not honest:
        return "No honest client took part, so nobody is promised anything."
    if worst_epsilon is None:
        open_ = [client.name for client in honest if client.epsilon is None]
        verb = "trains" if len(open_) == 1 else "train"
        who = listed(open_) or "an honest client"
        return f"No guarantee holds: {who} {verb} without differential privacy (non-private)."
    holders = [client for client in honest if client.epsilon == worst_epsilon] or honest
    deltas = {client.delta for client in holders}
    delta = f" at δ = {power_of_ten(next(iter(deltas)))}" if len(deltas) == 1 and None not in deltas else ""
    who = "the only honest client" if len(honest) == 1 else "the honest client with the weakest guarantee"
    if len(holders) > 1:
        who = "the honest clients with the weakest guarantee"
    return (
        f"ε = {worst_epsilon:.2f}{delta} holds, after all rounds, for each record of "
        f"{listed([client.name for client in holders])}, {who}."
    )


def _malicious(clients: Sequence[ClientLedger]) -> list[str]:
    ignoring = [client.name for client in clients if not client.honest and not client.private]
    keeping = [client.name for client in clients if not client.honest and client.private]
    sentences = []
    if ignoring:
        verb, whose = ("is", "its") if len(ignoring) == 1 else ("are", "their")
        sentences.append(
            f"{listed(ignoring)} {verb} malicious and ignore{'s' if verb == 'is' else ''} differential privacy: "
            f"no ε holds for {whose} own records."
        )
    if keeping:
        verb, own = ("is", "its") if len(keeping) == 1 else ("are", "their")
        sentences.append(f"{listed(keeping)} {verb} malicious and yet keep{'s' if verb == 'is' else ''} {own} ledger.")
    return sentences


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 2 - int(math.log10(max(value, 1))))}f}"
