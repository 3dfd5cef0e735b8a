"""Who this client is, and what it does for whom: from the server's message and this node's own configuration.

A node with a hospital file is that hospital. The file decides its strategy, data and privacy, the server's description
the model, the local training and the seeds; nothing else of that description reaches what the client does. A node
without a file is a client of a simulation, where the description says all, and that is believed only where the server
is this same machine: in its process, or in one of Ray's workers.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from logging import ERROR
from pathlib import Path

import torch
from flwr.app import Context
from flwr.common.logger import log
from torch import nn

from clients.asked import Asked
from clients.holding import Holding, hospital_holding, simulated_holding
from clients.hospital import Hospital, load_hospital, local_name
from clients.image_facts import ImageFacts
from clients.memory import InFlower, InFolder, Memory, run_key
from common.config import Experiment
from common.description import Client, Compression, Evaluation, Model, Thresholds
from common.errors import UserError
from common.loading import is_reference
from common.models import build
from common.models.copies import copied
from common.records import Task

STATE_VARIABLE = "PSREVAL_CLIENT_STATE"
"""Environment variable: the folder in which simulated clients keep their ledgers over restarts."""
HOSPITAL, IN_PROCESS, PARTITION = "hospital", "in-process", "partition-id"
"""Of a node's configuration: the hospital's file; that the server is in this process; a simulated client's number."""


@dataclass(frozen=True, eq=False)
class Place:
    """One client's place in one run.

    Attributes:
        experiment: the description as this client carries it out.
        client: its own entry.
        number: its position in the server's roster, from 0; seeds depend on it.
        holding: its records.
        memory: what it remembers of the run.
        hospital: its own file; None in a simulation.
    """

    experiment: Experiment
    client: Client
    number: int
    holding: Holding
    memory: Memory
    hospital: Hospital | None

    @property
    def private(self) -> bool:
        """Whether this client trains with DP-SGD."""
        return self.experiment.is_private(self.client)

    @contextlib.contextmanager
    def own_affair(self, problem: str, kind: type[UserError] = UserError) -> Iterator[None]:
        """Tell a hospital's mistakes of this kind in its own log, and the server only that there is a ``problem``."""
        with _own_affair(self.hospital.name if self.hospital else None, problem, kind):
            yield

    def model(self, images: ImageFacts) -> nn.Module:
        """Return the run's model, untrained, on the CPU. Raises UserError as ``common.models.build``."""
        if is_reference(self.experiment.model.name):
            with self.own_affair(f"its copy of model.name = '{local_name(self.experiment.model.name)}' cannot be used"):
                return self._built(images)
        return self._built(images)

    def _built(self, images: ImageFacts) -> nn.Module:
        told, task = self.experiment.model.model_dump_json(), self.holding.dataset.task
        if is_reference(self.experiment.model.name):
            return _drawn(told, images, task)
        return copied(_pattern(told, images, task))

    def device(self) -> torch.device:
        """Return where to train. Raises UserError: the description wants a GPU and there is none."""
        cuda = torch.cuda.is_available()
        if self.experiment.device == "cuda" and not cuda:
            raise UserError(f"{self.client.name}: device = 'cuda', but it has no GPU; set device = 'auto' or 'cpu'")
        return torch.device("cuda" if cuda and self.experiment.device != "cpu" else "cpu")


def _drawn(model: str, images: ImageFacts, task: Task) -> nn.Module:
    return build(
        Model.model_validate_json(model),
        images.channels,
        len(images.classes),
        images.mean,
        images.std,
        seed=0,
        image_size=images.image_size,
        task=task,
    )


_pattern = functools.lru_cache(maxsize=1)(_drawn)
"""A built-in network to copy: weights are drawn more slowly than copied, and those of the round replace them anyway."""


def place_of(asked: Asked, context: Context) -> Place:
    """Return this node's place in the run that the server asks it to take part in.

    Raises:
        UserError: neither a hospital's node nor a simulated one; a hospital that the server does not know; a file that
            it does not allow; data that are not like the server's; a mistake in what the hospital or, in a simulation,
            the description says.
    """
    file = context.node_config.get(HOSPITAL)
    if file is not None:
        with _own_affair("this node", "its hospital file cannot be read"):
            hospital = load_hospital(str(file))
        place = _hospital_place(asked, hospital)
    elif context.node_config.get(IN_PROCESS) is True or _in_ray():
        place = _simulated_place(asked, context)
    else:
        raise UserError(
            "this node has no hospital file, so nobody here has said what it may do; start it with `psreval node "
            "HOSPITAL.toml`, or by flower-supernode --node-config 'hospital=\"/path/HOSPITAL.toml\"' (partition-id "
            "alone is for simulations)"
        )
    with place.own_affair("its data are not like the server's (classes, channels or image size)"):
        asked.check_data(place.holding.dataset, str(place.client.name))
    return place


def _hospital_place(asked: Asked, hospital: Hospital) -> Place:
    names = [str(client.name) for client in asked.experiment.roster()]
    if hospital.name not in names:
        raise UserError(
            f"{hospital.name}: the server's description has no client of that name, only {', '.join(names[:20])}; name "
            "it there under [[clients]]"
        )
    experiment = own_experiment(asked.experiment, hospital)
    with _own_affair(hospital.name, "its data cannot be used"):
        holding = hospital_holding(hospital)
    number = names.index(hospital.name)
    memory = InFolder(hospital.state, run_key(asked.experiment, hospital=True))
    return Place(experiment, experiment.clients[number], number, holding, memory, hospital)


def _simulated_place(asked: Asked, context: Context) -> Place:
    roster, number = asked.experiment.roster(), int(context.node_config[PARTITION])
    if not 0 <= number < len(roster):
        raise UserError(f"partition-id = {number}: the description has clients 0 to {len(roster) - 1}")
    folder = os.environ.get(STATE_VARIABLE)
    memory = (
        InFolder(Path(folder) / str(roster[number].name), run_key(asked.experiment, hospital=False))
        if folder
        else InFlower(context.state)
    )
    holding = simulated_holding(asked.experiment, number)
    return Place(asked.experiment, roster[number], number, holding, memory, None)


def own_experiment(told: Experiment, hospital: Hospital) -> Experiment:
    """Return the description as a hospital carries it out: no file, client or budget of the server's is left in it.

    Raises:
        UserError: the server names a model's file that the hospital does not allow.
    """
    own = hospital.client()
    clients = tuple(
        own if client.name == own.name else Client(name=client.name, private=False) for client in told.roster()
    )
    federation = told.federation.model_copy(update={"aggregation": "fedavg", "aggregation_options": {}})
    return told.model_copy(
        update={
            "description": "",
            "data": hospital.data,
            "model": _own_model(told.model, hospital),
            "privacy": hospital.privacy,
            "clients": clients,
            "federation": federation,
            "compression": Compression(),
            "evaluation": Evaluation(),
            "thresholds": Thresholds(),
        }
    )


def _own_model(model: Model, hospital: Hospital) -> Model:
    if not is_reference(model.name):
        return model
    own = hospital.allowed(model.name)
    if own is None:
        raise UserError(
            f"model.name = '{local_name(model.name)}': {hospital.name} runs no file that a server names, unless its "
            "own hospital file lists it under `code`; name a built-in model, or ask the hospital to list it"
        )
    return model.model_copy(update={"name": own})


def _in_ray() -> bool:
    """Tell whether this process belongs to Ray, without importing Ray where nobody has."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


@contextlib.contextmanager
def _own_affair(owner: str | None, problem: str, kind: type[UserError] = UserError) -> Iterator[None]:
    try:
        yield
    except kind as error:
        if owner is None:
            raise
        log(ERROR, "psreval: %s: %s", owner, str(error).removeprefix(f"{owner}: "))
        raise UserError(f"{owner}: {problem}; its own log says why") from None
