"""The whole protocol in one process: the paper's, resumable anywhere, and its invariants over many descriptions."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import Experiment
from common.errors import UserError
from common.local_update import Failed, Job, Learned
from peers.order import planned, waves
from peers.peer import STATE, Peer
from peers.simulation import InProcess, collect, simulate
from peers.wire import parcel_bytes, ping, pull
from tests.peers.toy_fixture import RUN, gathered, initial, learn, learn_all, played, records_of, toy

DESCRIPTIONS = {
    "peers": st.integers(2, 5),
    "rounds": st.integers(1, 4),
    "initiators": st.integers(1, 3),
    "order": st.sampled_from(["random", "shuffled"]),
    "merge": st.sampled_from(["mean", "median", "norm-clipping", "centered-clipping", "alone"]),
    "kinds": st.lists(
        st.sampled_from(
            ["version-inflation", "count-inflation", "sign-flip", "stale-replay", "silent", "garbage", None]
        ),
        min_size=5, max_size=5,
    ),
    "seed": st.integers(0, 10**6),
}  # fmt: skip


def described(peers, rounds, initiators, order, merge, kinds, seed) -> Experiment:
    conducts = {number: {"kind": kind} for number, kind in enumerate(kinds[:peers]) if kind}
    return toy(
        peers, rounds, conducts, seed=seed, peers__order=order, peers__merge=merge,
        peers__initiators=min(peers, initiators),
    )  # fmt: skip


def states(folder: Path) -> dict[str, bytes]:
    """Every peer's file, without what tells seconds: they are all 0 in a toy."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob(STATE))}


def timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peers.peer.time.monotonic", lambda: 0.0)


def test_it_is_the_papers_protocol(tmp_path: Path) -> None:
    """Guha Roy et al. 2019, written down anew with numpy: W_i, a_i, v_i and nothing else."""
    experiment = toy(5, 6, seed=11)
    names = list(initial())

    def trained(number: int, version: int, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        job = Job(number, version, {name: torch.from_numpy(weights[name].astype(np.float32)) for name in names})
        return {name: array.numpy().astype(np.float64) for name, array in learn(job).arrays.items()}

    start = {name: array.numpy().astype(np.float64) for name, array in initial().items()}
    weights = [trained(number, 1, start) for number in range(5)]
    vectors = [[1 if i == j else 0 for j in range(5)] for i in range(5)]
    for (i,) in waves(experiment)[1:]:
        newer = [j for j in range(5) if j != i and vectors[j][j] > vectors[i][j]]
        members = [i, *newer]
        total = sum(records_of(j) for j in members)
        merged = {name: sum(records_of(j) / total * weights[j][name] for j in members) for name in names}
        weights[i] = trained(i, vectors[i][i] + 1, merged)
        vectors[i][i] += 1
        for j in newer:
            vectors[i][j] = vectors[j][j]
    for number, peer in enumerate(played(experiment, tmp_path)):
        assert peer.state.version == vectors[number][number]
        expected = {f"peer {j}": v for j, v in enumerate(vectors[number]) if j != number and v}
        assert {name: v for name, v in peer.state.merged.items() if v} == expected
        for name in names:
            np.testing.assert_allclose(peer.state.arrays[name].numpy(), weights[number][name], rtol=1e-5, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(**DESCRIPTIONS)
def test_invariants(**description) -> None:
    experiment = described(**description)
    with tempfile.TemporaryDirectory() as folder:
        peers = played(experiment, Path(folder))
    conducts = {str(client.name): client.misbehaviour for client in experiment.roster()}
    lengths = {peer.name: parcel_bytes(initial(), peer.name, RUN) for peer in peers}
    for number, peer in enumerate(peers):
        lines = peer.state.lines
        assert [line["version"] for line in lines] == list(range(1, planned(experiment)[number] + 1))
        seen: dict[str, int] = {}
        for line in lines:
            for name, told in line["merged"].items():
                assert told["version"] > seen.get(name, 0), "merged twice, or an older one after a newer one"
                seen[name] = told["version"]
            shares = [line["own_coefficient"], *(told["coefficient"] for told in line["merged"].values())]
            assert None in shares or sum(shares) == pytest.approx(1, abs=1e-12)
            models = [lengths[name] for name in line["merged"]]
            models += [lengths[name] for name in line["refused"] if line["traffic"][name][1] >= lengths[name]]
            waited = [lengths[name] for name, (_, came) in line["traffic"].items() if came >= lengths[name]]
            assert line["model_bytes"] == sum(models if not line["note"] else waited)
            assert line["bytes"] == sum(map(sum, line["traffic"].values()))
            small = len(ping(RUN, 1000)) + len(pull(RUN, 2 * 10**9, 1000)) + 200
            assert line["bytes"] - line["model_bytes"] <= small * line["pings"]
            assert len(line["traffic"]) == line["pings"]
            for name in line["skipped"]:
                assert conducts[name] is not None
                assert conducts[name].kind == "silent"
        assert {name: seen[name] for name in seen} == {name: v for name, v in peer.state.merged.items() if v}


class _KilledError(BaseException):
    pass


@settings(max_examples=12, deadline=None)
@given(**DESCRIPTIONS, kills=st.lists(st.integers(0, 12), max_size=3))
def test_killed_and_resumed_is_uninterrupted_byte_for_byte(kills, **description) -> None:
    experiment = described(**description)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        timeless(patch)
        whole, broken = Path(name) / "whole", Path(name) / "broken"
        played(experiment, whole)
        for after in kills:
            left = iter(range(after))

            def killed(jobs: Sequence[Job], left: Iterator[int] = left) -> Iterator[Learned | Failed]:
                for job in jobs:
                    if next(left, None) is None:
                        raise _KilledError
                    yield learn(job)

            with contextlib.suppress(_KilledError):
                simulate(gathered(experiment, broken), experiment, killed, lambda number: None)
        played(experiment, broken)
        assert states(broken) == states(whole)


def test_all_trainings_of_a_wave_start_from_what_was_there_before(tmp_path: Path) -> None:
    experiment, seen = toy(3, 3, peers__initiators=3), []

    def together(jobs: Sequence[Job]) -> list[Learned | Failed]:
        seen.append(sorted(job.version for job in jobs))
        return [learn(job) for job in reversed(jobs)][::-1]

    peers = gathered(experiment, tmp_path)
    simulate(peers, experiment, together, lambda number: None)
    assert seen == [[1, 1, 1], [2, 2, 2], [3, 3, 3]]
    for peer in peers:
        assert [{told["version"] for told in line["merged"].values()} for line in peer.state.lines] == [set(), {1}, {2}]


def test_rounds_are_told_when_their_updates_are_done_and_before_any_later_one(tmp_path: Path) -> None:
    peers, told = gathered(toy(3, 4), tmp_path), []
    simulate(peers, toy(3, 4), learn_all, lambda number: told.append((number, sum(p.state.turns for p in peers))))
    assert told == [(1, 3), (2, 6), (3, 9), (4, 12)]
    told.clear()
    again = gathered(toy(3, 4), tmp_path)
    simulate(again, toy(3, 4), lambda jobs: pytest.fail("all is done"), lambda number: told.append((number, 0)))
    assert [number for number, _ in told] == [1, 2, 3, 4]


def test_timers_need_real_processes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"peers\.order = 'timers'"):
        played(toy(peers__order="timers"), tmp_path)


def test_every_model_that_can_be_had_is_collected_as_it_is_sent(tmp_path: Path) -> None:
    conducts = {1: {"kind": "silent"}, 2: {"kind": "garbage"}, 3: {"kind": "count-inflation", "factor": 5}}
    experiment = toy(5, 2, conducts)
    peers = played(experiment, tmp_path)
    parcels = collect(experiment, RUN, peers)
    assert {name: parcel.records for name, parcel in parcels.items()} == {"peer 0": 10, "peer 3": 200, "peer 4": 50}
    assert all(
        torch.equal(parcels[peer.name].arrays[name], peer.state.offer.arrays[name])
        for peer in peers if peer.name in parcels for name in initial()
    )  # fmt: skip
    assert collect(experiment, RUN, gathered(experiment, tmp_path / "nothing yet")) == {}


def test_an_answer_that_is_too_long_or_too_late_is_never_looked_at(tmp_path: Path) -> None:
    peers = played(toy(2, 1), tmp_path)
    found = InProcess(peers, "peer 0").ask_all({"peer 1": pull(RUN, 0)}, limit=10, timeout=1)["peer 1"]
    assert (found.reason, found.offence) == ("its answer has more than 10 bytes", True)  # type: ignore[union-attr]
    found = InProcess(peers, "peer 0").ask_all({"peer 1": b"?"}, limit=10, timeout=1)["peer 1"]
    assert "question" in found.reason  # type: ignore[union-attr]


def test_a_state_that_is_lost_starts_anew_and_the_others_do_not_mind(tmp_path: Path) -> None:
    played(toy(3, 3), tmp_path)
    shutil.rmtree(tmp_path / "peer 1")
    peers: list[Peer] = played(toy(3, 3), tmp_path)
    assert [peer.state.turns for peer in peers] == planned(toy(3, 3))
