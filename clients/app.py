"""The Flower ClientApp: it introduces a client to a run, and trains for a round.

Who the client is and what it does, ``clients.place`` says; what it planned and has spent, ``clients.memory`` keeps.
"""

from collections.abc import Callable
from logging import ERROR

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.logger import log
from torch import Tensor

from clients.asked import Asked, asked
from clients.honest import StrategyError
from clients.hospital import local_name
from clients.local_update import introduced, local_update
from clients.memory import Introduction, read_introduction
from clients.model_trial import refuse_unfit_model
from clients.place import HOSPITAL, Place, place_of
from clients.rehearsal import rehearse_client
from clients.residual import compress_update
from clients.strategies import build_strategy
from common import exchange
from common.errors import UserError
from common.exchange import ARRAYS, CLIENT, END, EXAMPLES, METRICS, from_record, to_record
from common.threads import torch_threads

app = ClientApp()
"""What ``clients.app:app`` in pyproject.toml names."""


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
    introduction = introduced(place)
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


def _rehearse(request: Asked, place: Place, introduction: Introduction) -> None:
    model = place.model(request.images)
    try:
        with place.own_affair("its strategy fails in rehearsal"):
            rehearse_client(place.experiment, place.client, place.number, place.holding, model, introduction.plan)
    except UserError:
        if introduction.plan is not None:
            refuse_unfit_model(place, request.images, introduction.plan)
        raise


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
    model, classes = place.model(request.images), len(request.classes)
    try:
        work = local_update(place, introduction, model, received, round=request.round, classes=classes)
    except StrategyError as error:
        # What went wrong with its records is kept from the server; what the model is refused for is not.
        if introduction.plan is not None and isinstance(error.__cause__, UserError):
            refuse_unfit_model(place, request.images, introduction.plan, received)
        raise
    return RecordDict(
        {
            ARRAYS: _sent(work.sent, received, request, place),
            METRICS: MetricRecord({**work.metrics, EXAMPLES: work.examples}),
            CLIENT: ConfigRecord(
                {
                    exchange.LEDGER: work.ledger.to_json(),
                    exchange.REPLY_ROUND: request.round,
                    exchange.RUN: request.run,
                }
            ),
        }
    )


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


def _refusal(sentence: str) -> RecordDict:
    return RecordDict({CLIENT: ConfigRecord({exchange.REFUSAL: sentence})})
