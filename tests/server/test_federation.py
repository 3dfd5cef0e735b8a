"""The fault table of docs/pitfalls.md, row by row: one misbehaving client costs its own place, never the run."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from common.errors import UserError
from common.folder import RunFolder, read_arrays, read_json, read_lines
from common.update_compression import compress
from server.federation import initial_model, run_federation
from tests.server import federation_fixture as fixture

Arrays = dict[str, np.ndarray]


def nan(_: int, received: Arrays) -> RecordDict:
    return fixture.content({name: array * np.float32("nan") for name, array in received.items()})


def wrong_shape(_: int, received: Arrays) -> RecordDict:
    return fixture.content({name: np.zeros((3, 5), np.float32) for name in received})


def broadcastable(_: int, received: Arrays) -> RecordDict:
    return fixture.content({name: np.zeros((1,), np.float32) for name in received})


def float64(_: int, received: Arrays) -> RecordDict:
    return fixture.content({name: array.astype(np.float64) for name, array in received.items()})


def int8(_: int, received: Arrays) -> RecordDict:
    return fixture.content({name: array.astype(np.int8) for name, array in received.items()})


def missing_key(_: int, received: Arrays) -> RecordDict:
    return fixture.content(dict(list(received.items())[1:]))


def extra_key(_: int, received: Arrays) -> RecordDict:
    return fixture.content({**received, "extra": np.zeros(1, np.float32)})


def no_arrays(_: int, received: Arrays) -> RecordDict:
    return RecordDict({"metrics": MetricRecord({"num-examples": 10})})


def two_array_records(_: int, received: Arrays) -> RecordDict:
    reply = fixture.content(received)
    reply["more"] = ArrayRecord({"x": Array(np.zeros(1, np.float32))})
    return reply


def huge(_: int, received: Arrays) -> RecordDict:
    return fixture.content({name: np.zeros((1000, 1000), np.float32) for name in received})


def one_too_large(_: int, received: Arrays) -> RecordDict:
    return fixture.content({**received, list(received)[-1]: np.zeros(150, np.float32)})


def enormous(_: int, received: Arrays) -> RecordDict:
    return fixture.content({name: array + np.float32(1e38) for name, array in received.items()})


def exits(_: int, received: Arrays) -> RecordDict:
    raise SystemExit(1)


def raises(_: int, received: Arrays) -> RecordDict:
    raise RuntimeError("out of memory in the hospital")


def many_examples(_: int, received: Arrays) -> RecordDict:
    return fixture.content(received, examples=10**12)


def negative_examples(_: int, received: Arrays) -> RecordDict:
    return fixture.content(received, examples=-512)


def nan_examples(_: int, received: Arrays) -> RecordDict:
    return fixture.content(received, examples=float("nan"))


def list_examples(_: int, received: Arrays) -> RecordDict:
    return fixture.content(received, examples=[1, 2])


def giant_header(_: int, received: Arrays) -> RecordDict:
    """Four bytes that claim to be 10⁹ numbers."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**9,)})
    reply = fixture.content(received)
    for name in received:
        reply["arrays"][name] = Array("float32", (10**9,), "numpy.ndarray", file.getvalue() + b"1234")
    return reply


def pickled(_: int, received: Arrays) -> RecordDict:
    reply = fixture.content(received)
    for name, array in received.items():
        file = io.BytesIO()
        np.save(file, np.full(array.shape, None, dtype=object), allow_pickle=True)
        reply["arrays"][name] = Array("float32", tuple(array.shape), "numpy.ndarray", file.getvalue())
    return reply


def no_array_at_all(_: int, received: Arrays) -> RecordDict:
    reply = fixture.content(received)
    for name, array in received.items():
        reply["arrays"][name] = Array("float32", tuple(array.shape), "numpy.ndarray", b"not an array")
    return reply


def says(**told: str | int) -> Callable[[int, Arrays], RecordDict]:
    def reply(_: int, received: Arrays) -> RecordDict:
        content = fixture.content(received)
        content["client"] = ConfigRecord({"ledger": "", **told})
        return content

    return reply


def nothing_of_itself(_: int, received: Arrays) -> RecordDict:
    reply = fixture.content(received)
    del reply["client"]
    return reply


def more_settings(_: int, received: Arrays) -> RecordDict:
    reply = fixture.content(received)
    reply["more"] = ConfigRecord({"x": 1})
    return reply


def flood_of_metrics(_: int, received: Arrays) -> RecordDict:
    return fixture.content(received, flood=[0.5] * 200_000)


FAULTS: list[tuple[Callable, str]] = [
    (nan, "NaN or infinity"),
    (wrong_shape, "has shape (3, 5) instead of"),
    (broadcastable, "has shape (1,) instead of"),
    (float64, "instead of"),
    (int8, "has type int8 instead of float32"),
    (missing_key, "missing"),
    (extra_key, "unknown ['extra']"),
    (no_arrays, "expected one record 'arrays'"),
    (two_array_records, "expected one record 'arrays'"),
    (huge, "the model needs"),
    (one_too_large, "bytes instead of"),
    (giant_header, "has shape (1000000000,) instead of"),
    (pickled, "has type object instead of"),
    (no_array_at_all, "malformed reply (ValueError"),
    (says(round=0), "is for round 0, not for round"),
    (says(round="1"), "is for round '1', not for round"),
    (says(run="0123456789abcdef"), "is for another run"),
    (says(ledger=3), "is not a text"),
    (nothing_of_itself, "expected one record 'client'"),
    (more_settings, "expected one record 'client' of settings, got 'client', 'more'"),
    (flood_of_metrics, "metrics and settings have"),
    (enormous, "more than 1000 times the global model's"),
    (exits, "SystemExit"),
    (raises, "out of memory in the hospital"),
    (many_examples, "num-examples = 1000000000000 is not between 1 and the 10"),
    (negative_examples, "num-examples = -512 is not between"),
    (nan_examples, "num-examples = nan is not a whole number"),
    (list_examples, "is not a whole number"),
]


def run(folder: Path, behaviours: list, **changes: object) -> RunFolder:
    made = RunFolder(folder / "run")
    data = fixture.dataset()
    run_federation(fixture.grid(behaviours), fixture.experiment(folder, len(behaviours), **changes), data, made)
    return made


@pytest.mark.parametrize(("fault", "reason"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("rule", ["fedavg", "median", "trimmed-mean", "krum", "multi-krum"])
def test_one_misbehaving_client_is_left_out_with_a_reason(
    tmp_path: Path, rule: str, fault: Callable, reason: str
) -> None:
    behaviours = [fixture.honest() for _ in range(7)]
    behaviours[1] = fault
    folder = run(tmp_path, behaviours, federation__rounds=2, federation__aggregation=rule)
    for line in read_lines(folder.rounds):
        assert line["status"] == "aggregated"
        refused = [client for client in line["clients"] if client["status"] != "accepted"]
        assert [client["name"] for client in refused] == ["client-2"]
        assert reason in refused[0]["reason"]
    start = initial_model(fixture.experiment(tmp_path, 7), fixture.dataset())
    final = read_arrays(folder.model)
    for name, parameter in start.named_parameters():
        torch.testing.assert_close(final[name], parameter.detach() + 0.2)  # two rounds of +0.1, as without the fault


def test_a_reply_of_another_round_played_again_is_refused_each_time(tmp_path: Path) -> None:
    kept: list[RecordDict] = []

    def again(number: int, received: Arrays) -> RecordDict:
        if not kept:
            kept.append(fixture.honest()(number, received))
        reply = RecordDict(dict(kept[0].items()))
        reply["client"] = ConfigRecord(dict(kept[0]["client"].items()) | {"round": 1})
        return reply

    folder = run(tmp_path, [fixture.honest(), again], federation__rounds=3)
    told = [line["clients"][1]["reason"] for line in read_lines(folder.rounds)]
    assert told == ["", *(f"its reply is for round 1, not for round {number}" for number in (2, 3))]


def test_a_second_reply_is_ignored_and_counted(tmp_path: Path) -> None:
    behaviours = [fixture.honest(), fixture.honest()]
    (tmp_path / "once").mkdir()
    once = run(tmp_path / "once", behaviours, federation__rounds=1)
    twice = fixture.grid(behaviours)
    straight, made = twice.send_and_receive, RunFolder(tmp_path / "run")

    def repeat(messages: list[Message], timeout: float | None = None) -> list[Message]:
        replies = list(straight(messages, timeout=timeout))
        worse = Message(fixture.content({}), reply_to=messages[0])
        return [*replies, worse, worse]

    twice.send_and_receive = repeat
    run_federation(twice, fixture.experiment(tmp_path, 2, federation__rounds=1), fixture.dataset(), made)
    assert made.model.read_bytes() == once.model.read_bytes()
    (line,) = read_lines(made.rounds)
    assert [(client["status"], client["ignored"]) for client in line["clients"]] == [("accepted", 2), ("accepted", 0)]


def test_a_reply_that_nobody_asked_for_is_nobody_s(tmp_path: Path) -> None:
    made, grid = RunFolder(tmp_path / "run"), fixture.grid([fixture.honest(), fixture.honest()])
    straight = grid.send_and_receive

    def stray(messages: list[Message], timeout: float | None = None) -> list[Message]:
        replies = list(straight(messages, timeout=timeout))
        replies[0].metadata.__dict__["_reply_to_message_id"] = "what the server never sent"
        return replies

    grid.send_and_receive = stray
    run_federation(grid, fixture.experiment(tmp_path, 2, federation__rounds=1), fixture.dataset(), made)
    (line,) = read_lines(made.rounds)
    assert [client["status"] for client in line["clients"]] == ["silent", "accepted"]


def test_an_update_beyond_the_norm_limit_is_refused_and_one_at_it_is_not(tmp_path: Path) -> None:
    parameters = 2 * 64 + 2
    limit = 0.5 * parameters**0.5
    inside, outside = fixture.honest(0.499), fixture.honest(0.501)
    folder = run(tmp_path, [inside, outside], federation__rounds=1, federation__norm_limit=limit)
    (line,) = read_lines(folder.rounds)
    assert [client["status"] for client in line["clients"]] == ["accepted", "refused"]
    assert line["clients"][1]["reason"].startswith("its update has norm 5.712; federation.norm_limit = 5.70")
    assert line["clients"][0]["norm"] == pytest.approx(0.499 * parameters**0.5, rel=1e-5)


def test_three_refused_updates_exclude_a_client_and_others_go_on(tmp_path: Path) -> None:
    seen: list[int] = []

    def offender(number: int, received: Arrays) -> RecordDict:
        seen.append(number)
        return nan(number, received)

    folder = run(tmp_path, [fixture.honest(), offender, fixture.honest()], federation__rounds=5)
    lines = list(read_lines(folder.rounds))
    assert [line["clients"][1]["status"] for line in lines[:3]] == ["refused"] * 3
    told = [next(client for client in line["clients"] if client["name"] == "client-2") for line in lines[3:]]
    assert [client["status"] for client in told] == ["excluded"] * 2
    assert told[0]["reason"].startswith("3 of its updates were refused (rounds 1, 2, 3), the last: ")
    assert told[0]["reason"].endswith("holds NaN or infinity")
    assert seen == [1, 2, 3]
    assert [line["status"] for line in lines] == ["aggregated"] * 5


def test_silence_failure_and_a_client_s_own_refusal_are_no_strikes(tmp_path: Path) -> None:
    def refuses(_: int, received: Arrays) -> RecordDict:
        return RecordDict({"client": ConfigRecord({"refusal": "the ledger is missing; restore it"})})

    folder = run(
        tmp_path,
        [fixture.honest(), raises, refuses],
        federation__rounds=3,
        federation__strikes_limit=1,
        federation__quorum=1,
    )
    for line in read_lines(folder.rounds):
        assert [client["status"] for client in line["clients"]] == ["accepted", "refused", "refused"]
        assert [client["strike"] for client in line["clients"]] == [False] * 3
        assert line["clients"][2]["reason"] == "the ledger is missing; restore it"


def test_strikes_outlive_a_restart(tmp_path: Path) -> None:
    def behaviours(killed_in: int | None) -> list:
        def dies(number: int, received: Arrays) -> RecordDict:
            if number == killed_in:
                raise KeyboardInterrupt
            return fixture.honest()(number, received)

        return [dies, nan]

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, behaviours(3), federation__rounds=5)
    folder = run(tmp_path, behaviours(None), federation__rounds=5)
    told = [
        next(client["status"] for client in line["clients"] if client["name"] == "client-2")
        for line in read_lines(folder.rounds)
    ]
    assert told == ["refused"] * 3 + ["excluded"] * 2


def test_whoever_is_excluded_stays_so_when_the_server_restarts(tmp_path: Path) -> None:
    def dies(number: int, received: Arrays) -> RecordDict:
        if number == 3:
            raise KeyboardInterrupt
        return fixture.honest()(number, received)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [dies, nan], federation__rounds=3, federation__strikes_limit=2)
    seen: list[int] = []

    def reformed(number: int, received: Arrays) -> RecordDict:
        seen.append(number)
        return fixture.honest()(number, received)

    run(tmp_path, [fixture.honest(), reformed], federation__rounds=3, federation__strikes_limit=2)
    assert seen == []


def test_int8_updates_arrive_as_weights_to_half_a_step(tmp_path: Path) -> None:
    def compressed(_: int, received: Arrays) -> RecordDict:
        base = {name: torch.from_numpy(array.copy()) for name, array in received.items()}
        sent = {name: array + 0.1 for name, array in base.items()}
        packed, _residual = compress(sent, base, {})
        return fixture.content({name: array.numpy() for name, array in packed.items()})

    folder = run(tmp_path, [compressed, fixture.honest()], federation__rounds=1, federation__update_compression="int8")
    (line,) = read_lines(folder.rounds)
    assert [client["status"] for client in line["clients"]] == ["accepted", "refused"]
    assert "missing ['int8', 'scales']" in line["clients"][1]["reason"]
    start = initial_model(fixture.experiment(tmp_path, 2), fixture.dataset())
    final = read_arrays(folder.model)
    for name, parameter in start.named_parameters():
        torch.testing.assert_close(final[name], parameter.detach() + 0.1, atol=0.1 / 127 / 2 + 1e-6, rtol=0)


def test_without_a_training_split_the_announced_records_are_the_only_cap(tmp_path: Path) -> None:
    data = dataclasses.replace(fixture.dataset(), train=fixture.dataset(0).train)
    made, more = RunFolder(tmp_path / "run"), fixture.honest(examples=5000)
    grid = fixture.grid([more, fixture.honest(examples=5001)], announced=5000)
    run_federation(grid, fixture.experiment(tmp_path, 2, federation__rounds=1), data, made)
    (line,) = read_lines(made.rounds)
    assert [client["status"] for client in line["clients"]] == ["accepted", "refused"]


def test_bulyan_which_takes_seconds_survives_a_wrong_shape_too(tmp_path: Path) -> None:
    behaviours = [fixture.honest() for _ in range(8)]
    behaviours[1] = wrong_shape
    folder = run(tmp_path, behaviours, federation__rounds=1, federation__aggregation="bulyan")
    (line,) = read_lines(folder.rounds)
    assert line["status"] == "aggregated"


def test_one_extra_metric_does_not_end_the_run(tmp_path: Path) -> None:
    def chatty(_: int, received: Arrays) -> RecordDict:
        return fixture.content(received, shoe_size=42.0)

    folder = run(tmp_path, [fixture.honest(), chatty, fixture.honest()], federation__rounds=1)
    (line,) = read_lines(folder.rounds)
    assert [client["status"] for client in line["clients"]] == ["accepted"] * 3


def test_fedavg_weights_by_records_by_hand(tmp_path: Path) -> None:
    folder = run(tmp_path, [fixture.honest(0.1, examples=1), fixture.honest(0.5, examples=3)], federation__rounds=1)
    start = initial_model(fixture.experiment(tmp_path, 2), fixture.dataset())
    final = read_arrays(folder.model)
    for name, parameter in start.named_parameters():
        torch.testing.assert_close(final[name], parameter.detach() + 0.4)  # (1 · 0.1 + 3 · 0.5) / 4


@pytest.mark.parametrize(
    ("rule", "options", "shifts", "expected"),
    [
        ("median", {}, [0.1, 0.2, 9.0], 0.2),
        ("trimmed-mean", {"beta": 0.2}, [-9.0, 0.1, 0.2, 0.3, 9.0], 0.2),
        ("krum", {"num_malicious_nodes": 1}, [0.10, 0.11, 0.12, 9.0, 0.11], 0.11),
        ("multi-krum", {"num_malicious_nodes": 1, "num_nodes_to_select": 3}, [0.10, 0.11, 0.12, 9.0, 0.11], None),
        ("bulyan", {"num_malicious_nodes": 1}, [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 9.0], 0.1),
    ],
)
def test_robust_rules_by_hand(tmp_path: Path, rule: str, options: dict, shifts: list[float], expected: float) -> None:
    folder = run(
        tmp_path,
        [fixture.honest(shift) for shift in shifts],
        federation__rounds=1,
        federation__aggregation=rule,
        federation__aggregation_options=options,
    )
    start = initial_model(fixture.experiment(tmp_path, len(shifts)), fixture.dataset())
    final = read_arrays(folder.model)
    for name, parameter in start.named_parameters():
        moved = final[name] - parameter.detach()
        if expected is None:
            assert 0.09 < moved.mean() < 0.13
        else:
            torch.testing.assert_close(moved, torch.full_like(moved, expected), atol=1e-5, rtol=0)


def test_too_few_good_updates_skip_the_round_and_past_a_limit_end_the_run_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"skipped_rounds_limit = 1: more .* in a row.*0 good updates.*client-1: "):
        run(tmp_path, [nan, raises], federation__rounds=5, federation__skipped_rounds_limit=1)
    lines = list(read_lines(tmp_path / "run" / "rounds.jsonl"))
    assert [line["status"] for line in lines] == ["skipped", "skipped"]
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_skipped_round_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    def late_start(number: int, received: Arrays) -> RecordDict:
        return nan(number, received) if number == 1 else fixture.honest()(number, received)

    folder = run(tmp_path, [late_start, late_start], federation__rounds=2)
    start = initial_model(fixture.experiment(tmp_path, 2), fixture.dataset())
    final = read_arrays(folder.model)
    for name, parameter in start.named_parameters():
        torch.testing.assert_close(final[name], parameter.detach() + 0.1)


def test_a_killed_run_resumes_at_its_last_finished_round_and_ends_the_same(tmp_path: Path) -> None:
    def behaviours(killed_in: int | None) -> list:
        def client(number: int, received: Arrays) -> RecordDict:
            if number == killed_in:
                raise KeyboardInterrupt
            return fixture.honest(0.01 * number)(number, received)

        return [client, fixture.honest()]

    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = run(tmp_path / "whole", behaviours(None), federation__rounds=4)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", behaviours(3), federation__rounds=4)
    assert [line["round"] for line in read_lines(tmp_path / "cut" / "run" / "rounds.jsonl")] == [1, 2]
    cut = run(tmp_path / "cut", behaviours(None), federation__rounds=4)
    assert cut.model.read_bytes() == whole.model.read_bytes()
    assert [line["round"] for line in read_lines(cut.rounds)] == [1, 2, 3, 4]
    assert read_json(cut.ledger) == read_json(whole.ledger)


def test_the_result_does_not_depend_on_the_order_of_replies(tmp_path: Path) -> None:
    behaviours = [fixture.honest(shift, examples) for shift, examples in ((0.1, 3), (0.7, 5), (1e-3, 10))]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = run(tmp_path / "a", behaviours, federation__rounds=2)

    data, made = fixture.dataset(), RunFolder(tmp_path / "b" / "run")
    shuffled = fixture.grid(behaviours)
    straight = shuffled.send_and_receive
    shuffled.send_and_receive = lambda messages, timeout=None: list(straight(messages, timeout=timeout))[::-1]
    run_federation(shuffled, fixture.experiment(tmp_path / "b", 3, federation__rounds=2), data, made)
    assert first.model.read_bytes() == made.model.read_bytes()


def test_silence_is_not_waited_for_beyond_the_timeout(tmp_path: Path) -> None:
    silent = fixture.grid([fixture.honest(), fixture.honest()])
    straight = silent.send_and_receive

    def lose_one(messages: list, timeout: float | None = None) -> list:
        replies = list(straight(messages, timeout=timeout))
        return [reply for reply in replies if reply.metadata.message_type == "query" or reply.metadata.src_node_id != 2]

    silent.send_and_receive = lose_one
    made = RunFolder(tmp_path / "run")
    run_federation(silent, fixture.experiment(tmp_path, 2, federation__rounds=1), fixture.dataset(), made)
    (line,) = read_lines(made.rounds)
    assert {client["name"]: client["status"] for client in line["clients"]} == {
        "client-1": "accepted",
        "client-2": "silent",
    }


def test_bytes_are_counted(tmp_path: Path) -> None:
    folder = run(tmp_path, [fixture.honest(), fixture.honest()], federation__rounds=1)
    (line,) = read_lines(folder.rounds)
    weights_bytes = 4 * (64 * 2 + 2)
    for client in line["clients"]:
        assert weights_bytes < client["bytes_up"] < weights_bytes + 2 * 200 + 100  # two .npy headers, and what it says
        assert client["bytes_down"] > client["bytes_up"]


def test_without_privacy_no_epsilon_is_claimed(tmp_path: Path) -> None:
    folder = run(tmp_path, [fixture.honest(), fixture.honest()], federation__rounds=1)
    assert read_json(folder.ledger)["worst_honest_epsilon"] is None


def test_a_federation_in_which_nothing_was_aggregated_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no round was aggregated.*out of memory in the hospital"):
        run(tmp_path, [raises, raises], federation__rounds=2, federation__skipped_rounds_limit=3)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_stuck_run_goes_on_once_its_clients_work_again(tmp_path: Path) -> None:
    changes = {"federation__rounds": 5, "federation__skipped_rounds_limit": 1}
    with pytest.raises(UserError, match=r"in a row"):
        run(tmp_path, [raises, raises], **changes)
    folder = run(tmp_path, [fixture.honest(), fixture.honest()], **changes)
    assert [line["status"] for line in read_lines(folder.rounds)] == ["skipped"] * 2 + ["aggregated"] * 3


def test_skips_that_are_not_in_a_row_do_not_end_a_run(tmp_path: Path) -> None:
    def sometimes(number: int, received: Arrays) -> RecordDict:
        return nan(number, received) if number % 2 else fixture.honest()(number, received)

    folder = run(
        tmp_path,
        [sometimes, sometimes],
        federation__rounds=6,
        federation__skipped_rounds_limit=1,
        federation__strikes_limit=9,
    )
    assert [line["status"] for line in read_lines(folder.rounds)] == ["skipped", "aggregated"] * 3


def test_a_rule_that_waits_for_more_clients_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it waits for more than the 2 clients"):
        run(
            tmp_path,
            [fixture.honest(), fixture.honest()],
            federation__rounds=1,
            federation__aggregation_options={"min_available_nodes": 5},
        )


def test_a_rule_whose_configuration_raises_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "rule.py").write_text(
        "from flwr.serverapp.strategy import FedAvg\n"
        "class Mine(FedAvg):\n    def configure_train(self, *a):\n        raise ValueError('no plan')\n"
    )
    with pytest.raises(UserError, match=r"Mine.configure_train failed: ValueError: no plan"):
        run(
            tmp_path,
            [fixture.honest(), fixture.honest()],
            federation__rounds=1,
            federation__aggregation=f"{tmp_path / 'rule.py'}:Mine",
        )


def overflows_with_others(number: int, received: Arrays) -> RecordDict:
    """Alone its answers are finite: everything but the last bias is far away and of no effect together with zeros."""
    arrays = {name: np.zeros_like(array) for name, array in received.items()}
    last = list(arrays)[-1]
    arrays[last] = np.full_like(arrays[last], 3e38)
    return fixture.content(arrays)


def test_weights_that_would_only_overflow_with_others_are_refused_with_a_strike(tmp_path: Path) -> None:
    behaviours = [fixture.honest(), fixture.honest(), overflows_with_others]
    folder = run(tmp_path, behaviours, federation__rounds=4)
    lines = list(read_lines(folder.rounds))
    assert all(line["status"] == "aggregated" for line in lines)
    assert [client["status"] for client in lines[3]["clients"]] == ["accepted", "accepted", "excluded"]


FRAGILE = """
import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAvg

class Fragile(FedAvg):
    def aggregate_train(self, server_round, replies):
        record, metrics = super().aggregate_train(server_round, replies)
        if any(abs(array.numpy()).max() > 10 for array in record.values()):
            record = ArrayRecord({name: Array(array.numpy() * np.float32("nan")) for name, array in record.items()})
        return record, metrics
"""


def test_an_update_that_ruins_the_aggregate_is_left_out_and_the_rest_is_aggregated(tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    rule = {"federation__aggregation": f"{tmp_path / 'fragile.py'}:Fragile", "federation__rounds": 2}
    behaviours = [fixture.honest(), fixture.honest(), fixture.honest(shift=100.0)]
    folder = run(tmp_path, behaviours, **rule)
    for line in read_lines(folder.rounds):
        assert line["status"] == "aggregated"
        assert [client["status"] for client in line["clients"]] == ["accepted", "accepted", "refused"]
        assert "with its update, the longest, the aggregate was ruined" in line["clients"][2]["reason"]
        assert line["clients"][2]["strike"]
    alone = tmp_path / "alone"
    alone.mkdir()
    without = run(alone, behaviours[:2], federation__rounds=2)
    ours, theirs = read_arrays(folder.model), read_arrays(without.model)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
