"""Peers that are killed at exact and at random moments, and started again."""

import random
import signal
from pathlib import Path

import pytest

from common.folder import read_json
from common.privacy import Ledger
from tests.integration.peers.peers_fixture import in_one_process, peer_site, planned_of, tiny
from tests.waiting import until

NAMES = ("a", "b", "c")


@pytest.mark.processes
def test_a_peer_killed_in_its_training_goes_on_from_what_it_kept(tmp_path: Path) -> None:
    """Twice in the same turn: with what it had pulled gone, it pulls again, and the outcome is the same."""
    experiment = tiny(NAMES, peers__order="shuffled").change({"clients.1.private": True})
    one = in_one_process(tmp_path / "one", experiment)
    with peer_site(tmp_path / "site", experiment) as here:
        here.hold("train-b-2")
        peers = here.all()
        for _ in range(2):
            here.reached("train-b-2")
            (here.gates / "train-b-2.reached").unlink()
            peers["b"].send(signal.SIGKILL)
            assert peers["b"].ended() == -signal.SIGKILL
            assert here.turns("b") == 1
            peers["b"] = here.peer("b")
        here.release("train-b-2")
        here.finished(peers)
        for name in NAMES:
            assert here.own_model(name) == one.peer_model(name).read_bytes()
        kept = here.state("b")
        assert kept is not None
        told = {client["name"]: client for client in read_json(one.ledger)["clients"]}
        assert Ledger.from_json(kept.ledger).entries_as_json() == told["b"]["entries"]  # nothing was spent twice


@pytest.mark.processes
def test_a_peer_that_leaves_and_comes_back_is_waited_for(tmp_path: Path) -> None:
    experiment = tiny(NAMES, peers__order="shuffled")
    one = in_one_process(tmp_path / "one", experiment)
    with peer_site(tmp_path / "site", experiment) as here:
        here.hold("train-a-2", "train-b-2", "train-c-2")
        peers = here.all()
        here.reached("train-a-2")  # nobody asks b for a model now: one that leaves between two questions is skipped
        peers["a"].says_last("b is there", of="b")
        peers["b"].send(signal.SIGTERM)
        assert peers["b"].ended() == 130
        assert "psreval: stopped; finished rounds are kept, and the same command resumes" in peers["b"].said()
        peers["a"].says_last("b cannot be reached", of="b")
        peers["b"] = here.peer("b")
        peers["a"].says_last("b is there", of="b")
        here.release("train-a-2", "train-b-2", "train-c-2")
        here.finished(peers)
        assert here.skips() == []
        for name in NAMES:
            assert here.own_model(name) == one.peer_model(name).read_bytes()


@pytest.mark.processes
@pytest.mark.parametrize("seed", range(2))
def test_kills_at_random_moments_lose_nothing(tmp_path: Path, seed: int) -> None:
    experiment = tiny(NAMES, federation__rounds=5)
    one = in_one_process(tmp_path / "one", experiment)
    draw = random.Random(seed)
    with peer_site(tmp_path / "site", experiment) as here:
        peers = here.all()
        total = sum(planned_of(experiment).values())

        def turns() -> int:
            return sum(map(here.turns, NAMES))

        for _ in range(6):
            name = draw.choice(NAMES)
            due = min(turns() + draw.choice((0, 1, 2)), total)  # at once: at whatever moment of its start
            until(lambda due=due: turns() >= due, f"{due} turns")  # type: ignore[misc]
            if turns() >= total or not peers[name].process.is_alive():
                break
            peers[name].send(signal.SIGKILL)
            peers[name].ended()
            peers[name] = here.peer(name)
        here.finished(peers)
        assert {name: here.turns(name) for name in NAMES} == planned_of(experiment)
        skips = here.skips()  # checks that no version was merged twice, too
        if not skips:  # a kill between two of another's questions is a skip; without one nothing may differ
            for name in NAMES:
                assert here.own_model(name) == one.peer_model(name).read_bytes()


@pytest.mark.processes
def test_a_peer_that_never_comes_back_is_waited_for_once(tmp_path: Path) -> None:
    experiment = tiny(NAMES, peers__turn_timeout=4.0, peers__order="shuffled")
    with peer_site(tmp_path / "site", experiment) as here:
        here.hold("train-c-2")
        peers = here.all()
        here.reached("train-c-2")
        peers.pop("c").send(signal.SIGKILL)
        here.finished(peers)
        assert here.turns("a") == here.turns("b") == 3
        for name, program in peers.items():
            assert program.said().count("c has not answered for 4 s; it is waited for no longer") == 1
            assert "c" in {other for line in here.lines_of(name) for other in line["skipped"]}
