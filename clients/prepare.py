"""Calling a strategy's three methods, and checking what each returns.

A user's own class may raise, or return what no model can be trained on: each mistake becomes one sentence that names
the class and the method, before anything is trained on or sent. The server checks again what arrives.
"""

import copy
import dataclasses
import math
from collections.abc import Callable
from logging import ERROR
from typing import Any, TypeVar

import torch
from flwr.common.logger import log
from torch import Tensor, nn

from clients.adversarial_training import with_adversarial_copies
from clients.budget import BudgetSpentError
from clients.honest import Honest, StrategyError
from common.errors import UserError
from common.privacy import Ledger
from common.records import Records, as_float

T = TypeVar("T")

REHEARSED = 4
"""Records that a rehearsal prepares."""


def prepare(strategy: Honest, records: Records, model: nn.Module) -> Records:
    """Return what the client trains on: what its strategy prepares, then its adversarial training if it has any.

    The description's ``adversarial_training`` replaces a fraction of the records, but none that the strategy has
    changed. The records number the same unless the strategy itself changes that.

    Raises:
        StrategyError: the strategy raised, or did not return records of the same shape with known classes.
        UserError: as ``attacks.craft.craft``.
    """
    setting = strategy.setting
    before = [parameter.detach().clone() for parameter in model.parameters()]
    prepared = _call(strategy, "prepare", lambda: strategy.prepare(records, model))
    _check_records(strategy, prepared, records)
    if not all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)):
        raise _mistake(strategy, "prepare", "changed the model's weights; do that in train")
    table = setting.client.adversarial_training
    if table is None:
        return prepared
    keep = _changed(records, prepared)
    return _call(
        strategy,
        "adversarial_training",
        lambda: with_adversarial_copies(prepared, model, table, setting, keep),
    )


def rehearse(strategy: Honest, records: Records, model: nn.Module) -> None:
    """Let the strategy prepare the first ``REHEARSED`` records, with attacks cut to one step; nothing is kept or spent.

    It finds what only the data tell, such as a target class that there is none of, before hours are spent. For
    strategies of this package: a user's own may do anything when it is called.

    Raises:
        StrategyError, UserError: as ``prepare``, and in full also for a client that will train privately.
    """
    trial, setting = copy.copy(strategy), strategy.setting
    client, table = setting.client, setting.client.adversarial_training
    if table is not None:
        client = client.model_copy(update={"adversarial_training": table.model_copy(update={"steps": 1})})
    trial.setting = dataclasses.replace(setting, client=client, ledger=Ledger(), plan=None)
    if hasattr(trial, "steps"):
        trial.steps = 1
    prepare(trial, records.take(torch.arange(min(len(records), REHEARSED))), model)


def train(strategy: Honest, model: nn.Module, records: Records) -> dict[str, float]:
    """Let the strategy train the model in place; return its metrics, finite numbers by name.

    Raises:
        StrategyError: the strategy raised, or returned something else.
        UserError: the training failed; see ``common.training`` and ``common.private_training``.
    """
    metrics: Any = _call(strategy, "train", lambda: strategy.train(model, records))
    if not isinstance(metrics, dict):
        raise _mistake(strategy, "train", f"returned {_kind(metrics)}; return a dict of metrics, name to number")
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise _mistake(strategy, "train", f"named a metric {name!r}; name it by a string")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _mistake(strategy, "train", f"returned {_kind(value)} as metric '{name}'; return a number")
        if not math.isfinite(value):
            raise _mistake(strategy, "train", f"returned {value} as metric '{name}'; return a finite number")
    return {name: float(value) for name, value in metrics.items()}


def send(strategy: Honest, update: dict[str, Tensor], received: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that the strategy sends: names, shapes and types as received; the values are its own affair.

    Raises:
        StrategyError: the strategy raised, or returned weights of other names, shapes or types, or not finite.
    """
    sent: Any = _call(strategy, "send", lambda: strategy.send(dict(update), dict(received)))
    if not isinstance(sent, dict):
        raise _mistake(strategy, "send", f"returned {_kind(sent)}; return a dict of weights, name to tensor")
    for name in sorted(set(update) ^ set(sent), key=str):
        problem = "left out" if name in update else "added"
        raise _mistake(strategy, "send", f"{problem} the weights '{name}'; return the names that it was given")
    for name, array in sent.items():
        if not isinstance(array, Tensor):
            raise _mistake(strategy, "send", f"returned {_kind(array)} as weights '{name}'; return a tensor")
        expected = update[name]
        if array.shape != expected.shape or array.dtype != expected.dtype:
            told, asked = (f"{t.dtype} {list(t.shape)}".removeprefix("torch.") for t in (array, expected))
            raise _mistake(strategy, "send", f"returned weights '{name}' as {told}; return {asked}")
        if not bool(torch.isfinite(array).all()):
            raise _mistake(strategy, "send", f"returned weights '{name}' that are not finite; return finite numbers")
    return {name: sent[name].detach().cpu() for name in update}


def _call(strategy: Honest, method: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except BudgetSpentError:
        raise
    except (Exception, SystemExit) as error:
        kind = type(error).__name__
        if strategy.setting.plan is not None or strategy.setting.discreet:
            # The sentence goes to the server, and an exception may quote records or weights without noise.
            log(ERROR, "psreval: %s.%s raised %s: %s", type(strategy).__name__, method, kind, error)
            raise _mistake(strategy, method, f"raised {kind}; the client's own log tells more") from error
        if isinstance(error, UserError):
            raise
        raise _mistake(strategy, method, f"raised {kind}: {error}") from error


def _check_records(strategy: Honest, prepared: Any, given: Records) -> None:
    if not isinstance(prepared, Records):
        raise _mistake(strategy, "prepare", f"returned {_kind(prepared)}; return common.records.Records")
    if len(prepared) == 0:
        raise _mistake(strategy, "prepare", "returned no records; return at least one")
    if strategy.setting.plan is not None and len(prepared) > len(given):
        raise _mistake(
            strategy,
            "prepare",
            f"returned {len(prepared)} records for {len(given)} under differential privacy; replace records instead, "
            "since copies of a record multiply its influence",
        )
    if prepared.images.shape[1:] != given.images.shape[1:]:
        told, asked = (list(r.images.shape[1:]) for r in (prepared, given))
        raise _mistake(strategy, "prepare", f"returned images of shape {told}; return {asked}")
    if prepared.images.is_floating_point() and not bool(((prepared.images >= 0) & (prepared.images <= 1)).all()):
        raise _mistake(strategy, "prepare", "returned images with values outside [0, 1]; clamp them")
    if prepared.task != given.task:
        kinds = {"classification": "one class an image", "segmentation": "masks"}
        problem = f"returned {kinds[prepared.task]} as labels; return {kinds[given.task]}"
        raise _mistake(strategy, "prepare", problem)
    low, high, classes = int(prepared.labels.min()), int(prepared.labels.max()), strategy.setting.classes
    if low < 0 or high >= classes:
        raise _mistake(
            strategy, "prepare", f"returned labels from {low} to {high}; return class numbers from 0 to {classes - 1}"
        )


def _changed(given: Records, prepared: Records) -> Tensor:
    """Return which prepared records are not the given ones at their place, bool [N]; none if the numbers differ."""
    if len(given) != len(prepared):
        return torch.zeros(len(prepared), dtype=torch.bool)
    relabelled = (given.labels != prepared.labels).reshape(len(given), -1).any(dim=1)
    if prepared.images is given.images:
        return relabelled
    return relabelled | (as_float(given.images) != as_float(prepared.images)).flatten(1).any(dim=1)


def _mistake(strategy: Honest, method: str, problem: str) -> StrategyError:
    return StrategyError(f"strategy {type(strategy).__name__}.{method} {problem}")


def _kind(value: object) -> str:
    name = type(value).__name__
    return "nothing" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
