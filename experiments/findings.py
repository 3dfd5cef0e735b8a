"""What a finished run found, as rows that the report and the model card print."""

from typing import Any

from attacks.threats import THREATS
from common.intervals import wilson
from experiments import wording
from experiments.pictures import pictures
from experiments.run_files import Run
from experiments.run_formats import Round
from experiments.tables import clean, over_repeats, select, targets, threats, worst

MEDICAL = {"auroc": "AUROC", "sensitivity": "Sensitivity", "specificity": "Specificity"}
BASIS = {
    "private": "for the worst honest client's records",
    "robust": "of attacked images right, int8, over all adversaries",
    "small": "int8 file against fp32 weights",
    "useful": "of unchanged images right, int8",
}
NAMED_CLIENTS = 8
"""In a round with more clients than this only those are named whose update was not accepted."""
RUNTIMES = ("torch fp32", "int8 kernels", "onnxruntime fp32", "onnxruntime int8")
ANSWERS = {True: ("yes", "✓", "Yes"), False: ("no", "✕", "No"), None: ("open", "?", "Not decided")}


def tiles(run: Run) -> list[dict[str, Any]]:
    """Return the verdict's four answers: question, answer, value and its basis, what was asked, why it is open."""
    found = []
    for question in wording.QUESTIONS:
        answer = getattr(run.evaluation.verdict, question)
        style, sign, word = ANSWERS[answer.holds]
        values = {"private": wording.epsilon(answer.value), "small": "−" + wording.percent(answer.value)}
        explained = answer.holds is None or answer.value is None
        found.append(
            {
                "question": f"{question.capitalize()}?",
                "style": style,
                "sign": sign,
                "word": word,
                "value": values.get(question) or wording.percent(answer.value),
                "basis": BASIS[question],
                "interval": _interval(run, question, answer.value) if question in ("robust", "useful") else "",
                "asked": wording.threshold(question, answer),
                "sentence": answer.sentence if explained else "",
            }
        )
    return found


def adversaries(run: Run) -> list[dict[str, Any]]:
    """Return one row an adversary (transfer: one a generator), ``clean`` first: heading, accuracy by target."""
    rows = []
    for threat in ("clean", *threats(run.measures)):
        name, detail = wording.HEADINGS.get(threat, (threat, ""))
        of_threat = select(run.measures, threat=threat)
        sources = dict.fromkeys(m.generator for m in of_threat if m.generator) if threat == "transfer" else {}
        for source in sources or (None,):
            found = {
                target: clean(of_threat, target)
                if threat == "clean"
                else worst(of_threat, target, threat, generator=source)
                for target in targets(run.measures)
            }
            rows.append(
                {"threat": threat, "heading": name, "detail": f"from {source}" if source else detail, "accuracy": found}
            )
    return rows


def threat_models(run: Run) -> list[dict[str, Any]]:
    """Return what each threat measured assumes, and what was tried: attacks, sources, effort."""
    settings = run.experiment.evaluation
    rows = []
    for threat in threats(run.measures):
        if threat == "all":
            continue
        of_threat = select(run.measures, threat=threat)
        known = THREATS.get(threat)
        steps = f"{settings.steps} steps of {wording.grey_levels(settings.step_size)}"
        rows.append(
            {
                "heading": wording.heading(threat),
                "sentence": known.sentence if known else "",
                "gradients": known.gradients_from if known else "",
                "attacks": list(dict.fromkeys(m.attack for m in of_threat if m.attack != "worst")),
                "sources": list(dict.fromkeys(m.generator for m in of_threat if m.generator)),
                "effort": f"{settings.queries} queries an image" if threat == "query" else steps,
            }
        )
    return rows


def medical(run: Run) -> list[dict[str, Any]]:
    """Return AUROC, sensitivity and specificity by target and threat, clean first; empty where none was measured."""
    rows = []
    for target in targets(run.measures):
        for threat in ("clean", *threats(run.measures)):
            found = {
                metric: clean(run.measures, target, metric)
                if threat == "clean"
                else worst(run.measures, target, threat, metric)
                for metric in MEDICAL
            }
            if any(found.values()):
                rows.append({"target": target, "heading": wording.heading(threat), "measures": found})
    return rows


def all_measures(run: Run) -> list[dict[str, Any]]:
    """Return every attack's accuracy and success rate, one row an attack, repeats summarised; the worst case last."""
    rows: dict[tuple[object, ...], dict[str, Any]] = {}
    for summary in over_repeats(run.measures):
        one = summary.mean
        key = (one.target, one.threat, one.attack, one.generator, one.eps, one.step_size, one.steps)
        row = rows.setdefault(key, {"first": one, "metrics": {}, "repeats": 0})
        row["metrics"][one.metric] = summary
        row["repeats"] = max(row["repeats"], summary.repeats)
    order = ["clean", *threats(run.measures)]
    shown = [row for row in rows.values() if {"accuracy", "attack_success"} & row["metrics"].keys()]
    models = targets(run.measures)
    return sorted(
        shown,
        key=lambda row: (
            order.index(row["first"].threat), models.index(row["first"].target), row["first"].attack == "worst",
        ),
    )  # fmt: skip


def replies(one: Round) -> dict[str, Any]:
    """Return how a round's clients answered: singly where they are few, else a summary and those not accepted."""
    if len(one.clients) <= NAMED_CLIENTS:
        return {"summary": "", "singly": one.clients, "more": 0}
    accepted = [client for client in one.clients if client.status == "accepted"]
    others = [client for client in one.clients if client.status != "accepted"]
    shares = [client.accuracy for client in accepted if client.accuracy is not None]
    span = f", alone {wording.percent(min(shares))} to {wording.percent(max(shares))}" if shares else ""
    summary = f"{len(accepted)} of {len(one.clients)} accepted{span}"
    return {"summary": summary, "singly": others[:NAMED_CLIENTS], "more": max(0, len(others) - NAMED_CLIENTS)}


def latency(run: Run) -> dict[str, Any] | None:
    """Return the batch sizes timed and (implementation, milliseconds of each batch size); None where none was timed."""
    times = run.evaluation.compression.latency_ms
    batches = sorted({batch for row in times.values() for batch in row}, key=lambda batch: (len(batch), batch))
    names = [name for name in RUNTIMES if name in times] + [name for name in times if name not in RUNTIMES]
    return (
        {"batches": batches, "rows": [(name, [times[name].get(batch) for batch in batches]) for name in names]}
        if batches
        else None
    )


def roster(run: Run) -> list[dict[str, Any]]:
    """Return what the run knows of each client: its part of the data, its privacy, its replies, its bytes."""
    ledgers = {client.name: client for client in run.ledger.clients}
    shares = {client.name: client for client in run.partition.clients}
    names = dict.fromkeys([*ledgers, *shares, *(c.name for r in run.rounds for c in r.clients)])
    rows = []
    for name in names:
        replies = [client for one in run.rounds for client in one.clients if client.name == name]
        rows.append(
            {"name": name, "ledger": ledgers.get(name), "share": shares.get(name),
             "malicious": name in ledgers and not ledgers[name].honest,
             "accepted": sum(reply.status == "accepted" for reply in replies), "asked": len(replies),
             "traffic": run.manifest.traffic.get(name)}
        )  # fmt: skip
    return rows


def examples(run: Run) -> dict[str, Any] | None:
    """Return the example images with the budget that their perturbation is drawn against; None where none were kept."""
    if run.examples is None or not len(run.examples.labels):
        return None
    facts = run.examples.facts
    try:
        budget = float(facts.get("eps", ""))
    except ValueError:
        budget = run.experiment.evaluation.eps
    return {
        "pictures": pictures(run.examples, run.manifest.data.classes, budget),
        "budget": wording.grey_levels(budget),
        "target": facts.get("target", ""),
        "threat": wording.heading(facts.get("threat", "")).lower(),
        "attack": facts.get("attack", ""),
    }


def _interval(run: Run, question: str, value: float | None) -> str:
    """Return the 95 % interval and n that belong to a verdict's accuracy."""
    if value is None:
        return ""
    if question == "useful":
        rows = [clean(run.measures, "int8")]
        n = run.evaluation.test_records
    else:
        rows = [worst(run.measures, "int8", threat) for threat in threats(run.measures)]
        n = run.evaluation.attacked_records
    match = next((row for row in rows if row is not None and abs(row.value - value) < 1e-9), None)
    within = match.interval() if match else wilson(value, n)
    return f"95\u00a0% interval {wording.interval(within)}, n\u00a0=\u00a0{match.n if match else n}"
