"""The Flower ClientApp: it introduces a client to a run, and trains for a round.

Who the client is and what it does, ``clients.place`` says; what it planned and has spent, ``clients.memory`` keeps.
"""

from collections.abc import Callable
from logging import ERROR, WARNING

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.logger import log
from torch import Tensor, nn

from clients.asked import Asked, asked
from clients.budget import Budget, BudgetSpentError, KeptLedger
from clients.honest import Honest, Setting
from clients.hospital import local_name
from clients.memory import Introduction, read_introduction, read_ledger, write_introduction
from clients.place import HOSPITAL, Place, place_of
from clients.prepare import prepare, send, train
from clients.rehearsal import plan_of, rehearse_client
from clients.residual import compress_update
from clients.strategies import build_strategy
from common import exchange
from common.errors import UserError
from common.exchange import ARRAYS, CLIENT, END, EXAMPLES, METRICS, arrays_of, from_record, load_arrays, to_record
from common.privacy import Ledger
from common.records import Records
from common.threads import torch_threads

app = ClientApp()
"""What ``clients.app:app`` in pyproject.toml names."""
NO_ROOM = "its privacy budget does not allow this round"
"""All that a server hears of it: ε, budgets and what other runs spent are the hospital's own affair."""


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Answer who this client is, how many records it holds, and what it plans to spend of its privacy."""
    return _answer(message, context, _introduction)


@app.train()
def train_one_round(message: Message, context: Context) -> Message:
    """Train for one round and answer with the weights; a mistake is answered with its sentence."""
    return _answer(message, context, _round)


@app.query(END)
def farewell(message: Message, context: Context) -> Message:
    """Take note that the run is over; there is nothing to do."""
    return Message(RecordDict(), reply_to=message)


def _answer(message: Message, context: Context, work: Callable[[Message, Asked, Place], RecordDict]) -> Message:
    try:
        request = asked(message)
        content = work(message, request, place_of(request, context))
    except UserError as error:
        content = _refusal(str(error))
    except Exception as error:
        if HOSPITAL not in context.node_config:
            raise
        # Flower would send the server the exception's text, which may quote records.
        log(ERROR, "psreval: the client failed", exc_info=error)
        content = _refusal(f"this node failed with {type(error).__name__}; its own log says where")
    return Message(content, reply_to=message)


def _introduction(message: Message, request: Asked, place: Place) -> RecordDict:
    with place.own_affair("its strategy cannot be used"):
        strategy = build_strategy(place.client)
    place.device()
    introduction = _introduced(request, place)
    if place.hospital is not None:
        _rehearse(request, place, introduction)
    about = ConfigRecord(
        {
            exchange.NAME: str(place.client.name),
            exchange.RECORDS: len(place.holding),
            exchange.STRATEGY: local_name(place.client.strategy) if place.hospital else place.client.strategy,
            exchange.HONEST: type(strategy).honest,
            exchange.PRIVATE: introduction.plan is not None,
        }
    )
    if introduction.plan is not None:
        about[exchange.ACCOUNTANT] = introduction.plan.accountant
        about[exchange.DELTA] = introduction.plan.delta
        about[exchange.NOISE] = introduction.plan.noise_multiplier
        about[exchange.SAMPLING] = introduction.plan.sampling_rate
        about[exchange.STEPS] = introduction.plan.steps_per_round
    return RecordDict({CLIENT: about})


def _introduced(request: Asked, place: Place) -> Introduction:
    """Return how this client takes part in the run: as it has said before, or as it says now for the first time.

    A client without any memory of the run may join at any round: it has spent nothing. One that lost all its memory is
    noticed by the server, which accepts no ledger that lacks entries of the last one.
    """
    before = read_introduction(place.memory)
    rounds = place.experiment.federation.rounds
    introduction = before or Introduction(plan_of(place.experiment, place.client, len(place.holding)), rounds)
    _check_kept(place, introduction)
    budget = _budget(place, introduction)
    if budget is not None:
        with place.own_affair("the ledgers of its other runs cannot be read"):
            others = place.memory.other_runs()
        with place.own_affair("its privacy budget does not allow this run"):
            budget.check_plan(others)
        if introduction.rounds != rounds:
            log(WARNING, "psreval: now %d rounds; its plan stays the one for %d", rounds, introduction.rounds)
        if not place.experiment.privacy.secure_noise:
            log(WARNING, "psreval: privacy.secure_noise = false: the server, which knows the seed, knows the noise")
    if before is None:
        with place.own_affair("its state cannot be kept"):
            write_introduction(place.memory, introduction)
    read_ledger(place.memory)
    return introduction


def _rehearse(request: Asked, place: Place, introduction: Introduction) -> None:
    model = place.model(request)
    with place.own_affair("its strategy fails in rehearsal"):
        rehearse_client(place.experiment, place.client, place.number, place.holding, model, introduction.plan)


def _round(message: Message, request: Asked, place: Place) -> RecordDict:
    if request.round < 1:
        raise UserError(f"the server asks to train for round {request.round}; rounds count from 1")
    with torch_threads(place.experiment.federation.threads):
        return _trained(_received(message), request, place)


def _trained(received: dict[str, Tensor], request: Asked, place: Place) -> RecordDict:
    introduction = read_introduction(place.memory)
    if introduction is None and place.private:
        raise UserError(
            f"{place.client.name}: it has not introduced itself to this run, so it has no plan and no ledger for it; "
            "the server must ask for an introduction first"
        )
    introduction = introduction or Introduction(None, place.experiment.federation.rounds)
    _check_kept(place, introduction)
    ledger = Ledger() if introduction.plan is None else KeptLedger(place.memory, _budget(place, introduction))
    if isinstance(ledger, KeptLedger):
        with place.own_affair(NO_ROOM):  # also where the ledgers of other runs cannot be read
            ledger.check_room(request.round)
    model, device = place.model(request), place.device()
    _load(model, received)
    model.to(device)
    with place.own_affair("its strategy cannot be used"):
        strategy = build_strategy(place.client)
    strategy.setting = Setting(
        experiment=place.experiment,
        client=place.client,
        number=place.number,
        round=request.round,
        classes=len(request.classes),
        device=device,
        ledger=ledger,
        plan=introduction.plan,
        discreet=place.hospital is not None,
    )
    with place.own_affair(NO_ROOM, BudgetSpentError):
        update, metrics, examples = _rounds_work(strategy, model, place.holding.records(), received)
    return RecordDict(
        {
            ARRAYS: _sent(update, received, request, place),
            METRICS: MetricRecord({**metrics, EXAMPLES: examples}),
            CLIENT: ConfigRecord(
                {
                    exchange.LEDGER: ledger.to_json(),
                    exchange.REPLY_ROUND: request.round,
                    exchange.RUN: request.run,
                }
            ),
        }
    )


def _rounds_work(
    strategy: Honest, model: nn.Module, records: Records, received: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, float], int]:
    prepared = prepare(strategy, records, model)
    metrics = train(strategy, model, prepared)
    return send(strategy, arrays_of(model), received), metrics, len(prepared)


def _received(message: Message) -> dict[str, Tensor]:
    """Return the round's global weights."""
    if ARRAYS not in message.content.array_records:
        raise UserError(f"the server's message has no record '{ARRAYS}' of weights")
    return from_record(message.content.array_records[ARRAYS])


def _sent(update: dict[str, Tensor], received: dict[str, Tensor], request: Asked, place: Place) -> ArrayRecord:
    """Return the weights as they travel."""
    if place.experiment.federation.update_compression == "none":
        return to_record(update)
    with place.own_affair("its update cannot be compressed"):
        return to_record(compress_update(update, received, place.memory, round=request.round, counted=request.counted))


def _load(model: nn.Module, received: dict[str, Tensor]) -> None:
    try:
        load_arrays(model, received)
    except ValueError as error:
        raise UserError(f"the server's weights are not those of its model: {error}") from None


def _check_kept(place: Place, introduction: Introduction) -> None:
    if place.private != (introduction.plan is not None):
        before = "with" if introduction.plan is not None else "without"
        raise UserError(
            f"{place.client.name}: it joined this run {before} privacy, and so it must stay to the run's end, or no ε "
            "could be told; undo the change of privacy.enabled, or start a new run"
        )


def _budget(place: Place, introduction: Introduction) -> Budget | None:
    if place.hospital is None or introduction.plan is None:
        return None
    return Budget(place.hospital.name, place.hospital.privacy, introduction)


def _refusal(sentence: str) -> RecordDict:
    return RecordDict({CLIENT: ConfigRecord({exchange.REFUSAL: sentence})})
