from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

from common.rules.columns import Matrix
from common.rules.median import least_for_median, median
from common.rules.options import TooFewUpdatesError
from common.rules.rule import Rule
from server.aggregation import build_strategy
from server.robust_strategy import RobustStrategy, added, differences_from

NAMES = ["median", "trimmed-mean", "krum", "multi-krum", "bulyan", "geometric-median", "centered-clipping"]
OPTIONS = {"centered-clipping": {"clip_norm": 1.0}}


@dataclass
class Reply:
    """As much of a message as a strategy reads."""

    content: RecordDict

    def has_error(self) -> bool:
        return False


def record(values: Mapping[str, Any], dtype: str = "float32") -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(value, dtype)) for name, value in values.items()})


def reply(values: Mapping[str, Any], examples: int = 10, dtype: str = "float32", **metrics: float) -> Reply:
    metric = MetricRecord({"num-examples": examples, **metrics})
    return Reply(RecordDict({"arrays": record(values, dtype), "metrics": metric}))


def median_of(sent: ArrayRecord) -> RobustStrategy:
    strategy = RobustStrategy(Rule(median, least_for_median), {})
    strategy.remember(sent)
    return strategy


def test_four_numbers_in_four_out() -> None:
    strategy = median_of(record({"w": [1.0, 2.0, 3.0, 4.0]}))
    replies = [
        reply({"w": [2.0, 2.0, 2.0, 4.5]}),
        reply({"w": [9e9, 2.5, 3.0, 4.0]}),
        reply({"w": [1.5, -9e9, 2.5, 5.0]}),
    ]
    result, _ = strategy.aggregate_train(1, replies)
    assert result["w"].numpy().tolist() == [2.0, 2.0, 2.5, 4.5]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_names_shapes_and_dtypes_are_those_of_the_global_arrays(dtype: str) -> None:
    sent = {"weight": np.zeros((2, 3, 1)), "bias": np.zeros(3), "scale": np.zeros(())}
    strategy = median_of(record(sent, dtype))
    # The client's own order of names does not count.
    moved = {name: sent[name] + step for name, step in (("scale", 1), ("weight", 2), ("bias", 3))}
    result, _ = strategy.aggregate_train(1, [reply(moved, dtype=dtype)] * 3)
    assert list(result) == ["weight", "bias", "scale"]
    for name, array in result.items():
        assert array.numpy().dtype == dtype
        assert array.numpy().shape == sent[name].shape
        assert (array.numpy() == moved[name]).all()


@pytest.mark.parametrize("name", NAMES)
def test_clients_that_stand_still_leave_the_model_bit_for_bit(name: str) -> None:
    weights = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    strategy = build_strategy(name, OPTIONS.get(name, {}))
    strategy.remember(record({"w": weights}))
    result, _ = strategy.aggregate_train(1, [reply({"w": weights}, examples) for examples in (1, 5, 7, 11, 13, 2, 3)])
    assert result["w"].numpy().tobytes() == weights.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_records_that_a_client_claims_do_not_weigh(name: str) -> None:
    generator = np.random.default_rng(0)
    updates = [generator.standard_normal(50) for _ in range(7)]
    results = []
    for claims in ([10] * 7, [1, 10**9, 1, 1, 1, 5, 10]):
        strategy = build_strategy(name, OPTIONS.get(name, {}))
        strategy.remember(record({"w": np.zeros(50)}))
        replies = [reply({"w": update}, examples) for update, examples in zip(updates, claims, strict=True)]
        results.append(strategy.aggregate_train(1, replies)[0]["w"].numpy().tobytes())
    assert results[0] == results[1]


def test_the_global_arrays_are_kept_though_flower_empties_the_record_it_sends() -> None:
    sent = record({"w": [1.0]})
    strategy = median_of(sent)
    sent.clear()
    result, _ = strategy.aggregate_train(1, [reply({"w": [3.0]})])
    assert result["w"].numpy().tolist() == [3.0]


def test_metrics_are_weighted_by_records_as_flower_does() -> None:
    strategy = median_of(record({"w": [1.0]}))
    replies = [reply({"w": [1.0]}, 1, loss=1.0), reply({"w": [1.0]}, 3, loss=5.0)]
    _, metrics = strategy.aggregate_train(1, replies)
    assert metrics["loss"] == 4.0


def test_a_shape_that_would_spread_is_refused() -> None:
    strategy = median_of(record({"w": [1.0, 2.0]}))
    with pytest.raises(ValueError, match=r"array w has shape \(1,\) instead of \(2,\)"):
        strategy.aggregate_train(1, [reply({"w": [1.0]})])


def test_too_few_replies_are_a_sentence() -> None:
    strategy = build_strategy("krum", {"num_malicious_nodes": 1})
    strategy.remember(record({"w": [1.0]}))
    words = "krum with num_malicious_nodes = 1 needs at least 5 updates, and 4 can be used"
    with pytest.raises(TooFewUpdatesError, match=words):
        strategy.aggregate_train(1, [reply({"w": [1.0]})] * 4)
    assert strategy.aggregate_train(1, []) == (None, None)


def test_nothing_to_compare_with_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="configure_train was not called"):
        RobustStrategy(Rule(median, least_for_median), {}).aggregate_train(1, [reply({"w": [1.0]})])


def test_differences_are_exact_where_float32_is_not() -> None:
    sent = {"w": np.array([1.0], np.float32), "b": np.array([3e38], np.float32)}
    rows = differences_from(sent, [record({"w": [1e-9], "b": [-3e38]})])
    assert rows[0, 0] == float(np.float32(1e-9)) - 1.0
    assert rows[0, 1] == -2 * float(np.float32(3e38))


def test_what_the_dtype_cannot_hold_becomes_infinite_for_the_server_to_refuse() -> None:
    moved: Matrix = np.array([1e39])
    assert np.isinf(added({"w": np.zeros(1, np.float32)}, moved)["w"].numpy()).all()
