"""The Flower ServerApp, for ``flwr run .`` and for our own runners."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.config import Experiment, load
from common.data import Dataset, prepare
from common.folder import RunFolder, write_text
from server.evaluator import evaluate
from server.federation import run_federation

app = ServerApp()
"""What ``server.app:app`` in pyproject.toml names."""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation that ``run_config`` names; with ``evaluate = true`` compress and attack its model."""
    experiment = load(str(context.run_config["experiment"]))
    dataset = prepare(experiment.data)
    folder = run_folder(Path(str(context.run_config["runs"])), experiment, dataset)
    serve(grid, experiment, dataset, folder)
    if context.run_config.get("evaluate", True):
        evaluate(experiment, dataset, folder, generators={})


def serve(grid: Grid, experiment: Experiment, dataset: Dataset, folder: RunFolder) -> None:
    """Run or resume the federation in its folder; a federation that has ended is left alone."""
    write_text(folder.experiment, experiment.to_toml())
    if not folder.model.exists():
        run_federation(grid, experiment, dataset, folder)


def run_folder(runs: Path, experiment: Experiment, dataset: Dataset) -> RunFolder:
    """Return ``runs/NAME/HASH``, which nothing but this description on these data can claim."""
    return RunFolder((runs / experiment.name / experiment.digest(dataset.checksum)).resolve())
