"""One client's work in one round, whoever it is for: build its strategy, prepare, train, and say what it sends."""

from dataclasses import dataclass
from logging import WARNING

from flwr.common.logger import log
from torch import Tensor, nn

from clients.budget import Budget, BudgetSpentError, KeptLedger
from clients.honest import Honest, Setting
from clients.memory import Introduction, read_introduction, read_ledger, write_introduction
from clients.place import Place
from clients.prepare import prepare, send, train
from clients.rehearsal import plan_of
from clients.strategies import build_strategy
from common.errors import UserError
from common.exchange import arrays_of, load_arrays
from common.optimizer_state import KeptOptimizer
from common.privacy import Ledger

NO_ROOM = "its privacy budget does not allow this round"
"""All that a server hears of it: ε, budgets and what other runs spent are the hospital's own affair."""


@dataclass(frozen=True, eq=False)
class Update:
    """What a client's work made.

    Attributes:
        arrays: the trained weights.
        sent: what its strategy sends in their place.
        metrics: finite numbers by name.
        examples: records that it trained on.
        ledger: what it has spent by now.
    """

    arrays: dict[str, Tensor]
    sent: dict[str, Tensor]
    metrics: dict[str, float]
    examples: int
    ledger: Ledger


def introduced(place: Place) -> Introduction:
    """Return how this client takes part in the run: as it has said before, or as it says now for the first time.

    A client without any memory of the run may join at any round: it has spent nothing. One that lost all its memory is
    noticed by the server, which accepts no ledger that lacks entries of the last one.

    Raises:
        UserError: it changed its mind on privacy, cannot keep what it plans, or has no room for it in its budget.
    """
    before = read_introduction(place.memory)
    rounds = place.experiment.federation.rounds
    introduction = before or Introduction(plan_of(place.experiment, place.client, len(place.holding)), rounds)
    check_kept(place, introduction)
    budget = budget_of(place, introduction)
    if budget is not None:
        with place.own_affair("the ledgers of its other runs cannot be read"):
            others = place.memory.other_runs()
        with place.own_affair("its privacy budget does not allow this run"):
            budget.check_plan(others)
        if introduction.rounds != rounds:
            log(WARNING, "psreval: now %d rounds; its plan stays the one for %d", rounds, introduction.rounds)
        if not place.experiment.privacy.secure_noise:
            log(WARNING, "psreval: privacy.secure_noise = false: whoever knows the run's seed knows the noise")
    if before is None:
        with place.own_affair("its state cannot be kept"):
            write_introduction(place.memory, introduction)
    read_ledger(place.memory)
    return introduction


def check_kept(place: Place, introduction: Introduction) -> None:
    """Refuse to go on with privacy where the run began without, or without where it began with. Raises UserError."""
    if place.private != (introduction.plan is not None):
        before = "with" if introduction.plan is not None else "without"
        raise UserError(
            f"{place.client.name}: it joined this run {before} privacy, and so it must stay to the run's end, or no ε "
            "could be told; undo the change of privacy.enabled, or start a new run"
        )


def budget_of(place: Place, introduction: Introduction) -> Budget | None:
    """Return what a hospital may spend in this run; None in a simulation, or where it does not train privately."""
    if place.hospital is None or introduction.plan is None:
        return None
    return Budget(place.hospital.name, place.hospital.privacy, introduction)


def ledger_of(place: Place, introduction: Introduction) -> Ledger:
    """Return the client's ledger: kept where it trains privately, else an empty one."""
    if introduction.plan is None:
        return Ledger()
    return KeptLedger(place.memory, budget_of(place, introduction))


def local_update(
    place: Place,
    introduction: Introduction,
    model: nn.Module,
    received: dict[str, Tensor],
    *,
    round: int,
    classes: int,
    optimizer: KeptOptimizer | None = None,
) -> Update:
    """Do a client's work for one round.

    Args:
        place: who the client is.
        introduction: how it takes part.
        model: the run's model, on the CPU; it is trained in place.
        received: the weights to start from.
        round: from 1; seeds depend on it.
        classes: how many.
        optimizer: the optimiser's state after its last update, replaced by this one's; None: it is not kept.

    Raises:
        UserError: no room in a budget, weights that are not the model's, a strategy's mistake, a failed training.
    """
    check_kept(place, introduction)
    ledger = ledger_of(place, introduction)
    if isinstance(ledger, KeptLedger):
        with place.own_affair(NO_ROOM):  # also where the ledgers of other runs cannot be read
            ledger.check_room(round)
    try:
        load_arrays(model, received)
    except ValueError as error:
        raise UserError(f"the weights that it was sent are not those of its model: {error}") from None
    device = place.device()
    model.to(device)
    with place.own_affair("its strategy cannot be used"):
        strategy: Honest = build_strategy(place.client)
    strategy.setting = Setting(
        experiment=place.experiment,
        client=place.client,
        number=place.number,
        round=round,
        classes=classes,
        device=device,
        ledger=ledger,
        plan=introduction.plan,
        discreet=place.hospital is not None,
        optimizer=optimizer,
    )
    with place.own_affair(NO_ROOM, BudgetSpentError):
        prepared = prepare(strategy, place.holding.records(), model)
        metrics = train(strategy, model, prepared)
        sent = send(strategy, arrays_of(model), received)
        return Update(arrays_of(model), sent, metrics, len(prepared), ledger)
