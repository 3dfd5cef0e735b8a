"""The report of one finished run: a single HTML file, verdict first, that needs neither network nor scripts."""

from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.folder import RunFolder, write_text
from common.intervals import wilson
from experiments import figures, findings, forest, wording
from experiments.attendance import attendance
from experiments.parties import parties, protocol
from experiments.run_files import Run, read_run
from experiments.tables import clean, targets
from server.measures import Measure


def write_report(folder: RunFolder) -> Path:
    """Write ``report.html`` from what the run's folder holds, and return its path; same folder, same bytes.

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
        tiles=findings.tiles(run),
        threat_models=findings.threat_models(run),
        headline=wording.headline(run.evaluation),
        medical=findings.medical(run),
        structures=findings.structures(run),
        all_measures=findings.all_measures(run),
        roster=findings.roster(run),
        parties=parties(run.experiment),
        protocol=protocol(run),
        attendance=attendance(run),
        unreliable=[one.sentence for one in run.evaluation.warnings if one.severity == "unreliable"],
        figures=_figures(run),
        examples=findings.examples(run),
        targets=targets(run.measures),
        clean_of=partial(clean, run.measures),
        agreements=wording.agreements(run.evaluation.compression.agreement, run.manifest.data.task),
        latency=findings.latency(run),
        replies=partial(findings.replies, run),
        unknown_nodes=findings.unknown_nodes(run),
        queried_part=findings.queried_part(run),
        interval_of=wilson,
    )


def _figures(run: Run) -> dict[str, Markup]:
    drawn: dict[str, Markup] = {}
    rows = [(row["heading"], row["detail"], _estimates(row["score"])) for row in findings.adversaries(run)]
    data, score = run.manifest.data, wording.score(run.manifest.data)
    drawn["against_whom"] = forest.against_whom(
        rows,
        threshold=run.evaluation.verdict.robust.threshold,
        unseeing=_unseeing(run),
        score=score,
    )
    if run.rounds:
        drawn["rounds"] = figures.accuracy_by_round(
            [one.round for one in run.rounds],
            [one.accuracy for one in run.rounds],
            [one.accuracy_records for one in run.rounds],
            [(row["name"], not row["malicious"], row["accuracies"]) for row in findings.roster(run)],
            bands=[one.interval for one in run.rounds] if data.task == "segmentation" else None,
            score=score,
            model=parties(run.experiment).model,
        )
        if there := attendance(run):
            numbers = [one.round for one in run.rounds]
            drawn["presence"] = figures.presence(numbers, [(row.name, row.outcomes) for row in there])
    if any(client.records for client in run.partition.clients):
        drawn["partitions"] = figures.partitions(
            data.strata or data.classes, [(client.name, client.counts) for client in run.partition.clients]
        )
    private = [(c.name, c.honest, c.epsilon_by_round) for c in run.ledger.clients if any(c.epsilon_by_round)]
    if private:
        drawn["epsilon"] = figures.epsilon_by_round(private, run.evaluation.verdict.private.threshold)
    return drawn


def _unseeing(run: Run) -> tuple[float, str] | None:
    if run.manifest.data.task == "segmentation":
        return None if run.evaluation.unseeing is None else (run.evaluation.unseeing, "one mask for all")
    counts = run.manifest.data.counts.get("test", [])
    return (max(counts) / sum(counts), "commonest class") if sum(counts) else None


def _estimates(accuracy: dict[str, Measure | None]) -> dict[str, forest.Estimate]:
    found = {}
    for target, measure in accuracy.items():
        if measure is not None:
            low, high = measure.interval() or (measure.value, measure.value)
            found[target] = forest.Estimate(measure.value, low, high, measure.n)
    return found
