"""Checks of one reply; which faults are refused in a whole federation is in test_federation.py."""

import math

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from server.checks import LEDGER_LIMIT, METRICS_LIMIT, Expected, Update, check, clean, packed
from server.message_size import content_bytes
from server.refusal import BAD_REPLY, LOST, Refusal
from tests.server import federation_fixture as fixture

GLOBAL = {"layer.weight": torch.zeros(2, 3), "layer.bias": torch.ones(2)}
GOOD = {name: tensor.numpy() + np.float32(0.5) for name, tensor in GLOBAL.items()}
EXPECTED = Expected(GLOBAL, 4, "token")


def message(content: RecordDict | Error) -> Message:
    fixture.grid([])  # outside Flower's processes a message needs to be told who sends it
    return Message(content, reply_to=Message(RecordDict(), dst_node_id=7, message_type="train"))


def content(**metrics: object) -> RecordDict:
    made = fixture.content(GOOD, **metrics)
    made["client"] = ConfigRecord({"ledger": "", "round": 4, "run": "token"})
    return made


def checked(reply: RecordDict | Error, expected: Expected = EXPECTED) -> Update | Refusal:
    return check(message(reply), expected, announced=100)


def refusal(reply: RecordDict | Error, expected: Expected = EXPECTED) -> Refusal:
    result = checked(reply, expected)
    assert isinstance(result, Refusal)
    return result


def update(reply: RecordDict, expected: Expected = EXPECTED) -> Update:
    result = checked(reply, expected)
    assert isinstance(result, Update), result
    return result


def test_a_good_reply_passes_with_its_weights_numbers_norm_and_size() -> None:
    reply = content(examples=30)
    passed = update(reply)
    assert passed.examples == 30
    assert passed.metrics == {"train-loss": 0.5}
    assert passed.norm == pytest.approx(0.5 * math.sqrt(8))
    assert passed.bytes == content_bytes(reply)
    assert all(np.array_equal(passed.arrays[name], array) for name, array in GOOD.items())


def test_the_norm_limit_is_kept_in_double_precision() -> None:
    large = {"weight": torch.full((1000,), 1e4)}
    sent = fixture.content({"weight": large["weight"].numpy() + np.float32(0.0078125)})  # 8 units in the last place
    sent["client"] = ConfigRecord({"ledger": "", "round": 4, "run": "token"})
    exact = 0.0078125 * math.sqrt(1000)
    assert update(sent, Expected(large, 4, "token", norm_limit=exact * 1.0000001)).norm == pytest.approx(exact, 1e-9)
    assert "norm_limit" in refusal(sent, Expected(large, 4, "token", norm_limit=exact * 0.9999999)).reason


def test_only_a_few_plain_finite_numbers_are_kept() -> None:
    passed = update(
        content(
            **{
                "no\nname": 1.0, "x" * 41: 1.0, "": 1.0, "loss": math.nan, "list": [1.0], "ok": 2, "<b>": 3.0,
            }
        )
    )  # fmt: skip
    assert passed.metrics == {"train-loss": 0.5, "ok": 2.0}
    many = update(content(**{f"m{number}": float(number) for number in range(100)}))
    assert len(many.metrics) == METRICS_LIMIT


@pytest.mark.parametrize(
    ("examples", "limit", "words"), [(101, None, "the 100 that it announced"), (51, 50, "exceeds 50")]
)
def test_examples_are_capped_by_what_was_announced_and_by_the_limit(
    examples: int, limit: int | None, words: str
) -> None:
    assert words in refusal(content(examples=examples), Expected(GLOBAL, 4, "token", examples_limit=limit)).reason
    assert update(content(examples=examples - 1), Expected(GLOBAL, 4, "token", examples_limit=limit))


@pytest.mark.parametrize("code", LOST)
def test_what_the_link_lost_is_no_reply_and_no_strike(code: int) -> None:
    found = refusal(Error(code, "Node Unavailable"))
    assert (found.lost, found.strike) == (True, False)


def test_a_failed_client_and_its_own_refusal_are_no_strikes() -> None:
    failed = refusal(Error(2, "Traceback\n  MemoryError: 3 GiB"))
    assert (failed.reason, failed.strike, failed.lost) == ("the client failed: MemoryError: 3 GiB", False, False)
    own = refusal(RecordDict({"client": ConfigRecord({"refusal": "the ledger is lost"})}))
    assert (own.reason, own.strike) == ("the ledger is lost", False)


def test_a_reply_that_the_link_did_not_let_through_is_a_strike() -> None:
    found = refusal(Error(BAD_REPLY, "it sent more than 10 bytes"))
    assert (found.reason, found.strike, found.lost) == ("it sent more than 10 bytes", True, False)


def test_a_refusal_hides_no_strike_when_it_is_too_large() -> None:
    assert refusal(RecordDict({"client": ConfigRecord({"refusal": "x" * 2_000_000})})).strike


def test_a_ledger_is_read_up_to_a_limit() -> None:
    for size, fits in ((LEDGER_LIMIT, True), (LEDGER_LIMIT + 1, False)):
        reply = content()
        reply["client"]["ledger"] = "x" * size
        assert isinstance(checked(reply), Update) == fits


def test_a_strategy_sees_only_what_was_checked() -> None:
    reply = message(content(extra=[1.0, 2.0], ok=1))
    passed = check(reply, EXPECTED, announced=100)
    assert isinstance(passed, Update)
    rebuilt = clean(reply, packed(passed), passed, ["ok"]).content
    assert set(rebuilt) == {"arrays", "metrics"}
    assert dict(rebuilt["metrics"].items()) == {"ok": 1.0, "num-examples": 10}


small = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(), st.lists(st.floats(), max_size=3))
settings = st.one_of(small, st.text(max_size=9), st.binary(max_size=9), st.booleans())
arrays = st.dictionaries(
    st.sampled_from([*GLOBAL, "more"]),
    st.builds(
        lambda shape, data: Array("float32", shape, "numpy.ndarray", data),
        st.lists(st.integers(0, 10**9), max_size=3).map(tuple),
        st.one_of(st.binary(max_size=200), st.just(Array(GOOD["layer.bias"]).data)),
    ),
)


@given(
    arrays,
    st.dictionaries(st.sampled_from(["num-examples", "loss"]), small),
    st.dictionaries(st.sampled_from(["ledger", "round", "run", "refusal"]), settings),
)
def test_whatever_is_sent_nothing_is_raised(sent: dict, metrics: dict, about: dict) -> None:
    reply = RecordDict({"arrays": ArrayRecord(sent), "metrics": MetricRecord(metrics), "client": ConfigRecord(about)})
    result = checked(reply)
    assert isinstance(result, Refusal)
    assert "\n" not in result.reason


@given(st.binary(max_size=600))
def test_whatever_bytes_an_array_has_it_is_read_whole_or_refused(data: bytes) -> None:
    reply = content()
    reply["arrays"]["layer.weight"] = Array("float32", (2, 3), "numpy.ndarray", data)
    assert isinstance(checked(reply), Refusal)


def test_a_message_that_is_none_is_refused() -> None:
    empty = message(RecordDict())
    empty.__dict__["_content"] = None
    assert isinstance(check(empty, EXPECTED, announced=1), Refusal)
