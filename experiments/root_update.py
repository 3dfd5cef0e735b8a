"""The update of the public records: what FLTrust compares peers' updates with.

Cao et al. 2021, "FLTrust" (arXiv 2012.13995): whoever aggregates trains the same model on a small clean root set. Here
that is the experiment's public records, which every peer has, and every peer trains on them itself; equal descriptions,
data, threads and machines give equal bytes.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.config import Experiment
from common.data import Dataset
from common.errors import UserError
from common.exchange import arrays_of, load_arrays
from common.records import Records
from common.seeds import derive
from common.threads import torch_threads
from common.training import train
from peers.secure.vector import difference


def root_update(
    experiment: Experiment, dataset: Dataset, model: nn.Module, arrays: Mapping[str, Tensor], number: int
) -> NDArray[np.float64] | None:
    """Return what a local update of round ``number`` on the public records changes the weights by, [d].

    Args:
        experiment: the description; rules other than ``fltrust`` need no such update: None.
        dataset: with the public records.
        model: any of the network; it has other weights afterwards.
        arrays: the weights that the round begins with.
        number: of the round, from 1.

    Raises:
        UserError: the update is all zeros, so that it has no direction; or training on them came to no finite numbers.
    """
    if experiment.secure.rule != "fltrust":
        return None
    load_arrays(model, dict(arrays))
    records = Records(torch.tensor(dataset.public.images), torch.tensor(dataset.public.labels).long())
    with torch_threads(experiment.federation.threads):
        train(model, records, experiment.training, seed=derive(experiment.seed, "root", number))
    update = difference(arrays_of(model), arrays)
    if not np.linalg.norm(update):
        raise UserError(
            f"secure.rule = 'fltrust': training on the {len(records)} public records changes nothing, so that no "
            "update can be compared with theirs; raise data.public_records or training.learning_rate"
        )
    return update
