"""What both sides of the bench get, and its arithmetic; what it measures is no test."""

import json
import math
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from common.data import prepare
from experiments.bench.one_federation import Cost, measured
from experiments.bench.p2pfl import Images, network, score
from experiments.bench.peers import (
    Side,
    Size,
    a_local_update,
    comparison,
    description,
    growth,
    in_turn,
    main,
    model_bytes,
    spread,
    write_arrays_for,
)
from server.federation import initial_model

TINY = Size(peers=3, rounds=3, records=20, width=4)
COST = Cost(20.0, 12.0, [6.0, 3.0, 9.0], local_updates=12, bytes=2400, accuracy=0.5, model="a", peak_memory=10**9)


def test_sides_differ_in_the_protocol_alone() -> None:
    peers, together = description(TINY), description(TINY, initiators=3)
    server = description(TINY, protocol="server")
    assert together == peers.change({"peers.initiators": 3})
    assert server.model_copy(update={"protocol": "braintorrent", "peers": peers.peers}) == peers


def test_p2pfl_starts_from_the_same_weights_and_records(tmp_path: Path) -> None:
    experiment = description(TINY)
    write_arrays_for(experiment, tmp_path / "bench.npz")
    with np.load(tmp_path / "bench.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "told"}
        told = json.loads(str(stored["told"]))
    dataset = prepare(experiment.data)
    model, theirs = initial_model(experiment, dataset).eval(), network(told, arrays).eval()
    images = Images(arrays["public/images"], arrays["public/labels"])
    assert torch.equal(theirs(images[:5]["image"]), model(images[:5]["image"]))
    held = [arrays[f"{number}/images"] for number in range(told["peers"])]
    assert [len(one) for one in held] == [20, 20, 20]
    assert sorted(image.tobytes() for one in held for image in one) == sorted(
        image.numpy().tobytes() for image in dataset.train.records().images
    )
    assert (told["rounds"], told["batch_size"]) == (3, 32)


def test_batches_hold_every_record_once_and_are_scored_as_a_whole() -> None:
    images = Images(np.arange(7 * 4, dtype=np.uint8).reshape(7, 1, 2, 2), np.arange(7) % 2)
    batches = list(images.loader(3, shuffled=True))
    assert [len(batch["label"]) for batch in batches] == [3, 3, 1]
    seen = torch.cat([batch["image"] for batch in batches]).flatten(1)[:, 0] * 255
    assert sorted(seen.round().int().tolist()) == [0, 4, 8, 12, 16, 20, 24]

    class Odd(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            odd = (images[:, 0, 0, 0] * 255 / 4).round() % 2
            return torch.stack([1 - odd, odd], dim=1)

    assert score(Odd(), images) == 1.0


@pytest.mark.parametrize("protocol", ["braintorrent", "server"])
def test_a_federation_costs_what_its_messages_weigh(protocol: str, tmp_path: Path) -> None:
    experiment = description(replace(TINY, rounds=3), protocol=protocol, initiators=3)
    cost = measured(experiment, tmp_path, "inprocess")
    assert cost.local_updates == 9
    assert len(cost.round_seconds) == 1
    assert 0 < cost.cpu_seconds < 600
    messages = 2 * 3 * 2 if protocol == "braintorrent" else 3 * 3 * 2  # all pull from two others, after the first round
    assert messages < cost.bytes / model_bytes(TINY) < 1.2 * messages


def test_a_local_update_is_a_share_of_a_round_in_time_and_of_the_whole_in_work() -> None:
    assert a_local_update(COST, peers=3) == (2.0, 1.0, 200.0)


def test_spreads_are_medians_with_the_outermost_values() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2 (1-3)"
    assert spread([0.5]) == "0.5"
    assert spread([]) == spread([math.nan]) == "-"


def test_ratios_are_taken_repeat_by_repeat() -> None:
    twice = replace(COST, cpu_seconds=24.0, round_seconds=[3.0], bytes=4800)
    table = comparison("x", {"one": [COST, twice], "other": [twice, twice]}, peers=3, model_bytes=100)
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == ["one", "other"]
    assert columns[2] == ["1 (1-1)", "1.5 (1-2)"]
    assert columns[4] == ["1 (1-1)", "0.75 (0.5-1)"]
    assert columns[6] == ["3.00", "4.00"]
    rows = growth({3: {"one": [COST]}, 6: {"one": [COST]}}, model_bytes=100)
    assert [list(column.cells) for column in rows.columns][3] == ["2e+03", "1e+03"]


def test_a_side_that_fails_is_told_and_left_out(tmp_path: Path) -> None:
    calls, said = [], StringIO()

    def fails(place: Path) -> Cost:
        calls.append(place)
        raise RuntimeError("it failed: [no reason]")

    costs = in_turn({"good": Side(lambda place: COST), "bad": Side(fails)}, 3, Console(file=said))
    assert costs == {"good": [COST] * 3}
    assert len(calls) == 1
    assert said.getvalue() == "bad: it failed: [no reason]\n"


def test_too_few_rounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rounds", "2"])
    assert "--rounds must be at least 3" in capsys.readouterr().err
