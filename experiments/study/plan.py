"""A plan: what a study has to train and to evaluate, each thing once, and what the store has already."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.config import Experiment
from common.data import Dataset, prepare
from common.description import Compression, Data, Evaluation, Thresholds
from common.errors import UserError
from common.folder import RunFolder, read_json, read_lines
from experiments.run import check_attacks, check_fits, generator_description
from experiments.stored import federations, finished_federation, make_way, trusted
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


def plan(cells: Iterable[Cell], runs: Path, datasets: Datasets, *, look_only: bool = False) -> Plan:
    """Plan a study: equal descriptions become one evaluation, equal federations one training.

    Damaged or foreign runs where a cell belongs are set aside, never trusted and never overwritten; with ``look_only``
    they are only named.

    Raises:
        UserError: data that cannot be had, a generator that does not fit its target, no cells.
    """
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.experiment.digest(datasets.of(cell.experiment.data).checksum), []).append(cell)
    if not found:
        raise UserError("the study has no cells; give it axes, or studies to include")
    store = _Store(runs, datasets, look_only)
    evaluations = []
    for group in found.values():
        experiment, dataset = group[0].experiment, datasets.of(group[0].experiment.data)
        folder = run_folder(runs, experiment, dataset)
        try:
            check_attacks(experiment, len(dataset.classes))
        except UserError as error:
            raise UserError(f"{group[0].title()}: {error}") from None
        whole = store.is_whole(folder, experiment, dataset)
        evaluations.append(
            Planned(
                key=f"evaluate {experiment.name} {folder.path.name}",
                cells=tuple(group),
                folder=folder,
                finished=whole and _is_finished(folder),
                federation=store.federation(experiment, dataset),
                generators=_generators(group[0], dataset, store),
            )
        )
    return Plan(store.federations, tuple(evaluations), tuple(store.aside))


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


def _is_finished(folder: RunFolder) -> bool:
    """Tell whether an evaluation has ended; one that was killed before its seconds were noted has not."""
    return folder.results.exists() and "evaluation" in read_json(folder.manifest).get("seconds", {})


class _Store:
    """What a plan finds in the store: federations, each once, and runs that cannot be trusted."""

    def __init__(self, runs: Path, datasets: Datasets, look_only: bool) -> None:
        self.runs, self.datasets, self.look_only = runs, datasets, look_only
        self.federations: dict[str, Federation] = {}
        self.aside: list[str] = []
        self._known = federations(runs)

    def is_whole(self, folder: RunFolder, experiment: Experiment, dataset: Dataset) -> bool:
        """Tell whether what lies where a run belongs can be trusted; what cannot is set aside, or only named."""
        if not self.look_only:
            told = make_way(folder, experiment, dataset.checksum)
            self.aside += [told] if told else []
            return True  # whatever was there is gone
        reason = trusted(folder, experiment, dataset.checksum)
        self.aside += [f"{folder.path} would be: {reason}"] if reason else []
        return reason is None

    def federation(self, experiment: Experiment, dataset: Dataset) -> str:
        """Note the experiment's federation, and return its key."""
        digest = experiment.digest(dataset.checksum, federation_only=True)
        key = f"train {digest}"
        if key not in self.federations:
            described = canonical(experiment)
            folder = run_folder(self.runs, described, dataset)
            whole = self.is_whole(folder, described, dataset)
            trained = whole and folder.model.exists()
            trained = trained or finished_federation(self.runs, digest, folder, self._known) is not None
            rounds = sum(1 for _ in read_lines(folder.rounds)) if whole else 0
            self.federations[key] = Federation(key, described, folder, trained, rounds)
        return key


def _generators(cell: Cell, dataset: Dataset, store: _Store) -> dict[str, str]:
    experiment = cell.experiment
    if "transfer" not in experiment.evaluation.threats:
        return {}
    if not experiment.evaluation.generators:
        raise UserError(f"{cell.title()}: evaluation.generators: the transfer threat needs at least one")
    keys = {}
    for generator in experiment.evaluation.generators:
        description = generator_description(generator, experiment)
        other = store.datasets.of(description.data)
        try:
            check_fits(generator, description, other, experiment, dataset)
        except UserError as error:
            raise UserError(f"{cell.title()}: {error}") from None
        keys[generator.name] = store.federation(description, other)
        if keys[generator.name] == f"train {experiment.digest(dataset.checksum, federation_only=True)}":
            raise UserError(
                f"{cell.title()}: evaluation.generators: '{generator.name}' is the attacked model itself; change its "
                "seed, its privacy or its clients"
            )
    return keys
