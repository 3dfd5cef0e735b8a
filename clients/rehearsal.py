"""Checks before the first round of what a client would be refused for in every round."""

from torch import nn

from clients.holding import Holding
from clients.honest import Setting
from clients.prepare import REHEARSED, rehearse
from clients.strategies import CLIENTS, build_strategy
from common.config import Experiment
from common.description import Client
from common.privacy import Ledger, Plan, calibrate
from common.private_training import refuse_mixing_layers


def plan_of(experiment: Experiment, client: Client, records: int, rounds: int | None = None) -> Plan | None:
    """Return how this client trains privately, None if it does not.

    Args:
        experiment, client: the description, and this client's part of it.
        records: that it holds.
        rounds: in which it trains; None: in all that the description has.

    Raises:
        UserError: an unreachable budget.
    """
    if not experiment.is_private(client):
        return None
    return calibrate(
        experiment.privacy,
        records=records,
        batch_size=experiment.training.batch_size,
        local_epochs=experiment.training.local_epochs,
        rounds=experiment.federation.rounds if rounds is None else rounds,
    )


def rehearse_client(
    experiment: Experiment, client: Client, number: int, holding: Holding, model: nn.Module, plan: Plan | None
) -> None:
    """Build a client's strategy and let it prepare some records for trial; a user's own is only built.

    Args:
        experiment, client, number: the description, this client's part of it and its place among the clients.
        holding: its records.
        model: the untrained model, on the CPU; left as it is.
        plan: how it trains privately; None: it does not.

    Raises:
        UserError: a mistake in the client's strategy, options or adversarial training, or a model that cannot be
            trained privately.
    """
    strategy = build_strategy(client)
    if plan is not None:
        refuse_mixing_layers(model)
    if type(strategy) in CLIENTS.values():
        classes = len(holding.dataset.classes)
        strategy.setting = Setting(experiment, client, number, 1, classes, "cpu", Ledger(), plan)
        rehearse(strategy, holding.records(REHEARSED), model)
