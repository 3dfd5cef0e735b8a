"""int8 updates in whole federations: a quarter of the bytes, any rule, resumed, refused, and hostile ones."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, Message, RecordDict
from torch import Tensor

import server.federation
from clients.app import app
from clients.residual import RESIDUAL
from common.config import Experiment, parse
from common.data import prepare
from common.folder import RunFolder, read_arrays, read_json, read_lines
from common.update_compression import SCALES, STEPS, compress, template
from experiments.inprocess import InProcessGrid
from experiments.run import train
from server.aggregation import AGGREGATION
from server.federation import run_federation
from tests.server import federation_fixture as fixture

Arrays = dict[str, np.ndarray]
TINY = {
    "name": "tiny",
    "data": {"image_size": 28, "train_records": 60, "public_records": 24, "test_records": 24},
    "model": {"width": 8},
    "training": {"batch_size": 16},
    "federation": {"rounds": 3, "update_compression": "int8"},
    "clients": [{"name": "good"}, {"name": "bad", "strategy": "label-flipper"}],
}
OPTIONS = {"centered-clipping": {"clip_norm": 10.0}, "bulyan": {"num_malicious_nodes": 0}}


def tiny(**changes: Any) -> Experiment:
    return parse(TINY, "tiny").change({key.replace("__", "."): value for key, value in changes.items()})


def trained(runs: Path, **changes: Any) -> RunFolder:
    return train(tiny(**changes), prepare(tiny().data), runs, "inprocess")


def test_clients_send_about_a_quarter_of_the_bytes(tmp_path: Path) -> None:
    # One round: more rounds of training magnify small differences.
    compressed, plain = (
        trained(tmp_path, federation__rounds=1, federation__update_compression=kind) for kind in ("int8", "none")
    )
    few, many = (read_json(folder.manifest)["bytes"] for folder in (compressed, plain))
    for name in ("good", "bad"):
        assert many[name]["up"] / few[name]["up"] > 3.9  # the ledger and the metrics stay as they are
        assert abs(many[name]["down"] - few[name]["down"]) < 1000
    ours, theirs = (read_arrays(folder.model) for folder in (compressed, plain))
    start = server.federation.initial_model(tiny(), prepare(tiny().data)).state_dict()
    assert 0 < distance(ours, theirs) < 0.02 * distance(theirs, start)


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return sum(float((array.double() - other[name].double()).square().sum()) for name, array in one.items()) ** 0.5


@pytest.mark.parametrize("private", [False, True])
def test_a_resumed_run_equals_an_uninterrupted_one(
    private: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"privacy__enabled": private, "privacy__accountant": "rdp", "privacy__delta": 1e-3}
    undisturbed = trained(tmp_path / "a", **changes)
    saved = server.federation.Progress.save

    def killed_before_saving(self: server.federation.Progress, folder: RunFolder) -> None:
        if self.round == 2:  # both clients have trained for round 2, and each has kept what it lost
            raise KeyboardInterrupt
        saved(self, folder)

    monkeypatch.setattr(server.federation.Progress, "save", killed_before_saving)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "b", **changes)
    monkeypatch.undo()
    resumed = trained(tmp_path / "b", **changes)
    assert resumed.model.read_bytes() == undisturbed.model.read_bytes()
    (mine,), (theirs,) = (sorted((folder.clients / "good").glob(f"*/{RESIDUAL}")) for folder in (resumed, undisturbed))
    assert mine.read_bytes() == theirs.read_bytes()


class Watched(InProcessGrid):
    """A grid that notes what client 1 is told counted, and spoils its update in some rounds."""

    def __init__(self, spoil: Callable[[RecordDict], None], rounds: set[int]) -> None:
        super().__init__(app, 2)
        self.told: list[int] = []
        self._spoil, self._rounds = spoil, rounds

    def _deliver(self, message: Message) -> Message:
        reply = super()._deliver(message)
        if message.metadata.message_type == "train" and message.metadata.dst_node_id == 1:
            config = message.content["config"]
            self.told.append(config["counted"])
            if config["server-round"] in self._rounds:
                self._spoil(reply.content)
        return reply


def infinite(content: RecordDict) -> None:
    content["arrays"][SCALES] = Array(content["arrays"][SCALES].numpy() * np.float32("inf"))


def another_round(content: RecordDict) -> None:
    content["client"]["round"] = 99


@pytest.mark.parametrize("spoil", [infinite, another_round])
def test_clients_are_told_which_update_counted_last(spoil: Callable[[RecordDict], None], tmp_path: Path) -> None:
    grid, folder = Watched(spoil, {2, 3}), RunFolder(tmp_path)
    made = tiny(federation__rounds=5, federation__quorum=1)
    run_federation(grid, made, prepare(made.data), folder)
    assert [line["clients"][0]["status"] for line in read_lines(folder.rounds)] == [
        "accepted",
        "refused",
        "refused",
        "accepted",
        "accepted",
    ]
    assert grid.told == [0, 1, 1, 1, 4]


def test_an_update_of_a_round_that_was_skipped_did_not_count(tmp_path: Path) -> None:
    grid, folder = Watched(lambda content: None, set()), RunFolder(tmp_path)
    made = tiny(federation__rounds=3, federation__quorum=2, clients=[{"name": "good"}, {"name": "gone"}])
    straight = grid.send_and_receive

    def without_the_second_in_round_two(messages: list[Message], timeout: float | None = None) -> list[Message]:
        number = messages[0].content["config"]["server-round"]
        training = messages[0].metadata.message_type == "train"
        replies = list(straight(messages, timeout=timeout))
        return replies[:1] if training and number == 2 else replies

    grid.send_and_receive = without_the_second_in_round_two
    run_federation(grid, made, prepare(made.data), folder)
    assert [line["status"] for line in read_lines(folder.rounds)] == ["aggregated", "skipped", "aggregated"]
    assert grid.told == [0, 1, 1]


def test_without_compression_clients_are_told_nothing_more(tmp_path: Path) -> None:
    made = tiny(federation__rounds=1, federation__update_compression="none")
    grid = InProcessGrid(app, 2)
    seen: list[RecordDict] = []
    straight = grid.send_and_receive

    def watched(messages: list[Message], timeout: float | None = None) -> list[Message]:
        seen.extend(message.content for message in messages)
        return list(straight(messages, timeout=timeout))

    grid.send_and_receive = watched
    run_federation(grid, made, prepare(made.data), RunFolder(tmp_path))
    assert seen
    assert not any("counted" in content["config"] for content in seen)


def linear_client(shift: float, spoil: Callable[[Arrays], Arrays] = lambda arrays: arrays) -> fixture.Behaviour:
    """A client that adds ``shift`` to every weight and sends that compressed."""

    def reply(_: int, received: Arrays) -> RecordDict:
        base = {name: torch.from_numpy(array.copy()) for name, array in received.items()}
        update, _lost = compress({name: array + shift for name, array in base.items()}, base, {})
        return fixture.content(spoil({name: array.numpy() for name, array in update.items()}))

    return reply


def run(folder: Path, behaviours: list[fixture.Behaviour], **changes: object) -> RunFolder:
    made = RunFolder(folder / "run")
    experiment = fixture.experiment(folder, len(behaviours), federation__rounds=1, **changes)
    run_federation(fixture.grid(behaviours), experiment, fixture.dataset(), made)
    return made


@pytest.mark.parametrize("rule", sorted(AGGREGATION))
def test_every_rule_aggregates_what_arrived(rule: str, tmp_path: Path) -> None:
    shifts = [0.10, 0.105, 0.115, 0.13, 0.16]  # without ties that half a step could break
    changes = {"federation__aggregation": rule, "federation__aggregation_options": OPTIONS.get(rule, {})}
    (tmp_path / "plain").mkdir()
    (tmp_path / "int8").mkdir()
    plain = run(tmp_path / "plain", [fixture.honest(shift) for shift in shifts], **changes)
    compressed = run(
        tmp_path / "int8",
        [linear_client(shift) for shift in shifts],
        **changes,
        federation__update_compression="int8",
    )
    ours, theirs = read_arrays(compressed.model), read_arrays(plain.model)
    for name, array in theirs.items():
        assert torch.allclose(ours[name], array, rtol=0, atol=0.16 / 127 / 2 + 1e-6)


def giant_header(arrays: Arrays) -> dict[str, Any]:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|i1", "fortran_order": False, "shape": (10**9,)})
    return arrays | {STEPS: Array("int8", (10**9,), "numpy.ndarray", file.getvalue() + b"1")}


FAULTS: list[tuple[Callable[[Arrays], Any], str]] = [
    (lambda arrays: {STEPS: arrays[STEPS]}, "missing ['scales']"),
    (lambda arrays: {SCALES: arrays[SCALES]}, "missing ['int8']"),
    (lambda arrays: arrays | {"1.weight": np.zeros(1000, np.float32)}, "the model needs"),
    (lambda arrays: arrays | {"more": np.zeros(1, np.int8)}, "unknown ['more']"),
    (lambda arrays: {"1.weight": np.zeros((2, 64), np.int8), "1.bias": np.zeros(2, np.int8)}, "array names differ"),
    (lambda arrays: arrays | {STEPS: arrays[STEPS].astype(np.uint8)}, "int8 has type uint8 instead of int8"),
    (lambda arrays: arrays | {STEPS: arrays[STEPS].astype(np.float32)}, "int8 has 648 bytes instead of 130"),
    (lambda arrays: arrays | {SCALES: arrays[SCALES].astype(np.float64)}, "scales has type float64 instead"),
    (lambda arrays: arrays | {STEPS: arrays[STEPS][:-1]}, "int8 has shape (129,) instead of (130,)"),
    (lambda arrays: arrays | {STEPS: arrays[STEPS].reshape(2, 65)}, "int8 has shape (2, 65) instead of (130,)"),
    (lambda arrays: arrays | {SCALES: arrays[SCALES][:1]}, "scales has shape (1,) instead of (2,)"),
    (lambda arrays: arrays | {SCALES: arrays[SCALES] * np.float32("nan")}, "scales holds NaN or infinity"),
    (lambda arrays: arrays | {SCALES: arrays[SCALES] * np.float32("inf")}, "scales holds NaN or infinity"),
    (lambda arrays: arrays | {SCALES: np.full(2, 3e38, np.float32)}, "weight holds NaN or infinity"),
    (lambda arrays: arrays | {SCALES: np.full(2, 1e30, np.float32)}, "its update has norm"),
    (giant_header, "int8 has shape (1000000000,) instead of"),
]


@pytest.mark.parametrize(("spoil", "reason"), FAULTS, ids=[reason for _, reason in FAULTS])
def test_a_malformed_update_costs_its_client_the_round(
    spoil: Callable[[Arrays], Arrays], reason: str, tmp_path: Path
) -> None:
    def hostile(_: int, received: Arrays) -> RecordDict:
        base = {name: torch.from_numpy(array.copy()) for name, array in received.items()}
        update, _lost = compress({name: array + 0.1 for name, array in base.items()}, base, {})
        spoilt = spoil({name: array.numpy() for name, array in update.items()})
        reply = fixture.content({name: array for name, array in spoilt.items() if isinstance(array, np.ndarray)})
        for name, array in spoilt.items():
            if isinstance(array, Array):
                reply["arrays"][name] = array
        return reply

    changes = {"federation__update_compression": "int8", "federation__norm_limit": 100.0}
    folder = run(tmp_path, [linear_client(0.1), hostile, linear_client(0.1)], **changes)
    (line,) = read_lines(folder.rounds)
    assert [client["status"] for client in line["clients"]] == ["accepted", "refused", "accepted"]
    assert reason in line["clients"][1]["reason"]
    assert line["clients"][1]["strike"]


def test_no_update_may_be_larger_than_a_compressed_one(tmp_path: Path) -> None:
    behaviours = [linear_client(0.1), fixture.honest()]
    folder = run(tmp_path, behaviours, federation__update_compression="int8")
    (line,) = read_lines(folder.rounds)
    assert [client["status"] for client in line["clients"]] == ["accepted", "refused"]


def test_the_bytes_in_rounds_jsonl_are_those_on_the_wire(tmp_path: Path) -> None:
    folder = run(tmp_path, [linear_client(0.1), linear_client(0.2)], federation__update_compression="int8")
    (line,) = read_lines(folder.rounds)
    wire = template({"weight": torch.zeros(2, 64), "bias": torch.zeros(2)})
    least = sum(array.nbytes for array in wire.values())
    for client in line["clients"]:
        assert least < client["bytes_up"] < least + 600
