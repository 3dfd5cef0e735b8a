"""The report of one finished run: a single HTML file, verdict first, that needs neither network nor scripts."""

from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from attacks.threats import THREATS
from common.folder import RunFolder, write_text
from common.intervals import wilson
from experiments import figures, wording
from experiments.pictures import pictures
from experiments.run_files import Run, read_run
from experiments.tables import Measure, clean, over_repeats, select, targets, threats, worst

MEDICAL = {"auroc": "AUROC", "sensitivity": "Sensitivity", "specificity": "Specificity"}
BASIS = {
    "private": "for the worst honest client's records",
    "robust": "of attacked images right, int8, over all adversaries",
    "small": "int8 file against fp32 weights",
    "useful": "of unchanged images right, int8",
}
RUNTIMES = ("torch fp32", "int8 kernels", "onnxruntime fp32", "onnxruntime int8")
ANSWERS = {True: ("yes", "✓", "Yes"), False: ("no", "✕", "No"), None: ("open", "?", "Not decided")}


def write_report(folder: RunFolder) -> Path:
    """Write ``report.html`` from what the run's folder holds, and return its path. The same folder gives the same bytes.

    Raises:
        UserError: the folder is no run's, the run is not finished, or one of its files is damaged.
    """
    write_text(folder.report, render_report(read_run(folder)))
    return folder.report


def render_report(run: Run) -> str:
    """Return the report as HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals.update(words=wording)
    return environment.get_template("report.html.j2").render(
        run=run,
        experiment=run.experiment,
        manifest=run.manifest,
        evaluation=run.evaluation,
        tiles=tiles(run),
        threat_models=threat_models(run),
        headline=wording.headline(run.evaluation),
        medical=medical(run),
        all_measures=all_measures(run),
        roster=roster(run),
        unreliable=[one.sentence for one in run.evaluation.warnings if one.severity == "unreliable"],
        figures=_figures(run),
        examples=examples(run),
        targets=targets(run.measures),
        clean_of=partial(clean, run.measures),
        agreements=wording.agreements(run.evaluation.compression.agreement),
        latency=latency(run),
        interval_of=wilson,
    )


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


def _figures(run: Run) -> dict[str, Markup]:
    drawn: dict[str, Markup] = {}
    rows = [(row["heading"], row["detail"], _estimates(row["accuracy"])) for row in adversaries(run)]
    counts = run.manifest.data.counts.get("test", [])
    drawn["against_whom"] = figures.against_whom(
        rows,
        threshold=run.evaluation.verdict.robust.threshold,
        commonest=max(counts) / sum(counts) if sum(counts) else None,
    )
    if run.rounds:
        replies = [{client.name: client.accuracy for client in one.clients} for one in run.rounds]
        drawn["rounds"] = figures.accuracy_by_round(
            [one.round for one in run.rounds],
            [one.accuracy for one in run.rounds],
            [one.accuracy_records for one in run.rounds],
            [(row["name"], not row["malicious"], [reply.get(row["name"]) for reply in replies]) for row in roster(run)],
        )
    if run.partition.clients:
        drawn["partitions"] = figures.partitions(
            run.manifest.data.classes, [(client.name, client.counts) for client in run.partition.clients]
        )
    private = [(c.name, c.honest, c.epsilon_by_round) for c in run.ledger.clients if any(c.epsilon_by_round)]
    if private:
        drawn["epsilon"] = figures.epsilon_by_round(private, run.evaluation.verdict.private.threshold)
    return drawn


def _estimates(accuracy: dict[str, Measure | None]) -> dict[str, figures.Estimate]:
    found = {}
    for target, measure in accuracy.items():
        if measure is not None:
            low, high = measure.interval() or (measure.value, measure.value)
            found[target] = figures.Estimate(measure.value, low, high, measure.n)
    return found
