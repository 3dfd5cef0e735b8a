"""Each abuse of the protocol, as others get to see it."""

import math

import torch

from common.description import Misbehaviour
from peers.misbehaviour import INFLATED, delay_of, garbage, told_model, told_records, told_version
from peers.wire import LARGEST, Question
from tests.peers.toy_fixture import initial


def model(conduct: Misbehaviour | None, *, first: bool = False) -> dict[str, torch.Tensor]:
    start = initial()
    sent = {name: array + 2 for name, array in start.items()}
    old = {name: array - 5 for name, array in start.items()}
    return told_model(conduct, start, sent, old, first=first)


def moved(arrays: dict[str, torch.Tensor]) -> set[float]:
    return {round(float(value), 4) for name, array in arrays.items() for value in (array - initial()[name]).flatten()}


def test_an_honest_peer_tells_the_truth() -> None:
    assert told_version(None, 3, 9) == 3
    assert told_records(None, 40) == 40
    assert delay_of(None) == 0
    assert moved(model(None)) == {2.0}


def test_what_each_misbehaviour_makes_of_a_model() -> None:
    assert moved(model(Misbehaviour(kind="sign-flip", factor=3))) == {-6.0}
    assert moved(model(Misbehaviour(kind="scaling", factor=3))) == {6.0}
    assert moved(model(Misbehaviour(kind="stale-replay"), first=True)) == {2.0}
    assert moved(model(Misbehaviour(kind="stale-replay"))) == {-5.0}
    assert moved(model(Misbehaviour(kind="count-inflation"))) == {2.0}


def test_a_scaled_model_keeps_its_types_or_nobody_could_read_it() -> None:
    start, sent = {"batches": torch.tensor(5)}, {"batches": torch.tensor(7)}
    told = told_model(Misbehaviour(kind="scaling", factor=2), start, sent, start, first=False)
    assert (told["batches"].dtype, int(told["batches"])) == (torch.int64, 9)


def test_an_inflated_version_rises_without_training() -> None:
    conduct = Misbehaviour(kind="version-inflation")
    told = [told_version(conduct, 2, wave) for wave in (4, 5, 9)]
    assert told == sorted(set(told))
    assert told[0] > INFLATED
    assert told_version(conduct, 2, None) > told[-1]
    assert told_version(conduct, 0, 3) == 0  # before its first training it has nothing to give
    assert told_version(Misbehaviour(kind="scaling"), 2, 3) == 2


def test_an_inflated_count_can_still_be_written() -> None:
    assert told_records(Misbehaviour(kind="count-inflation", factor=10), 40) == 400
    assert told_records(Misbehaviour(kind="count-inflation", factor=1e9), 10**9) == LARGEST - 1
    assert told_records(Misbehaviour(kind="scaling"), 40) == 40


def test_who_is_late_or_never_answers() -> None:
    assert delay_of(Misbehaviour(kind="slow", seconds=12)) == 12
    assert math.isinf(delay_of(Misbehaviour(kind="silent")))
    assert delay_of(Misbehaviour(kind="garbage")) == 0


def test_garbage_has_a_models_length_and_follows_the_seed() -> None:
    question = Question("run", True, 0, 4)
    assert len(garbage(1, question, 1234)) == 1234
    assert garbage(1, question, 64) == garbage(1, question, 64)
    assert garbage(1, question, 64) != garbage(1, Question("run", True, 0, 5), 64)
