"""Estimates of what a piece of work will take, from a moment's measurement of the network on this machine."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.batches import device_of
from attacks.craft import options
from common.config import Experiment
from common.data import Dataset
from common.loading import is_reference
from common.task import loss
from common.threads import torch_threads
from experiments.study.plan import Federation, Planned
from experiments.study.setting import POISONER
from server.federation import initial_model
from server.stress import SAMPLE

# Passes (a forward and a backward one) that an attack makes for each of its steps, against the training of one image.
# FAB follows the gradients of several classes a step; measured 5 to 6 times PGD.
PASSES = {"fgsm": 0.0, "pgd": 0.8, "fab": 5.0}
PRIVATE = 2.0
"""Cost of a private step against a plain one, measured on ResNet-9 with width 8; wider networks pay less."""
START = 3.0
"""Seconds to load data, build, compile and write, a piece."""
BASE = 700 * 2**20
"""Bytes of a process that has torch, Flower and a small data set in memory."""
BATCH = 32


@dataclass(frozen=True)
class Cost:
    """What the network of an experiment costs on this machine.

    Attributes:
        seconds: of one image's forward and backward pass in training, one thread.
        activations: numbers that one image leaves for the backward pass.
        parameters: numbers that are trained.
    """

    seconds: float
    activations: int
    parameters: int


def cost_of(experiment: Experiment, dataset: Dataset) -> Cost:
    """Measure the network on random images, in CPU seconds of one thread; a second or so for the paper's sizes."""
    model = initial_model(experiment, dataset).train()
    batch = min(BATCH, experiment.training.batch_size)  # of a small one, each image costs more
    images = torch.rand(batch, dataset.channels, dataset.image_size, dataset.image_size).to(
        device_of(model, torch.empty(0))
    )
    masks = images.shape[2:] if dataset.task == "segmentation" else ()
    labels = torch.zeros((batch, *masks), dtype=torch.int64, device=images.device)
    activations = _activations(model, images[:1])
    took = []
    with torch_threads(1):  # CPU seconds of several threads would count their waiting
        for _ in range(4):  # the first one allocates
            before = time.process_time()
            loss(model(images), labels).backward()  # type: ignore[no-untyped-call]
            took.append(time.process_time() - before)
            model.zero_grad()
    return Cost(min(took) / batch, activations, sum(p.numel() for p in model.parameters()))


def training_seconds(federation: Federation, dataset: Dataset, cost: Cost) -> float:
    """Estimate the rest of a federation's training on one core."""
    experiment = federation.experiment
    left = max(0, experiment.federation.rounds - federation.rounds)
    roster = experiment.roster()
    each = len(dataset.train) / len(roster)
    passes = 0.0
    for client in roster:
        private = PRIVATE if experiment.is_private(client) else 1.0
        passes += each * experiment.training.local_epochs * private
        if client.strategy == POISONER:
            attack, steps = str(client.options.get("attack", "pgd")), int(client.options.get("steps", 10))
            passes += each * float(client.options.get("fraction", 0.4)) * _attack_passes(attack, steps)
        table = client.adversarial_training
        if table is not None:
            passes += each * table.fraction * _attack_passes(table.attack, table.steps)
    return START + left * passes * cost.seconds


def evaluation_seconds(planned: Planned, dataset: Dataset, cost: Cost) -> float:
    """Estimate an evaluation on one core."""
    evaluation = planned.experiment.evaluation
    test = len(dataset.test)
    attacked = min(test, evaluation.records or test)
    threats = set(evaluation.threats)
    # The fake-quantized twin costs about two passes of its parent.
    sources = (1 if threats & {"white-box", "insider"} else 0) + (2 if "white-box" in threats else 0)
    sources += len(planned.generators)
    crafting = sum(
        _attack_passes(attack, evaluation.steps) * (evaluation.repeats if "seed" in options(attack) else 1)
        for attack in evaluation.attacks
    )
    passes = attacked * sources * crafting + 4 * test / 3
    if "query" in threats:
        queried = min(attacked, evaluation.query_records or attacked)
        passes += queried * 2 * evaluation.queries * len(evaluation.query_attacks) / 3
    if evaluation.eps > 0:
        # Three models (fp32, and int8 from two sources) at the budget, at two larger ones and without one.
        stressed = min(attacked, evaluation.stress_records or SAMPLE)
        passes += stressed * 4 * (3 * evaluation.steps + 40) * PASSES["pgd"]
    return 2 * START + passes * cost.seconds


def memory_of(experiment: Experiment, dataset: Dataset, cost: Cost) -> int:
    """Estimate the bytes that training or attacking takes in one process."""
    batch = min(experiment.training.batch_size, experiment.privacy.physical_batch_size)
    pixels = dataset.channels * dataset.image_size**2
    data = (
        (len(dataset.train) + len(dataset.public) + len(dataset.test)) * pixels * 5
    )  # uint8, and float32 when changed
    private = any(map(experiment.is_private, experiment.roster()))
    # Book-keeping holds layers' inputs a little longer; a network of the user's own may need each record's gradient.
    held = cost.parameters
    if private:
        held += batch * (cost.parameters if is_reference(experiment.model.name) else cost.activations)
    return BASE + data + 4 * (3 * batch * cost.activations + held + 8 * cost.parameters)


def _attack_passes(attack: str, steps: int) -> float:
    return 1.0 + PASSES.get(attack, 2.0) * steps


def _activations(model: nn.Module, image: Tensor) -> int:
    """Return how many numbers all leaf layers put out for one image."""
    total = 0

    def add(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel()

    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(add) for module in leaves]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return total
