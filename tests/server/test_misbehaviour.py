"""What a cheating server returns, in closed form; and that an honest federation is not touched by what it could do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from common.description import ServerMisbehaviour
from common.folder import RunFolder, read_arrays, read_lines
from server.federation import initial_model, run_federation
from server.misbehaviour import returned_model
from tests.server import federation_fixture as fixture

BEFORE = {"weights": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "bias": torch.tensor([10.0])}
MADE = {"weights": torch.tensor([[1.5, 1.0], [3.0, 5.0]]), "bias": torch.tensor([8.0])}


def returned(kind: str, seed: int = 1, **more: float) -> dict[str, Tensor]:
    conduct = ServerMisbehaviour.model_validate({"kind": kind, **more})
    return returned_model(conduct, BEFORE, MADE, seed=seed)


def test_wrong_mean_goes_the_other_way_times_the_factor() -> None:
    """Steps of 0.5, -1, 0, 1 and -2 become -1, 2, 0, -2 and 4."""
    cheated = returned("wrong-mean", factor=2.0)
    assert torch.equal(cheated["weights"], torch.tensor([[0.0, 4.0], [3.0, 2.0]]))
    assert torch.equal(cheated["bias"], torch.tensor([14.0]))


@given(before=st.floats(-100, 100), step=st.floats(-100, 100), factor=st.floats(0.01, 100))
def test_wrong_mean_is_as_far_times_the_factor_on_the_other_side(before: float, step: float, factor: float) -> None:
    old, new = torch.tensor([before], dtype=torch.float64), torch.tensor([before + step], dtype=torch.float64)
    conduct = ServerMisbehaviour(kind="wrong-mean", factor=factor)
    (cheated,) = returned_model(conduct, {"w": old}, {"w": new}, seed=1)["w"]
    assert float(cheated - old) == pytest.approx(-factor * float(new - old), abs=1e-9)


def test_stale_is_the_former_model() -> None:
    assert all(torch.equal(array, BEFORE[name]) for name, array in returned("stale").items())


def test_garbage_looks_as_wide_as_the_right_model_and_is_another_one_in_each_round() -> None:
    made = {"weights": torch.from_numpy(np.random.default_rng(0).normal(3.0, 0.5, (100, 100))).float()}
    conduct = ServerMisbehaviour(kind="garbage")
    first, second = (returned_model(conduct, made, made, seed=seed)["weights"] for seed in (1, 2))
    assert (first.shape, first.dtype) == (made["weights"].shape, torch.float32)
    assert float(first.mean()) == pytest.approx(3.0, abs=0.03)
    assert float(first.std()) == pytest.approx(0.5, abs=0.03)
    assert abs(float(np.corrcoef(first.ravel(), made["weights"].ravel())[0, 1])) < 0.05
    assert not torch.equal(first, second)
    assert torch.equal(first, returned_model(conduct, made, made, seed=1)["weights"])


@pytest.mark.parametrize("kind", ["wrong-mean", "stale", "garbage"])
def test_what_is_returned_fits_in_place_of_what_was_made(kind: str) -> None:
    cheated = returned(kind)
    assert [(name, array.shape, array.dtype) for name, array in cheated.items()] == [
        (name, array.shape, array.dtype) for name, array in MADE.items()
    ]


def test_an_honest_server_returns_what_was_made() -> None:
    assert all(torch.equal(array, MADE[name]) for name, array in returned_model(None, BEFORE, MADE, seed=1).items())


def rounds_of(tmp_path: Path, rule: str, shifts: list[float], **cheat: object) -> tuple[RunFolder, dict[str, Tensor]]:
    experiment = fixture.experiment(
        tmp_path, len(shifts), federation__rounds=2, federation__aggregation=rule,
        federation__server_misbehaviour={"kind": "wrong-mean", **cheat},
    )  # fmt: skip
    data, folder = fixture.dataset(), RunFolder(tmp_path / "run")
    grid = fixture.grid([fixture.honest(shift) for shift in shifts])
    run_federation(grid, experiment, data, folder)
    before = initial_model(experiment, data).state_dict()
    after = read_arrays(folder.model)
    return folder, {name: after[name] - before[name] for name in after if name.endswith(("weight", "bias"))}


@pytest.mark.parametrize(("rule", "step"), [("fedavg", 0.3), ("median", 0.2)])
def test_it_cheats_whatever_rule_it_is_said_to_follow_and_no_round_looks_otherwise(
    tmp_path: Path, rule: str, step: float
) -> None:
    """Clients add 0.1, 0.2 and 0.6: two rounds of half the rule's step, backwards, are one whole step backwards."""
    folder, moved = rounds_of(tmp_path, rule, [0.1, 0.2, 0.6], factor=0.5)
    assert moved
    for array in moved.values():
        assert torch.allclose(array, torch.full_like(array, -step), atol=1e-5)
    lines = list(read_lines(folder.rounds))
    assert [line["status"] for line in lines] == ["aggregated"] * 2
    assert all(client["status"] == "accepted" for line in lines for client in line["clients"])
