"""The Flower ServerApp, for ``flwr run .`` and for our own runners."""

import time
from collections.abc import Mapping
from logging import INFO
from pathlib import Path

from flwr.app import Context
from flwr.common.logger import log
from flwr.serverapp import Grid, ServerApp

from common.config import Experiment, load
from common.data import SERVER_PARTS, Dataset, prepare
from common.errors import UserError
from common.folder import RunFolder, write_text
from server.evaluator import evaluate
from server.federation import run_federation
from server.manifest import DESCRIBED, close_manifest, open_manifest
from server.polling import PollingGrid

app = ServerApp()
"""What ``server.app:app`` in pyproject.toml names."""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation that ``run_config`` names; with ``evaluate = true`` compress and attack its model."""
    experiment = load(_description(str(context.run_config["experiment"])))
    dataset = prepare(experiment.data, needs=SERVER_PARTS)
    folder = run_folder(Path(str(context.run_config["runs"])), experiment, dataset, "flower")
    log(INFO, "psreval: the run is kept in %s", folder.path)
    serve(PollingGrid(grid), experiment, dataset, folder)
    if context.run_config.get("evaluate", True) and not folder.results.exists():
        if "transfer" in experiment.evaluation.threats:
            log(INFO, "psreval: transfer attacks need a second federation; `psreval run` trains it")
        started = time.monotonic()
        evaluate(experiment, dataset, folder, generators={})
        close_manifest(folder, evaluation=time.monotonic() - started)
    log(INFO, "psreval: ended; draw the report with `psreval report %s`", folder.path)


def _description(name: str) -> Path:
    """Return the description's file: as it is named, or beside this app, which Flower unpacks elsewhere."""
    return Path(name) if Path(name).exists() else Path(__file__).resolve().parent.parent / name


def serve(
    grid: Grid,
    experiment: Experiment,
    dataset: Dataset,
    folder: RunFolder,
    runner: str = "flower",
    identities: Mapping[int, str] | None = None,
) -> None:
    """Run or resume the federation in its folder; a federation that has ended is left alone.

    ``identities`` are the names that nodes' keys belong to, by node id, where they are known.
    """
    if experiment.protocol != "server":
        raise UserError(
            f"protocol = '{experiment.protocol}' has no server; run it with `psreval run`, or start each peer with "
            "`psreval peer`"
        )
    if folder.model.exists():
        return
    started = time.monotonic()
    write_text(folder.experiment, experiment.to_toml())
    open_manifest(experiment, dataset, folder, runner)
    run_federation(grid, experiment, dataset, folder, identities=identities)
    close_manifest(folder, federation=time.monotonic() - started)


def run_folder(runs: Path, experiment: Experiment, dataset: Dataset, runner: str = "inprocess") -> RunFolder:
    """Return ``runs/NAME/HASH``, which nothing but this description on these data can claim.

    A run of real hospitals has a folder of its own, for they hold and do what no description tells.
    """
    digest = experiment.digest(dataset.checksum, hospitals=runner not in DESCRIBED)
    return RunFolder((runs / experiment.name / digest).resolve())
