"""Whether a run's model can be trained privately at all: told in words that a server may hear, for it is the server's.

What a private client's strategy raises may quote records, so its words stay in the client's own log. Here no record is
looked at: whatever is said of a made-up image is said of the model.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from clients.image_facts import ImageFacts
from clients.place import Place
from common.exchange import load_arrays
from common.privacy import Plan
from common.private_training import train_privately
from common.records import Records


def refuse_unfit_model(
    place: Place, images: ImageFacts, plan: Plan, received: Mapping[str, Tensor] | None = None
) -> None:
    """Raise the error with which DP-SGD refuses the run's model before its first step, if it does; nothing is spent.

    Args:
        place: the client's place in the run; its records are not read.
        images: what the run's images are like.
        plan: how it trains.
        received: the weights to train; None: those that the model is built with.

    Raises:
        UserError: as ``common.private_training.train_privately``.
    """
    model = place.model(images)
    if received is not None:
        load_arrays(model, received)
    blank = torch.zeros(1, images.channels, images.image_size, images.image_size, dtype=torch.uint8)
    train_privately(
        model,
        Records(blank, torch.zeros(1, dtype=torch.int64)),  # without a step no label is looked at
        place.experiment.training,
        place.experiment.privacy,
        replace(plan, steps_per_round=0),
        round=1,
        seed=0,
        device=place.device(),
    )
