"""One peer's turns and answers, among neighbours that behave and that do not."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from common.errors import UserError
from common.local_update import Failed, Job
from peers.inquiry import distance
from peers.neighbours import Unreachable
from peers.peer import Peer
from peers.simulation import InProcess
from peers.wire import RefusedError, decode_parcel, decode_status, ping, pull
from tests.peers.toy_fixture import RUN, gathered, initial, learn, played, records_of, toy


def first_wave(peers: list[Peer]) -> None:
    for peer in peers:
        peer.update(InProcess(peers, peer.name), peer.next_wave())


def turn(peers: list[Peer], number: int, wave: int | None = None) -> dict[str, Any]:
    return peers[number].update(InProcess(peers, peers[number].name), wave)


class Nobody:
    """Neighbours of whom nobody is there."""

    def ask_all(self, questions: Mapping[str, bytes], *, limit: int, timeout: float) -> dict[str, bytes | Unreachable]:
        return {name: Unreachable("nobody is there") for name in questions}


def version(peer: Peer) -> int:
    return decode_status(peer.answer("x", ping(RUN)), RUN).version


def test_all_train_locally_first_and_ask_nobody(tmp_path: Path) -> None:
    peers = gathered(toy(), tmp_path)
    assert [version(peer) for peer in peers] == [0] * 4
    lines = [turn(peers, number, 0) for number in range(4)]
    assert all(
        (line["bytes"], line["pings"], line["merged"], line["own_coefficient"]) == (0, 0, {}, 1.0) for line in lines
    )
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert [version(peer) for peer in peers] == [1] * 4


def test_a_turn_merges_by_records_trains_and_raises_the_version(tmp_path: Path) -> None:
    peers = gathered(toy(peers__order="timers"), tmp_path)
    first_wave(peers)
    before = [peer.state.arrays for peer in peers]
    line = turn(peers, 1)
    assert (line["version"], line["turn"], line["records"], line["peer"]) == (2, 2, 20, "peer 1")
    assert {name: told["coefficient"] for name, told in line["merged"].items()} == pytest.approx(
        {"peer 0": 0.1, "peer 2": 0.3, "peer 3": 0.4}
    )
    assert line["own_coefficient"] == pytest.approx(0.2)
    mean = {
        name: sum((0.1 * (place + 1) * arrays[name].double() for place, arrays in enumerate(before)), torch.zeros(1))
        for name in initial()
    }
    expected = learn(Job(1, 2, {name: array.float() for name, array in mean.items()}))
    for name, array in expected.arrays.items():
        torch.testing.assert_close(peers[1].state.arrays[name], array)


def test_only_what_is_newer_travels_and_nothing_is_merged_twice(tmp_path: Path) -> None:
    peers = gathered(toy(peers__order="timers", rounds=9), tmp_path)
    first_wave(peers)
    turn(peers, 0)
    line = turn(peers, 0)
    assert (line["merged"], line["model_bytes"], line["pings"]) == ({}, 0, 3)
    turn(peers, 2)
    assert {name: told["version"] for name, told in turn(peers, 0)["merged"].items()} == {"peer 2": 2}
    assert peers[0].state.merged == {"peer 1": 1, "peer 2": 2, "peer 3": 1}


def test_who_asks_for_an_older_time_is_answered_of_it(tmp_path: Path) -> None:
    peers = gathered(toy(peers__initiators=2), tmp_path)
    first_wave(peers)
    wave = peers[0].next_wave()
    assert wave is not None
    turn(peers, 0, wave)
    for before, expected in ((wave, 1), (wave + 1, 2), (None, 2)):
        assert decode_status(peers[0].answer("x", ping(RUN, before)), RUN).version == expected
        raw = peers[0].answer("x", pull(RUN, 0, before))
        assert decode_parcel(raw, initial(), sender="peer 0", run=RUN).version == expected


def test_who_asks_for_an_older_time_is_told_the_turns_that_were_over_then(tmp_path: Path) -> None:
    peer = gathered(toy(2, 4, peers__order="shuffled"), tmp_path)[0]
    taken: list[int] = []
    while (wave := peer.next_wave()) is not None:
        peer.update(Nobody(), wave)
        taken.append(wave)
        for before in range(taken[-1] + 2):
            told = decode_status(peer.answer("x", ping(RUN, before)), RUN).turns
            assert told == sum(one < before for one in taken)
        assert decode_status(peer.answer("x", ping(RUN)), RUN).turns == len(taken)
    assert len(taken) == 4


def test_a_pull_of_nothing_new_is_answered_with_the_version_alone(tmp_path: Path) -> None:
    peer = gathered(toy(), tmp_path)[0]
    assert decode_status(peer.answer("x", pull(RUN, 0)), RUN).version == 0
    peer.update(InProcess([peer], peer.name), 0)
    assert decode_status(peer.answer("x", pull(RUN, 1)), RUN).version == 1


def test_questions_of_another_run_or_of_any_other_content_are_refused(tmp_path: Path) -> None:
    peer = gathered(toy(), tmp_path)[0]
    for question in (ping("f" * 16), b"", b"{}", b"x" * 5000, json.dumps({"run": RUN, "ask": "all"}).encode()):
        with pytest.raises(RefusedError):
            peer.answer("x", question)


def test_a_peer_that_is_gone_is_skipped(tmp_path: Path) -> None:
    peers = gathered(toy(misbehaviour={3: {"kind": "silent"}, 2: {"kind": "slow", "seconds": 6}}), tmp_path)
    first_wave(peers)
    line = turn(peers, 0)
    assert line["skipped"] == {"peer 2": "no answer within 5 s", "peer 3": "no answer within 5 s"}
    assert list(line["merged"]) == ["peer 1"]
    assert peers[0].state.strikes == {}


def test_garbage_is_refused_noted_and_in_the_end_not_asked_for_any_more(tmp_path: Path) -> None:
    peers = gathered(toy(misbehaviour={2: {"kind": "garbage"}}, federation__strikes_limit=2, rounds=9), tmp_path)
    first_wave(peers)
    for _ in range(2):
        line = turn(peers, 0)
        assert list(line["refused"]) == ["peer 2"]
        assert (line["excluded"], line["note"]) == ([], "")
    assert peers[0].state.strikes == {"peer 2": 2}
    line = turn(peers, 0)
    assert (line["refused"], line["excluded"], line["pings"]) == ({}, ["peer 2"], 2)


def test_a_model_that_is_implausibly_far_is_refused_in_a_turn_and_counts_against_its_sender(tmp_path: Path) -> None:
    """Also without ``federation.norm_limit``: the mean would be that model."""
    conduct = {2: {"kind": "scaling", "factor": 1e9}}
    peers = gathered(toy(misbehaviour=conduct, federation__strikes_limit=1, rounds=9), tmp_path)
    first_wave(peers)
    line = turn(peers, 0)
    assert set(line["merged"]) == {"peer 1", "peer 3"}
    assert set(line["refused"]) == {"peer 2"}
    assert "more than 1000 times the own one's norm" in line["refused"]["peer 2"]
    assert peers[0].state.strikes == {"peer 2": 1}
    assert "peer 2" not in peers[0].state.merged
    assert turn(peers, 0)["excluded"] == ["peer 2"]


def test_of_all_peers_those_that_are_not_asked_any_more_are_none(tmp_path: Path) -> None:
    """Else the own model would stand in for good for one whose word counts for nothing."""
    changes = {"peers__denominator": "all", "peers__order": "timers", "federation__strikes_limit": 1}
    peers = gathered(toy(misbehaviour={2: {"kind": "garbage"}}, rounds=9, **changes), tmp_path)
    first_wave(peers)
    assert turn(peers, 0)["own_coefficient"] == pytest.approx((10 + 30) / 100)  # not excluded before its answer came
    turn(peers, 1)
    line = turn(peers, 0)
    assert (line["excluded"], set(line["merged"])) == (["peer 2"], {"peer 1"})
    assert peers[0].state.claimed["peer 2"] == 30
    assert line["own_coefficient"] == pytest.approx((10 + 40) / 70)


@pytest.mark.parametrize(("rule", "steps"), [("norm-clipping", 1), ("centered-clipping", 3)])
def test_a_turn_with_a_clipping_rule_moves_by_the_measure_of_the_last_training(
    rule: str, steps: int, tmp_path: Path
) -> None:
    """Without ``clip_norm``, and also after a restart."""
    conduct = {"kind": "scaling", "factor": 500}
    experiment = toy(misbehaviour={2: conduct, 3: conduct}, peers__merge=rule)
    peers = gathered(experiment, tmp_path)
    first_wave(peers)
    peers = gathered(experiment, tmp_path)
    mine, step = peers[0].state.arrays, peers[0].state.step
    assert step == pytest.approx(distance(mine, initial()))
    assert all(distance(peer.state.offer.arrays, mine) > 100 * step for peer in peers[2:])
    draft = peers[0].begin(InProcess(peers, "peer 0"))
    assert set(draft.line["merged"]) == {"peer 1", "peer 2", "peer 3"}
    assert 0 < distance(draft.job.arrays, mine) <= steps * step * (1 + 1e-6)


def test_a_peer_that_was_led_astray_is_not_merged_and_never_excluded(tmp_path: Path) -> None:
    """Else a liar who moves one peer away would have it and all the others exclude each other for good."""
    peers = gathered(toy(federation__strikes_limit=1, federation__norm_limit=1e3, rounds=9), tmp_path)
    first_wave(peers)
    away = {name: array + 1e3 for name, array in initial().items()}
    for own in (None, away):
        draft = peers[1].begin(InProcess(peers, "peer 1"))
        learned = learn(draft.job)
        peers[1].finish(draft, replace(learned, arrays=own or learned.arrays, sent=own or learned.sent))
    line, back = turn(peers, 0), turn(peers, 1)
    assert "federation.norm_limit = 1000" in line["refused"]["peer 1"]
    assert set(line["merged"]) == {"peer 2", "peer 3"}
    assert set(back["refused"]) == {"peer 0"}
    assert peers[0].state.strikes == peers[1].state.strikes == {}
    assert "peer 1" in turn(peers, 0)["traffic"]


def test_an_inflated_version_is_merged_every_time_unless_repeats_are_refused(tmp_path: Path) -> None:
    conduct = {1: {"kind": "version-inflation"}}
    for strict, expected in ((False, [True, True]), (True, [True, False])):
        peers = gathered(
            toy(misbehaviour=conduct, peers__refuse_repeats=strict, rounds=9), tmp_path / f"strict {strict}"
        )
        first_wave(peers)
        lines = [turn(peers, 0, peers[0].next_wave()) for _ in range(2)]
        assert ["peer 1" in line["merged"] for line in lines] == expected
        assert ["peer 1" in line["refused"] for line in lines] == [not one for one in expected]


def test_what_a_misbehaving_peer_trains_stays_its_own(tmp_path: Path) -> None:
    honest, flips = (
        gathered(toy(misbehaviour=told), tmp_path / name)[0]
        for name, told in (("honest", None), ("flips", {0: {"kind": "sign-flip", "factor": 2}}))
    )
    for peer in (honest, flips):
        peer.update(InProcess([peer], peer.name), 0)
    for name, start in initial().items():
        assert torch.equal(flips.state.arrays[name], honest.state.arrays[name])
        step = honest.state.arrays[name] - start
        torch.testing.assert_close(flips.state.offer.arrays[name], start - 2 * step)


def test_a_rule_that_needs_more_models_waits_without_pulling_and_counts_them_later(tmp_path: Path) -> None:
    peers = gathered(toy(peers__merge="median", peers__order="timers", rounds=9), tmp_path)
    first_wave(peers)
    assert len(turn(peers, 0)["merged"]) == 3
    turn(peers, 1)
    line = turn(peers, 0)
    assert (line["merged"], line["model_bytes"]) == ({}, 0)
    assert "'median' needs 2 other models that are new, and 1 can be had" in line["note"]
    turn(peers, 2)
    assert set(turn(peers, 0)["merged"]) == {"peer 1", "peer 2"}


def test_a_training_that_fails_ends_the_turn_and_keeps_model_and_version(tmp_path: Path) -> None:
    peers = gathered(toy(peers__order="timers"), tmp_path)
    first_wave(peers)
    draft = peers[0].begin(InProcess(peers, "peer 0"))
    line = peers[0].finish(draft, Failed("it diverged", "ledger 1b"))
    state = gathered(toy(peers__order="timers"), tmp_path)[0].state
    assert (line["failed"], line["version"]) == ("it diverged", 1)
    assert (state.version, state.turns, state.ledger) == (1, 2, "ledger 1b")
    assert state.merged == {"peer 1": 1, "peer 2": 1, "peer 3": 1}
    assert all(torch.equal(state.arrays[name], peers[0].state.arrays[name]) for name in state.arrays)


def test_a_turn_that_could_not_be_kept_is_not_over_and_offers_nothing(tmp_path: Path) -> None:
    """Else others would merge a version that, after a restart, is made again from other models."""
    peers = gathered(toy(peers__order="timers"), tmp_path)
    first_wave(peers)
    kept, file = peers[0].state, peers[0].file
    blocked = tmp_path / "a file where a folder should be"
    blocked.touch()
    peers[0].file = blocked / file.name
    draft = peers[0].begin(InProcess(peers, "peer 0"))
    for learned in (learn(draft.job), Failed("it diverged", "ledger 1b")):
        with pytest.raises(UserError, match="could not be written"):
            peers[0].finish(draft, learned)
        assert peers[0].state is kept
        assert version(peers[0]) == 1
        assert decode_status(peers[0].answer("x", pull(RUN, 1)), RUN).version == 1
    peers[0].file = file
    assert (turn(peers, 0)["turn"], version(peers[0])) == (2, 2)


def test_the_ledger_that_is_kept_is_the_last_one_told_also_where_it_says_nothing(tmp_path: Path) -> None:
    """Who trains holds the ledger; here is a copy of it, and an older one would tell what nobody vouches for."""
    peers = gathered(toy(peers__order="timers"), tmp_path)
    first_wave(peers)
    assert peers[0].state.ledger == peers[1].state.ledger == "ledger 1"
    draft = peers[0].begin(Nobody())
    peers[0].finish(draft, replace(learn(draft.job), ledger=""))
    peers[1].finish(peers[1].begin(Nobody()), Failed("it diverged", ""))
    assert [peer.state.ledger for peer in gathered(toy(peers__order="timers"), tmp_path)[:2]] == ["", ""]


def test_alone_nobody_is_asked(tmp_path: Path) -> None:
    peers = played(toy(peers__merge="alone"), tmp_path)
    assert all(
        (line["bytes"], line["pings"], line["note"]) == (0, 0, "") for peer in peers for line in peer.state.lines
    )


def test_the_optimiser_is_kept_over_turns_unless_that_is_not_wanted(tmp_path: Path) -> None:
    for keep, steps in ((True, [1.0, 2.0, 3.0]), (False, [])):
        experiment, seen = toy(2, 3, peers__keep_optimizer=keep, peers__order="timers"), []
        for _ in range(3):
            peer = gathered(experiment, tmp_path / str(keep))[0]  # as after a restart
            peer.update(Nobody())
            seen += [float(value) for value in peer.state.optimizer.values()]
        assert seen == steps


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    played(toy(2, 1), tmp_path)
    with pytest.raises(UserError, match="another run"):
        Peer(toy(2, 1), 0, initial=initial(), run="f" * 16, folder=tmp_path / "peer 0")


def test_it_answers_whole_states_while_its_turns_go_on(tmp_path: Path) -> None:
    peers = gathered(toy(2, 60), tmp_path)
    first_wave(peers)
    over, problems = threading.Event(), []

    def ask() -> None:
        while not over.is_set():
            parcel = decode_parcel(peers[0].answer("x", pull(RUN, 0)), initial(), sender="peer 0", run=RUN)
            state = peers[0].state
            if parcel.version == state.version and not torch.equal(
                parcel.arrays["head.bias"], state.arrays["head.bias"]
            ):
                problems.append(parcel.version)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for _ in range(20):
            turn(peers, 0)
    finally:
        over.set()
        asker.join()
    assert problems == []
    assert records_of(0) == peers[0].state.offer.records
