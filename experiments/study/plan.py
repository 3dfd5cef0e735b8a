"""A plan: what a study has to train and to evaluate, each thing once, and what the store has already."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.config import Compression, Data, Evaluation, Experiment, Thresholds
from common.data import Dataset, prepare
from common.errors import UserError
from common.folder import RunFolder, read_lines
from experiments.run import check_fits, generator_description
from experiments.store import finished_federation
from experiments.stored import make_way
from experiments.study.grid import Cell
from server.app import run_folder

FEDERATION = "federation"
"""What the run of a federation is called that any number of cells evaluate."""


@dataclass(frozen=True)
class Federation:
    """One federation to train, whatever cells and figures use it.

    Attributes:
        key: unique in the plan.
        experiment: its canonical description: the evaluation is the default, for nobody evaluates it here.
        folder: where it is trained, or lies already.
        trained: whether it has ended.
        rounds: how many of its rounds are done.
    """

    key: str
    experiment: Experiment
    folder: RunFolder
    trained: bool
    rounds: int


@dataclass(frozen=True)
class Planned:
    """One distinct experiment of a study.

    Attributes:
        key: unique in the plan.
        cells: the points of the study that it stands for; more than one where they resolve to the same description.
        folder: where its results are or will be.
        finished: whether they are there and can be trusted.
        federation: the key of the federation that it evaluates.
        generators: name → key of the federations whose models craft its transfer attacks.
    """

    key: str
    cells: tuple[Cell, ...]
    folder: RunFolder
    finished: bool
    federation: str
    generators: dict[str, str]

    @property
    def experiment(self) -> Experiment:
        """Its description."""
        return self.cells[0].experiment


@dataclass(frozen=True)
class Plan:
    """Everything that a study consists of.

    Attributes:
        federations: by key; only those that an unfinished evaluation needs are to be trained.
        evaluations: in the order of the study.
        aside: sentences about what was found damaged and set aside.
    """

    federations: dict[str, Federation]
    evaluations: tuple[Planned, ...]
    aside: tuple[str, ...]

    def to_evaluate(self) -> tuple[Planned, ...]:
        """Return the evaluations that are not finished."""
        return tuple(one for one in self.evaluations if not one.finished)

    def to_train(self) -> tuple[Federation, ...]:
        """Return the federations that unfinished evaluations need and that are not trained."""
        needed = {key for one in self.to_evaluate() for key in (one.federation, *one.generators.values())}
        return tuple(found for key, found in self.federations.items() if key in needed and not found.trained)


class Datasets:
    """Prepared data, each description once."""

    def __init__(self) -> None:
        """Start with none."""
        self._found: dict[str, Dataset] = {}

    def of(self, data: Data) -> Dataset:
        """Return the data set of a description. Raises UserError as ``common.data.prepare``."""
        key = data.model_dump_json()
        if key not in self._found:
            self._found[key] = prepare(data)
        return self._found[key]


def plan(cells: Iterable[Cell], runs: Path, datasets: Datasets) -> Plan:
    """Plan a study: equal descriptions become one evaluation, equal federations one training.

    Damaged or foreign runs where a cell belongs are set aside, never trusted and never overwritten.

    Raises:
        UserError: data that cannot be had, a generator that does not fit its target, no cells.
    """
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.experiment.digest(datasets.of(cell.experiment.data).checksum), []).append(cell)
    if not found:
        raise UserError("the study has no cells; give it axes, or studies to include")
    federations: dict[str, Federation] = {}
    aside: list[str] = []
    evaluations = []
    for group in found.values():
        experiment, dataset = group[0].experiment, datasets.of(group[0].experiment.data)
        folder = run_folder(runs, experiment, dataset)
        _make_way(folder, experiment, dataset, aside)
        evaluations.append(
            Planned(
                key=f"evaluate {experiment.name} {folder.path.name}",
                cells=tuple(group),
                folder=folder,
                finished=folder.results.exists(),
                federation=_federation(experiment, dataset, runs, federations, aside),
                generators=_generators(group[0], dataset, runs, datasets, federations, aside),
            )
        )
    return Plan(federations, tuple(evaluations), tuple(aside))


def canonical(experiment: Experiment) -> Experiment:
    """Return the description under which its federation is trained; equal for all evaluations of one federation."""
    return experiment.model_copy(
        update={
            "name": FEDERATION,
            "description": "",
            "evaluation": Evaluation(),
            "compression": Compression(),
            "thresholds": Thresholds(),
        }
    )


def _federation(
    experiment: Experiment, dataset: Dataset, runs: Path, found: dict[str, Federation], aside: list[str]
) -> str:
    """Note the experiment's federation, and return its key."""
    digest = experiment.digest(dataset.checksum, federation_only=True)
    key = f"train {digest}"
    if key not in found:
        described = canonical(experiment)
        folder = run_folder(runs, described, dataset)
        _make_way(folder, described, dataset, aside)
        trained = folder.model.exists() or finished_federation(runs, digest, folder) is not None
        found[key] = Federation(key, described, folder, trained, sum(1 for _ in read_lines(folder.rounds)))
    return key


def _generators(
    cell: Cell, dataset: Dataset, runs: Path, datasets: Datasets, found: dict[str, Federation], aside: list[str]
) -> dict[str, str]:
    experiment = cell.experiment
    if "transfer" not in experiment.evaluation.threats:
        return {}
    keys = {}
    for generator in experiment.evaluation.generators:
        description = generator_description(generator, experiment)
        other = datasets.of(description.data)
        try:
            check_fits(generator, description, other, experiment, dataset)
        except UserError as error:
            raise UserError(f"{cell.title()}: {error}") from None
        keys[generator.name] = _federation(description, other, runs, found, aside)
        if keys[generator.name] == f"train {experiment.digest(dataset.checksum, federation_only=True)}":
            raise UserError(
                f"{cell.title()}: evaluation.generators: '{generator.name}' is the attacked model itself; change its "
                "seed, its privacy or its clients"
            )
    return keys


def _make_way(folder: RunFolder, experiment: Experiment, dataset: Dataset, aside: list[str]) -> None:
    """Set aside what lies where a run belongs and cannot be trusted."""
    told = make_way(folder, experiment, dataset.checksum)
    if told is not None:
        aside.append(told)
