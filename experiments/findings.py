"""What a finished run found, as rows that the report and the model card print."""

from typing import Any

from attacks.threats import THREATS
from experiments import wording
from experiments.parties import parties
from experiments.pictures import legend, mask_pictures, pictures
from experiments.run_files import Run
from experiments.run_formats import Round
from experiments.tables import clean, over_repeats, score, select, targets, threats, worst
from server.measures import Measure

MEDICAL = {"auroc": "AUROC", "sensitivity": "Sensitivity", "specificity": "Specificity"}
BASIS = {
    "private": "for the worst honest client's records",
    "robust": "of attacked images right, int8, over all adversaries",
    "small": "int8 file against fp32 weights",
    "useful": "of unchanged images right, int8",
}
BASIS_OF_MASKS = {
    "robust": "mean Dice of attacked images, int8, over all adversaries",
    "useful": "mean Dice of unchanged images, int8",
}
"""Where every pixel has a class."""
NAMED_CLIENTS = 8
"""In a round with more clients than this only those are named whose update was not accepted."""
RUNTIMES = ("torch fp32", "int8 kernels", "onnxruntime fp32", "onnxruntime int8")
ANSWERS = {True: ("yes", "✓", "Yes"), False: ("no", "✕", "No"), None: ("open", "?", "Not decided")}


def tiles(run: Run) -> list[dict[str, Any]]:
    """Return the verdict's four answers: question, answer, value and its basis, what was asked, why it is open."""
    found = []
    say = parties(run.experiment).say
    notes = {"private": say(wording.epsilon_holds_against(run)), "robust": queried_part(run)}
    for question in wording.QUESTIONS:
        answer = getattr(run.evaluation.verdict, question)
        style, sign, word = ANSWERS[answer.holds]
        explained = answer.holds is None or answer.value is None
        value, basis = _value(run, question, answer.value)
        found.append(
            {
                "question": f"{question.capitalize()}?",
                "style": style,
                "sign": sign,
                "word": word,
                "value": value,
                "basis": say(basis),
                "interval": _interval(_row_of(run, question)) if answer.value is not None else "",
                "note": notes.get(question, ""),
                "asked": wording.threshold(question, answer),
                "sentence": say(answer.sentence) if explained else "",
            }
        )
    return found


def queried_part(run: Run) -> str:
    """Return ``"queries were tried on 60 of the 400 images"`` where other attacks got more images; else nothing."""
    tried = threats(run.measures)
    if "query" not in tried or not set(tried) - {"query", "all"}:
        return ""
    queried = run.evaluation.queried_records
    if queried is None:
        rows = select(run.measures, threat="query", metric=score(run.measures))
        queried = max((row.n for row in rows), default=0)
    attacked = run.evaluation.attacked_records
    return f"queries were tried on {queried} of the {attacked} images" if queried < attacked else ""


def adversaries(run: Run) -> list[dict[str, Any]]:
    """Return one row an adversary (transfer: one a generator), ``clean`` first: heading, score by target.

    Where no attack was tried, the second and last row says so.
    """
    rows = []
    for threat in ("clean", *threats(run.measures)):
        name, detail = map(parties(run.experiment).say, wording.HEADINGS.get(threat, (threat, "")))
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
                {"threat": threat, "heading": name, "detail": f"from {source}" if source else detail, "score": found}
            )
    if len(rows) == 1:
        nothing: dict[str, Measure | None] = dict.fromkeys(targets(run.measures))
        rows.append({"threat": "", "heading": "Any adversary", "detail": "no attack was tried", "score": nothing})
    return rows


def threat_models(run: Run) -> list[dict[str, Any]]:
    """Return what each threat measured assumes, and what was tried: attacks, sources, effort."""
    settings = run.experiment.evaluation
    part = queried_part(run).removeprefix("queries were tried ")
    queries = f"{settings.queries} queries an image" + (f", {part}" if part else "")
    rows, say = [], parties(run.experiment).say
    for threat in threats(run.measures):
        if threat == "all":
            continue
        of_threat = select(run.measures, threat=threat)
        known = THREATS.get(threat)
        steps = f"{settings.steps} steps of {wording.grey_levels(settings.step_size)}"
        rows.append(
            {
                "heading": wording.heading(threat),
                "sentence": say(known.sentence) if known else "",
                "gradients": say(known.gradients_from) if known else "",
                "attacks": list(dict.fromkeys(m.attack for m in of_threat if m.attack != "worst")),
                "sources": list(dict.fromkeys(m.generator for m in of_threat if m.generator)),
                "effort": queries if threat == "query" else steps,
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


def structures(run: Run) -> list[dict[str, Any]]:
    """Return the Dice of every structure by target and threat, clean first, and the n; empty for a run without masks.

    Structures that not every image has are measured on fewer: n is then a span.
    """
    if run.manifest.data.task != "segmentation":
        return []
    found = []
    for target in targets(run.measures):
        for threat in ("clean", *threats(run.measures)):
            metrics = [f"dice:{name}" for name in run.manifest.data.classes[1:]]
            if threat == "clean":
                rows = [clean(run.measures, target, metric) for metric in metrics]
            else:
                rows = [worst(run.measures, target, threat, metric) for metric in metrics]
            if sizes := sorted({row.n for row in rows if row is not None}):
                n = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]}"
                found.append({"target": target, "heading": wording.heading(threat), "measures": rows, "n": n})
    return found


def all_measures(run: Run) -> list[dict[str, Any]]:
    """Return every attack's score and success rate, one row an attack, repeats summarised; the worst case last."""
    rows: dict[tuple[object, ...], dict[str, Any]] = {}
    for summary in over_repeats(run.measures):
        one = summary.mean
        key = (one.target, one.threat, one.attack, one.generator, one.eps, one.step_size, one.steps)
        row = rows.setdefault(key, {"first": one, "metrics": {}, "repeats": 0})
        row["metrics"][one.metric] = summary
        row["repeats"] = max(row["repeats"], summary.repeats)
    order = ["clean", *threats(run.measures)]
    shown = [row for row in rows.values() if {score(run.measures), "attack_success"} & row["metrics"].keys()]
    models = targets(run.measures)
    return sorted(
        shown,
        key=lambda row: (
            order.index(row["first"].threat), models.index(row["first"].target), row["first"].attack == "worst",
        ),
    )  # fmt: skip


def replies(run: Run, one: Round) -> dict[str, Any]:
    """Return how a round's clients answered: singly where they are few, else a summary and those not accepted.

    Nodes that could not say which client they are come apart, as ``unknown``.
    """
    names = roster_names(run)
    clients = [client for client in one.clients if client.name in names]
    unknown = [client for client in one.clients if client.name not in names]
    if len(names) <= NAMED_CLIENTS:
        summary, singly = "", clients
    else:
        accepted = [client for client in clients if client.status == "accepted"]
        singly = [client for client in clients if client.status != "accepted"]
        shares = [client.accuracy for client in accepted if client.accuracy is not None]
        span = f", alone {wording.percent(min(shares))} to {wording.percent(max(shares))}" if shares else ""
        summary = f"{len(accepted)} of {len(names)} accepted{span}"
    return {
        "summary": summary,
        "singly": singly[:NAMED_CLIENTS],
        "unknown": unknown[:NAMED_CLIENTS],
        "more": max(0, len(singly) - NAMED_CLIENTS) + max(0, len(unknown) - NAMED_CLIENTS),
    }


def unknown_nodes(run: Run) -> list[str]:
    """Return the nodes that connected but could not say which client they are."""
    names = roster_names(run)
    return list(dict.fromkeys(c.name for one in run.rounds for c in one.clients if c.name not in names))


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
    """Return what the run knows of each client of the description: its data, privacy, accuracies, replies, bytes."""
    ledgers = {client.name: client for client in run.ledger.clients}
    shares = {client.name: client for client in run.partition.clients}
    names = dict.fromkeys([*roster_names(run), *ledgers, *shares])
    rows = []
    for name in names:
        # A node that claims a name already taken is listed under it too, so one round may hold a name twice.
        replies = [[client for client in one.clients if client.name == name] for one in run.rounds]
        accuracies = [next((c.accuracy for c in reply if c.accuracy is not None), None) for reply in replies]
        sent = [client.bytes_up for reply in replies for client in reply if client.status == "accepted"]
        rows.append(
            {"name": name, "ledger": ledgers.get(name), "share": shares.get(name),
             "malicious": name in ledgers and not ledgers[name].honest,
             "accepted": sum(any(client.status == "accepted" for client in reply) for reply in replies),
             "rounds": len(run.rounds), "accuracies": accuracies,
             "local_updates": sum(client.local_updates or 0 for reply in replies for client in reply),
             "update_bytes": max((bytes_ for bytes_ in sent if bytes_), default=None),
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
    classes, masks = run.manifest.data.classes, run.examples.labels.ndim == 3
    return {
        "pictures": mask_pictures(run.examples, classes, budget) if masks else pictures(run.examples, classes, budget),
        "legend": legend(classes) if masks else [],
        "budget": wording.grey_levels(budget),
        "target": facts.get("target", ""),
        "threat": wording.heading(facts.get("threat", "")).lower(),
        "attack": facts.get("attack", ""),
    }


def roster_names(run: Run) -> tuple[str, ...]:
    """Return the names of the description's clients, in its order."""
    return tuple(str(client.name) for client in run.experiment.roster())


def _value(run: Run, question: str, value: float | None) -> tuple[str, str]:
    """Return a verdict's value in words, and what it is a value of."""
    if question == "private":
        return wording.epsilon(value), BASIS[question]
    if question == "robust" and not threats(run.measures):
        return wording.NONE, "no attack was tried"  # the value is then that of unchanged images
    if value is None:
        return wording.NONE, "not measured"
    masks = run.manifest.data.task == "segmentation"
    basis = BASIS_OF_MASKS.get(question, BASIS[question]) if masks else BASIS[question]
    return ("−" if question == "small" else "") + wording.percent(value), basis


def _row_of(run: Run, question: str) -> Measure | None:
    """Return the row that a verdict's accuracy is, by its key; None where it is no accuracy, or there is no row."""
    if question == "useful":
        return clean(run.measures, "int8")
    if question == "robust":
        rows = select(run.measures, target="int8", threat="all", attack="worst", metric=score(run.measures))
        return next(iter(rows), None)
    return None


def _interval(row: Measure | None) -> str:
    if row is None:
        return ""
    return f"95\u00a0% interval {wording.interval(row.interval())}, n\u00a0=\u00a0{row.n}"
