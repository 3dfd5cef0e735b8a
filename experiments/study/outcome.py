"""Outcomes: what models that were trained together in some way are worth on the test split, and what they moved."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from common.folder import RunFolder, read_json
from experiments.curves import read_curve
from experiments.study.alike import told_apart
from experiments.study.points import Taken, Value
from experiments.study.results import Result, values
from experiments.study.way import ALONE, BRAINTORRENT, FEDAVG, NOBODY, Way, way_of
from experiments.tables import clean

DICE, ACCURACY = "Dice", "accuracy"
OWN = " of own models"
"""Behind a score's name: the mean over the peers' own models."""
AS_MANY_BYTES = f"{FEDAVG}, as many bytes"
ABOUT = 0.15
"""Bytes that differ by at most this share on average over repeats are called as many."""
_COLUMNS = {DICE: "dice", ACCURACY: "accuracy"}
_TARGET = "fp32"


@dataclass(frozen=True)
class Trained:
    """The repeats of one cell.

    Attributes:
        data, model: as a reader knows them.
        way: how it was trained.
        name: of the method, as figures and tables call it.
        results: repeat by repeat.
    """

    data: str
    model: str
    way: Way
    name: str
    results: tuple[Result, ...]

    @property
    def task(self) -> str:
        """``Dice`` or ``accuracy``."""
        return task_of(self.results[0])

    def where(self) -> dict[str, Value]:
        """Return the columns that say where it lies."""
        way = self.way
        return {
            "data": self.data,
            "model": self.model,
            "split": way.split,
            "peers": way.peers,
            "abuse": way.abuse or NOBODY,
            "method": self.name,
            "local updates": way.updates,
            "target": _TARGET,
            "threat": "clean",
        }


def trained(results: Iterable[Result]) -> list[Trained]:
    """Return the cells of any studies with their repeats, in order of first appearance.

    FedAvg that ran longer or shorter than BrainTorrent among as many peers with the same split is called by why it did:
    it moved as many bytes, as measured on average over repeats; else by how many local updates it made. Cells that are
    alike in all that a way says are called by what else they differ in, too.
    """
    groups = told_apart(results, _alike, evaluation=False)
    found = []
    for group in groups:
        first = group.results[0]
        way = way_of(first.cell.experiment)
        found.append(Trained(first.setting.data, first.setting.model, way, way.method, group.results))
    named = [(_name(one, found), group.apart) for one, group in zip(found, groups, strict=True)]
    return [
        replace(one, name=f"{name} ({apart})" if apart else name)
        for one, (name, apart) in zip(found, named, strict=True)
    ]


def task_of(result: Result) -> str:
    """Return what the cell's clean score is: ``Dice`` for a segmentation, else ``accuracy``."""
    return DICE if clean(result.measures, _TARGET, _COLUMNS[DICE]) else ACCURACY


def score(result: Result) -> Taken:
    """Return the clean fp32 test score of the model that the method makes, with the test images behind it.

    That is the global, pooled or aggregated model. Peers that merge nothing have none: the mean of their own models'.
    """
    alone = way_of(result.cell.experiment).method == ALONE
    return own_score(result) if alone else aggregated_score(result)


def aggregated_score(result: Result) -> Taken:
    """Return the clean fp32 test score of the one model that the evaluator scored, whatever made it."""
    found = clean(result.measures, _TARGET, _COLUMNS[task_of(result)])
    return None if found is None else (found.value, found.n)


def own_score(result: Result) -> Taken:
    """Return the mean clean fp32 test score of the honest peers' own models; None: not measured."""
    place = RunFolder(result.path).peer_scores
    rows = [row for row in read_json(place)["peers"] if row["honest"]] if place.exists() else []
    return (mean(row["value"] for row in rows), int(rows[0]["n"])) if rows else None


def bytes_moved(result: Result) -> float | None:
    """Return the bytes that a federation moved in all, each transfer once; None where no round is noted."""
    steps = read_curve(RunFolder(result.path))
    return float(steps[-1].bytes_moved) if steps else None


def local_updates(result: Result) -> float | None:
    """Return the local updates that a federation made in all."""
    steps = read_curve(RunFolder(result.path))
    return float(steps[-1].local_updates) if steps else None


def same_place(one: Trained, other: Trained) -> bool:
    """Tell whether two cells have data, model, peers and split in common."""
    return (one.data, one.model, one.way.peers, one.way.split) == (
        other.data,
        other.model,
        other.way.peers,
        other.way.split,
    )


def bytes_ratio(one: Trained, other: Trained) -> dict[int, float]:
    """Return how many times the bytes of ``other`` ``one`` moved, repeat by repeat."""
    mine, theirs = values(one.results, bytes_moved), values(other.results, bytes_moved)
    return {repeat: value / theirs[repeat] for repeat, value in mine.items() if theirs.get(repeat)}


def as_many(ratios: Iterable[float]) -> bool:
    """Tell whether the mean of the repeats' ratios of bytes is about one.

    Without a server, what a single repeat moves depends on the order of initiators, which scatters widely among few
    peers: a limit for each repeat would leave settings out by bad luck.
    """
    found = list(ratios)
    return bool(found) and abs(mean(found) - 1) <= ABOUT


def by_updates(updates: int) -> str:
    """Return what FedAvg is called that made neither as many local updates as BrainTorrent nor moved as many bytes."""
    return f"{FEDAVG}, {updates} updates"


def _alike(result: Result) -> tuple[str, str, Way]:
    return result.setting.data, result.setting.model, way_of(result.cell.experiment)


def _name(one: Trained, found: Sequence[Trained]) -> str:
    if one.way.method != FEDAVG or one.way.abuse:
        return one.name
    honest = [other for other in found if other.way.method == BRAINTORRENT and not other.way.abuse]
    rivals = [other for other in honest if same_place(one, other)]
    if not rivals or any(other.way.updates == one.way.updates for other in rivals):
        return one.name
    if any(as_many(bytes_ratio(one, other).values()) for other in rivals):
        return AS_MANY_BYTES
    return by_updates(one.way.updates)
