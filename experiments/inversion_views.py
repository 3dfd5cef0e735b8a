"""What each party of each protocol sees of a local update, as a gradient-inversion attack takes it.

Wherever there is a choice it is the attacker's best case: training has only begun, one step, one image, and SGD.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.gradient_inversion import Kind, analytic_input, as_gradient, label_shares, labels_of
from common.config import Experiment, parse
from common.data import Dataset, normalisation, prepare
from common.description import Training
from common.exchange import arrays_of, load_arrays
from common.models.blocks import Normalised
from common.privacy import Plan, calibrate
from common.private_training import train_privately
from common.records import Records, as_float
from common.seeds import derive, numpy_generator
from common.training import train
from peers.merge import Own, merge
from peers.secure.field import Elements
from peers.secure.layout import Layout
from peers.secure.plan import layout_of
from peers.secure.rules.signs import Signs
from peers.secure.sharing import pack, reconstruct, share, unpack
from peers.secure.stream import Stream
from peers.secure.vector import difference, moved
from peers.wire import Parcel
from server.federation import initial_model

Arrays = dict[str, Tensor]
PEERS = 9
ONE_STEP = Training(local_epochs=1, batch_size=64, optimizer="sgd", learning_rate=0.1, momentum=0.0)
LAST_BIAS = "network.linear.bias"
"""The bias from which labels are read."""


@dataclass(frozen=True, eq=False)
class View:
    """What one party has.

    Attributes:
        model: with the weights that the update started from.
        observed: name → what stands for a gradient.
        kind: what it is.
        labels: int64 [N] of the images to look for, as the attacker tells them from the observation.
        truth: [M, C, H, W], the images that went into the update; M ≥ N.
    """

    model: nn.Module
    observed: Mapping[str, Tensor]
    kind: Kind
    labels: Tensor
    truth: Tensor


@dataclass(frozen=True, eq=False)
class World:
    """The federation whose updates are looked at.

    Attributes:
        experiment: its description.
        dataset: its images.
        model: with the weights before the first round.
        records: all training records, in the attacker's pool.
    """

    experiment: Experiment
    dataset: Dataset
    model: nn.Module
    records: Records

    @property
    def pool(self) -> Tensor:
        """All training images, float32 [P, C, H, W]: those among which a true one is to be recognised."""
        return as_float(self.records.images)

    @property
    def mean_image(self) -> Tensor:
        """The mean of the public images [C, H, W]: what an attacker guesses who sees nothing."""
        return as_float(self.dataset.public.records().images).mean(dim=0)

    def victims(self, start: int, count: int) -> Records:
        """Return some training records, one after the other."""
        return self.records.take(torch.arange(start, start + count))


def world(width: int = 8, records: int = 900) -> World:
    """Return nine peers with phantom X-rays of 32 pixels, demo.toml's privacy, and secure.toml's cheaters.

    Args:
        width: of the ResNet-9.
        records: for training, all peers together.
    """
    tree: dict[str, Any] = {
        "name": "inversion",
        "protocol": "secure",
        "data": {"train_records": records, "public_records": 300, "test_records": 30},
        "model": {"width": width},
        "training": {"batch_size": 16},
        "privacy": {"epsilon": 8.0, "delta": 1e-4},
        "secure": {"faults": 2, "coalition": 2},
        "clients": [{"count": PEERS}],
    }
    experiment = parse(tree, "inversion")
    dataset = prepare(experiment.data)
    return World(experiment, dataset, initial_model(experiment, dataset), dataset.train.records())


def plain(world: World, victims: Records, training: Training = ONE_STEP) -> View:
    """A server of FedAvg: one client's weights after one step on all its records, which are few."""
    before, after = _trained(world.model, victims, training, derive(world.experiment.seed, "plain"))
    observed = as_gradient(before, after, training.learning_rate)
    kind: Kind = "gradient" if training.optimizer == "sgd" else "sign"
    return _view(world, observed, kind, len(victims), as_float(victims.images))


def whole_epoch(world: World, victims: Records, count: int) -> View:
    """A server of FedAvg, as it really is: a whole local epoch of NAdam; ``count`` images are looked for."""
    training = world.experiment.training
    before, after = _trained(world.model, victims, training, derive(world.experiment.seed, "epoch"))
    observed = as_gradient(before, after, training.learning_rate)
    # The bias of many steps counts no labels any more; equal shares are the guess.
    labels = labels_of(torch.zeros(len(world.dataset.classes)), count)
    return View(world.model, _of_parameters(world.model, observed), "sign", labels, as_float(victims.images))


def private(world: World, victim: Records, number: int) -> View:
    """A server of FedAvg with DP-SGD: one step on one image, with the noise that a whole run's ε = 8 needs."""
    plan = replace(private_plan(world), sampling_rate=1.0, batch_size=1, records=1, steps_per_round=1)
    model = _copy(world)
    before = arrays_of(model)
    seed = derive(world.experiment.seed, "private", number)
    train_privately(model, victim, ONE_STEP, world.experiment.privacy, plan, round=1, seed=seed)
    observed = as_gradient(before, arrays_of(model), ONE_STEP.learning_rate)
    return _view(world, observed, "gradient", 1, as_float(victim.images))


def private_plan(world: World) -> Plan:
    """Return a peer's plan for a run of ten rounds of one epoch each."""
    settings, training = world.experiment.privacy, world.experiment.training
    each = len(world.records) // PEERS
    return calibrate(settings, records=each, batch_size=training.batch_size, local_epochs=1, rounds=10)


def summed(world: World, victims: Records) -> View:
    """Whoever sees what a secure aggregation puts out: the sum of the peers' updates, one image and step each."""
    gradients = [plain(world, victims.take(torch.tensor([peer]))).observed for peer in range(len(victims))]
    observed = {name: torch.stack([one[name] for one in gradients]).mean(dim=0) for name in gradients[0]}
    return _view(world, observed, "gradient", len(victims), as_float(victims.images))


def votes_of_all(world: World, victims: Records) -> View:
    """Everybody in the secure protocol with ``rsa``: the mean of the peers' votes, one image and step each."""
    votes = [peer_votes(world, victims.take(torch.tensor([peer])), peer) for peer in range(len(victims))]
    mean = np.mean(votes, axis=0)
    return _view(world, _as_observed(world, mean), "votes", len(victims), as_float(victims.images))


def shares_held(world: World, victim: Records, holders: int, number: int) -> View:
    """So many members of the secure protocol, who put their shares of one peer's votes together, and interpolate.

    With t + k of them that is exact; with fewer it is the polynomial of least degree through what they have.
    """
    layout = layout_of(world.experiment)
    votes = peer_votes(world, victim, number)
    members = colluders(layout, holders)
    found = interpolated(layout, dealt(layout, votes, number), members, votes.size)
    return _view(world, _as_observed(world, np.sign(found)), "votes", 1, as_float(victim.images))


def peer_votes(world: World, victims: Records, number: int) -> NDArray[np.int64]:
    """Return what a peer deals under ``rsa`` after one step: 1 and −1, [d]."""
    before, after = _trained(world.model, victims, ONE_STEP, 0)
    lots = numpy_generator(world.experiment.seed, "lots", number)
    return Signs(step_size=1.0).encode(difference(after, before), lots)


def dealt(layout: Layout, votes: NDArray[np.int64], number: int) -> Elements:
    """Return every member's shares of a peer's votes, [members, columns], with a seed for each of the first t."""
    field = layout.field
    secrets = pack(field, field.elements(votes), layout.packing)
    seeds = [derive(number, "share", member).to_bytes(32, "big") for member in range(layout.coalition)]
    random = np.stack([Stream(field, seed, "update").draw(secrets.shape[1]) for seed in seeds])
    return share(field, secrets, random, layout.members, range(layout.coalition))


def colluders(layout: Layout, holders: int) -> tuple[int, ...]:
    """Return the last members: none of them has a seed, so that their shares depend on the votes."""
    return tuple(range(layout.members - holders, layout.members))


def pulled_twice(world: World, victim: Records, number: int) -> View:
    """A neighbour in BrainTorrent, which pulls a peer's model, and pulls it again after the peer's next local update.

    In between the peer has merged the neighbour's own model, and no other; the neighbour does the same sum.
    """
    seed, epoch = world.experiment.seed, world.experiment.training
    each = len(world.records) // PEERS
    last = len(world.records) - 2 * each
    _, first = _trained(world.model, world.victims(last, each), epoch, derive(seed, "first", number))
    _, neighbours = _trained(world.model, world.victims(last + each, each), epoch, derive(seed, "neighbour", number))
    merged = merge(
        Own(first, each, 0.0), [Parcel("neighbour", 1, each, neighbours)], world.experiment.peers, {"neighbour": each}
    ).arrays
    model = _copy(world)
    load_arrays(model, merged)
    _, second = _trained(model, victim, ONE_STEP, 0)
    observed = as_gradient(merged, second, ONE_STEP.learning_rate)
    return _view(replace(world, model=model), observed, "gradient", 1, as_float(victim.images))


def nothing(world: World, victims: Records, number: int) -> View:
    """Who sees nothing, and guesses: signs by lot, and labels in equal shares."""
    lots = numpy_generator(world.experiment.seed, "guess", number)
    observed = {
        name: torch.from_numpy(lots.integers(0, 2, tuple(parameter.shape)) * 2.0 - 1).float()
        for name, parameter in world.model.named_parameters()
    }
    return _view(world, observed, "sign", len(victims), as_float(victims.images))


def linear_first(world: World, victim: Records) -> Tensor:
    """Return what a server reconstructs, in one division, of a network whose first layer is linear: [1, C, H, W]."""
    size, classes = world.pool[0].numel(), len(world.dataset.classes)
    mean, std = normalisation(world.dataset.public)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, classes))
    model = Normalised(layers, mean, std, world.dataset.channels)
    draw = numpy_generator(world.experiment.seed, "linear")
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 1 / math.sqrt(parameter.shape[-1])
            parameter.copy_(torch.from_numpy(draw.uniform(-spread, spread, tuple(parameter.shape))))
    before, after = _trained(model, victim, ONE_STEP, 0)
    gradient = as_gradient(before, after, ONE_STEP.learning_rate)
    flat = analytic_input(gradient["network.1.weight"], gradient["network.1.bias"])
    return (flat.reshape(1, *world.pool.shape[1:]) * model.std + model.mean).clamp(0, 1)


def _view(world: World, observed: Mapping[str, Tensor], kind: Kind, count: int, truth: Tensor) -> View:
    """Return a view whose labels are read from the last bias, as an attacker would."""
    parameters = _of_parameters(world.model, observed)
    with torch.no_grad():
        guess = torch.softmax(world.model(world.mean_image[None]), dim=1)[0]
    if kind == "sign" and count > 1:
        shares = torch.zeros(len(guess))
    else:
        bias = parameters[LAST_BIAS]
        shares = label_shares(bias.sign() if kind == "sign" else bias, kind=kind, probabilities=_known(guess, count))
    return View(world.model, parameters, kind, labels_of(shares, count), truth)


def _known(guess: Tensor, count: int) -> Tensor | None:
    return None if count == 1 else guess


def _trained(model: nn.Module, victims: Records, training: Training, seed: int) -> tuple[Arrays, Arrays]:
    """Return the weights before and after a local training on a copy of a model."""
    before = {name: array.clone() for name, array in arrays_of(model).items()}
    try:
        train(model, victims, training, seed=seed)
        after = {name: array.clone() for name, array in arrays_of(model).items()}
    finally:
        load_arrays(model, before)
    return before, after


def _copy(world: World) -> nn.Module:
    """Return a model of its own with the world's weights."""
    model = initial_model(world.experiment, world.dataset)
    load_arrays(model, arrays_of(world.model))
    return model


def _of_parameters(model: nn.Module, arrays: Mapping[str, Tensor]) -> Arrays:
    return {name: arrays[name] for name, parameter in model.named_parameters() if parameter.requires_grad}


def _as_observed(world: World, votes: NDArray[Any]) -> Arrays:
    """Return votes for a direction, as ``difference`` orders them, by name; a gradient points the other way."""
    zeros = {name: torch.zeros_like(array) for name, array in arrays_of(world.model).items()}
    return moved(zeros, -votes.astype(np.float64))


def interpolated(layout: Layout, shares: Elements, members: Sequence[int], size: int) -> NDArray[np.int64]:
    """Return the votes [d] that lie on the polynomials of least degree through some members' shares.

    Args:
        layout: the round's.
        shares: [members of the layout, columns].
        members: which of them are known.
        size: d.
    """
    secrets = reconstruct(layout.field, shares[list(members)], members, layout.packing)
    return layout.field.signed(unpack(secrets, size))
