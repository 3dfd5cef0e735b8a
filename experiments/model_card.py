"""The model card of one finished run: Markdown, for whoever is handed the model without the report."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.folder import RunFolder, write_text
from experiments import wording
from experiments.findings import adversaries, latency, medical, queried_part, roster, structures, tiles, unknown_nodes
from experiments.parties import parties, protocol
from experiments.run_files import Run, read_run
from experiments.tables import clean, targets


def write_model_card(folder: RunFolder) -> Path:
    """Write ``MODEL_CARD.md`` from what the run's folder holds, and return its path; same folder, same bytes.

    Raises:
        UserError: the folder is no run's, the run is not finished, or one of its files is damaged.
    """
    write_text(folder.model_card, render_model_card(read_run(folder)))
    return folder.model_card


def render_model_card(run: Run) -> str:
    """Return the model card as Markdown."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        finalize=literal,
    )
    environment.globals.update(words=wording)
    return environment.get_template("model_card.md.j2").render(
        run=run,
        experiment=run.experiment,
        manifest=run.manifest,
        evaluation=run.evaluation,
        headline=wording.headline(run.evaluation),
        tiles=tiles(run),
        adversaries=adversaries(run),
        medical=medical(run),
        structures=structures(run),
        roster=roster(run),
        parties=parties(run.experiment),
        protocol=protocol(run),
        unknown_nodes=unknown_nodes(run),
        queried_part=queried_part(run),
        latency=latency(run),
        targets=targets(run.measures),
        unchanged={target: clean(run.measures, target) for target in targets(run.measures)},
        classes=Markup(", ".join(repr(name) for name in run.manifest.data.classes)),
    )


def literal(value: Any) -> Any:
    """Return text so that Markdown and the HTML in it show it as it is, in one line: a name may hold ``|`` or ``<``."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return re.sub(r"([\\`*_\[\]<>|#&~$])", r"\\\1", re.sub(r"\s+", " ", value))
