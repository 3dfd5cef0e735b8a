"""The Flower strategy that every robust rule runs in."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from common.rules.columns import Matrix, Vector
from common.rules.options import whole_number
from common.rules.rule import Rule


class RobustStrategy(FedAvg):
    """FedAvg's sampling and messages, with a rule on float64 differences from the global model in place of the mean.

    The result has the global arrays' names, shapes and dtypes. It depends on the order of the replies only as the rule
    says for ties, and in the last bits of sums.

    Args:
        rule: the pure functions.
        options: keyword arguments of both.
        fraction_train: share of the connected clients that a round samples, above 0 and at most 1.
        min_train_nodes: fewest clients that a round samples.
        min_available_nodes: fewest connected clients that a round starts with.

    Raises:
        ValueError: an option is out of its range; the message is one sentence that starts with its name.
    """

    def __init__(
        self,
        rule: Rule,
        options: Mapping[str, Any],
        fraction_train: float = 1.0,
        min_train_nodes: int = 1,
        min_available_nodes: int = 1,
    ) -> None:
        if (
            isinstance(fraction_train, bool)
            or not isinstance(fraction_train, int | float)
            or not 0 < fraction_train <= 1
        ):
            raise ValueError(f"fraction_train = {fraction_train!r} must be a number above 0 and at most 1")
        whole_number("min_train_nodes", min_train_nodes, 1)
        whole_number("min_available_nodes", min_available_nodes, 1)
        super().__init__(
            fraction_train=fraction_train,
            fraction_evaluate=0.0,
            min_train_nodes=min_train_nodes,
            min_evaluate_nodes=0,
            min_available_nodes=min_available_nodes,
        )
        self.options = dict(options)
        self.least = rule.least(**options)
        self._aggregate = partial(rule.aggregate, **options)
        self._sent: dict[str, NDArray[Any]] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember what is sent, which the replies are compared with; sample and address as FedAvg does."""
        self.remember(arrays)
        return super().configure_train(server_round, arrays, config, grid)

    def remember(self, arrays: ArrayRecord) -> None:
        """Unpack and keep the global arrays; Flower empties the records that it has sent."""
        self._sent = {name: array.numpy() for name, array in arrays.items()}

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the global arrays moved by the rule's result, and the replies' metrics weighted by records.

        Raises:
            RuntimeError: ``configure_train`` was not called before.
            TooFewUpdatesError: fewer replies than the rule needs.
            ValueError: an array of another shape than was sent.
        """
        if not self._sent:
            raise RuntimeError("there is no global model to compare with: configure_train was not called")
        valid, _ = self._check_and_log_replies(replies, is_train=True)
        if not valid:
            return None, None
        contents = [reply.content for reply in valid]
        records = [next(iter(content.array_records.values())) for content in contents]
        moved = self._aggregate(differences_from(self._sent, records))
        return added(self._sent, moved), self.train_metrics_aggr_fn(contents, self.weighted_by_key)


def differences_from(sent: Mapping[str, NDArray[Any]], records: list[ArrayRecord]) -> Matrix:
    """Return what each client would add to ``sent``: [clients, parameters], in the order of ``records``.

    Raises:
        ValueError: an array is missing or has another shape.
    """
    rows = np.empty((len(records), sum(array.size for array in sent.values())))
    start = 0
    for name, array in sent.items():
        columns = slice(start, start + array.size)
        before = array.astype(np.float64).ravel()
        for row, record in zip(rows, records, strict=True):
            values = record[name].numpy() if name in record else np.empty(0)
            if values.shape != array.shape:  # a single number would fill the whole array
                raise ValueError(f"array {name} has shape {values.shape} instead of {array.shape}")
            row[columns] = values.ravel()
            row[columns] -= before
        start = columns.stop
    return rows


def added(sent: Mapping[str, NDArray[Any]], moved: Vector) -> ArrayRecord:
    """Return ``sent`` plus ``moved`` [parameters], each array in its own shape and dtype."""
    record, start = ArrayRecord(), 0
    for name, array in sent.items():
        step = moved[start : start + array.size].reshape(array.shape)
        with np.errstate(over="ignore"):  # what is beyond the dtype becomes infinite, and the server refuses that
            record[name] = Array(np.asarray((array + step).astype(array.dtype)))
        start += array.size
    return record
