"""A peer's file: what is kept comes back, and what is not whole or somebody else's is refused."""

from pathlib import Path

import pytest
import torch

from common.errors import UserError
from peers.state import Offer, State, first_state, load_state
from tests.peers.toy_fixture import RUN, initial


def state() -> State:
    own = initial()
    other = {name: array + 1 for name, array in own.items()}
    return State(
        name="a", run=RUN, version=3, turns=4, arrays=own, offer=Offer(3, 7, 10, other),
        former=Offer(2, 5, 10, {name: array - 1 for name, array in own.items()}), step=1.25,
        merged={"b": 2}, digests={"b": "ff"}, claimed={"b": 20}, strikes={"c": 1},
        optimizer={"head.bias/step": torch.tensor(3.0)}, ledger="{}", lines=({"turn": 1, "failed": ""},),
    )  # fmt: skip


def assert_same(one: State, other: State) -> None:
    for name in (
        "name",
        "run",
        "version",
        "turns",
        "step",
        "merged",
        "digests",
        "claimed",
        "strikes",
        "ledger",
        "lines",
    ):
        assert getattr(one, name) == getattr(other, name), name
    pairs = [(one.arrays, other.arrays), (one.optimizer, other.optimizer), (one.offer.arrays, other.offer.arrays)]
    assert (one.former is None) == (other.former is None)
    for offers in ((one.offer, other.offer), (one.former, other.former)):
        if offers[0] is not None and offers[1] is not None:
            assert (offers[0].version, offers[0].wave, offers[0].records) == (
                offers[1].version, offers[1].wave, offers[1].records,
            )  # fmt: skip
            pairs.append((offers[0].arrays, offers[1].arrays))
    for mine, theirs in pairs:
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_state_comes_back_as_it_was_and_equal_states_are_equal_bytes(tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    state().save(file)
    found = load_state(file, "a", RUN, initial())
    assert found is not None
    assert_same(found, state())
    assert list(found.arrays) == list(found.offer.arrays) == list(initial())
    found.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_the_first_state_comes_back_with_one_copy_of_the_weights(tmp_path: Path) -> None:
    first = first_state("a", RUN, initial())
    first.save(tmp_path / "state")
    found = load_state(tmp_path / "state", "a", RUN, initial())
    assert found is not None
    assert_same(found, first)
    assert (tmp_path / "state").stat().st_size < 1000 + sum(array.nbytes for array in initial().values())


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    state().save(tmp_path / "state")
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state", "a", RUN, initial()) is None


def test_what_is_not_whole_or_another_ones_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state"
    state().save(file)
    with pytest.raises(UserError, match="the state of 'a', not of 'b'"):
        load_state(file, "b", RUN, initial())
    with pytest.raises(UserError, match="another run"):
        load_state(file, "a", "f" * 16, initial())
    with pytest.raises(UserError, match="another model"):
        load_state(file, "a", RUN, {"body.weight": torch.zeros(2, 3)})
    raw = file.read_bytes()
    file.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(UserError, match="could not be read"):
        load_state(file, "a", RUN, initial())
    file.write_bytes(raw.replace(b'\\"former\\"', b'\\"farmer\\"'))
    with pytest.raises(UserError, match="no peer's state"):
        load_state(file, "a", RUN, initial())


def test_who_asks_for_the_time_before_a_wave_gets_what_was_there_then() -> None:
    found = state()
    assert found.offered(None).version == found.offered(8).version == 3
    assert found.offered(7).version == found.offered(6).version == 2
    assert first_state("a", RUN, initial()).offered(0).version == 0
