"""One client's local training in one round, without differential privacy."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from common.allocator import keep_freed_memory
from common.description import Training
from common.errors import UserError
from common.optimizer_state import KeptOptimizer
from common.plain_optimizers import PLAIN
from common.progress import track
from common.records import Records, as_float
from common.seeds import derive, torch_generator
from common.task import SCORES, loss, scores


class TrainingError(UserError):
    """The training came to numbers that no model can have; the update must not be sent."""


def train(
    model: nn.Module,
    records: Records,
    training: Training,
    *,
    seed: int,
    device: str | torch.device = "cpu",
    kept: KeptOptimizer | None = None,
    title: str = "",
) -> dict[str, float]:
    """Train the model in place on all records, ``training.local_epochs`` times in a new order each time.

    The optimiser starts afresh, or goes on from ``kept``. Equal arguments, threads and machine give equal bytes; the
    global random state is as before. The model stays on ``device``, in the mode in which it came.

    Args:
        model: logits [N, classes], or for segmentation [N, classes, H, W], from images in [0, 1].
        records: at least one.
        training: epochs, batch size and optimiser.
        seed: of the order, and of layers that draw (dropout).
        device: where to train.
        kept: the optimiser's state of the last local update, replaced by this one's; None: nothing is kept.
        title: shown as progress; empty shows nothing.

    Returns:
        ``train-loss`` (mean of ``common.task.loss``) and ``train-accuracy`` or ``train-dice`` (mean score), over the
        last epoch, each record seen by the model as it then was.

    Raises:
        UserError: no records.
        TrainingError: the loss or a parameter is not finite any more.
    """
    if len(records) == 0:
        raise UserError("a client has no records to train on; give it some, or leave it out")
    keep_freed_memory()
    model.to(device)
    optimizer = build_optimizer(model, training)
    if kept is not None:
        kept.give(optimizer, model)
    order = torch_generator(seed, "order")
    batches = math.ceil(len(records) / training.batch_size)
    progress = iter(_titled(range(training.local_epochs * batches), title, training.local_epochs * batches))
    loss_sum, score_sum = torch.zeros((), device=device), torch.zeros((), dtype=torch.float64, device=device)
    with training_mode(model), own_random_state(derive(seed, "layers"), device):
        for _ in range(training.local_epochs):
            loss_sum.zero_()
            score_sum.zero_()
            shuffled = torch.randperm(len(records), generator=order)
            for begin in range(0, len(records), training.batch_size):
                next(progress)
                batch = shuffled[begin : begin + training.batch_size]
                images, labels = to_device(records, batch, device)
                logits = model(images)
                batch_loss = loss(logits, labels)
                optimizer.zero_grad()
                batch_loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                loss_sum += batch_loss.detach() * len(batch)
                score_sum += scores(logits.detach().argmax(dim=1), labels, logits.shape[1]).sum()
            if not math.isfinite(loss_sum.item()):
                raise TrainingError(
                    f"the training loss is {loss_sum.item()}: the training diverged; lower training.learning_rate "
                    f"= {training.learning_rate:g}, or look for records or received weights that are out of range"
                )
    next(progress, None)
    model.zero_grad()
    check_finite(model, training)
    if kept is not None:
        kept.take(optimizer, model)
    return {
        "train-loss": loss_sum.item() / len(records),
        f"train-{SCORES[records.task]}": score_sum.item() / len(records),
    }


def build_optimizer(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Return the optimiser of ``training`` over the model's trainable parameters."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise UserError("the model has no trainable parameters; return one that has from model.name's function")
    rate, decay = training.learning_rate, training.weight_decay
    momentum = {"momentum": training.momentum} if training.optimizer == "sgd" else {}
    return PLAIN[training.optimizer](parameters, lr=rate, weight_decay=decay, **momentum)


def to_device(records: Records, index: Tensor, device: str | torch.device) -> tuple[Tensor, Tensor]:
    """Return the images at ``index`` as float32 in [0, 1] and their labels, on the device."""
    return as_float(records.images[index].to(device)), records.labels[index].to(device)


def check_finite(model: nn.Module, training: Training) -> None:
    """Raise TrainingError if a parameter is NaN or infinite."""
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise TrainingError(
                f"parameter '{name}' is not finite after training: the training diverged; lower "
                f"training.learning_rate = {training.learning_rate:g}"
            )


@contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in training mode, and each part back in its own mode at the end."""
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def own_random_state(seed: int, device: str | torch.device) -> Iterator[None]:
    """Let layers that draw from torch's global generators draw from ``seed``; restore the generators at the end."""
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for place in cuda:
            with torch.cuda.device(place):
                torch.cuda.manual_seed(seed)
        yield


def _titled(steps: Iterable[int], title: str, total: int) -> Iterable[int]:
    return track(steps, title, total) if title else steps
