"""Which records a client holds."""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.hospital import Hospital
from common.config import Experiment
from common.data import HOSPITAL_PARTS, PARTS, Dataset, partition, prepare
from common.description import Data
from common.records import Records


@dataclass(frozen=True, eq=False)
class Holding:
    """A client's records.

    Attributes:
        dataset: prepared data; the records are some of its training split.
        index: their numbers there, sorted, int64 [N].
    """

    dataset: Dataset
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    def records(self, most: int | None = None) -> Records:
        """Return a copy of the records, at most the first so many."""
        return self.dataset.train.records(self.index[:most])


def simulated_holding(experiment: Experiment, number: int) -> Holding:
    """Return what a simulated client holds: its part of the description's data. Raises UserError."""
    return _holdings(experiment.data.model_dump_json(), len(experiment.roster()))[number]


def hospital_holding(hospital: Hospital) -> Holding:
    """Return what a hospital holds; the first call may take minutes, so a node asks before it connects.

    With ``share`` its data are split as in an experiment, so that the part is the one of a simulation. Without, every
    record trains: nothing is set aside for a public or a test split, which are the server's.

    Raises:
        UserError: as ``common.data.prepare``.
    """
    if hospital.share is None:
        dataset = _prepared(hospital.data.model_dump_json(), tuple(HOSPITAL_PARTS))
        return Holding(dataset, np.arange(len(dataset.train), dtype=np.int64))
    part, parts = hospital.share
    return _holdings(hospital.data.model_dump_json(), parts)[part]


@functools.lru_cache(maxsize=4)
def _holdings(data: str, parts: int) -> tuple[Holding, ...]:
    """Return what each of so many clients holds; all share one data set, which lies on disk and in no process alone."""
    dataset, description = _prepared(data), Data.model_validate_json(data)
    return tuple(Holding(dataset, index) for index in partition(dataset.train.strata, parts, description))


@functools.lru_cache(maxsize=4)
def _prepared(data: str, needs: tuple[str, ...] = tuple(PARTS)) -> Dataset:
    return prepare(Data.model_validate_json(data), needs=needs)
