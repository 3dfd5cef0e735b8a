"""Where rounds take place: what stays the same in all of them, and how weights are scored there."""

from collections.abc import Mapping
from dataclasses import dataclass

from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor, nn

from common.config import Experiment
from common.data import Dataset
from common.exchange import load_arrays
from common.folder import RunFolder
from server.marks import Marks, marks_of
from server.roster import Attendance


@dataclass(frozen=True)
class Hall:
    """Where the rounds take place; ``run`` is the token of this server start, ``model`` a place to put weights."""

    folder: RunFolder
    grid: Grid
    strategy: Strategy
    attendance: Attendance
    experiment: Experiment
    dataset: Dataset
    model: nn.Module
    run: str

    def score(self, arrays: Mapping[str, Tensor]) -> Marks:
        """Return how well weights answer on the public split: a forward pass over all of it."""
        load_arrays(self.model, arrays)
        return marks_of(self.model, self.dataset.public.images, self.dataset.public.labels)
