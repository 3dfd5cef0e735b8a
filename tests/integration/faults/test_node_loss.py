"""Nodes that are killed, stopped, started again or lost for good, at an exact place in their work."""

import signal
from pathlib import Path

import pytest

from tests.integration.faults import hooks
from tests.integration.faults.conftest import Outcome
from tests.integration.faults.processes_fixture import absent, model_without, site, tiny
from tests.waiting import until

STEADY = ("steady-1", "steady-2")
KILLED_IN_TRAINING, KILLED_IN_UPLOAD, KILLED_BETWEEN = "killed-in-training", "killed-in-upload", "killed-between"
STOPPED_IN_TRAINING, STOPPED_IN_UPLOAD = "stopped-in-training", "stopped-in-upload"
STOPPED_BETWEEN = "stopped-between"
TAKEN = (KILLED_IN_TRAINING, KILLED_IN_UPLOAD, STOPPED_IN_TRAINING, STOPPED_IN_UPLOAD)
FLOWER = "the round costs the timeout, or the run waits forever for its quorum"


@pytest.mark.processes
def test_killed_and_stopped_nodes_are_left_out_and_take_part_again(tmp_path: Path, outcome: Outcome) -> None:
    names = [*STEADY, *TAKEN, KILLED_BETWEEN, STOPPED_BETWEEN]
    experiment = tiny(names, federation__rounds=5, federation__quorum=2)
    with site(tmp_path / "site", experiment) as here:
        here.hold(*(f"train-{name}-1" for name in (KILLED_IN_TRAINING, STOPPED_IN_TRAINING)))
        here.hold(*(f"upload-{name}" for name in (KILLED_IN_UPLOAD, STOPPED_IN_UPLOAD)), "saved-1", "saved-2")
        server = here.server(called=[(hooks.gate_rounds, (str(here.gates),))])
        address = here.address(server)
        nodes = {
            name: here.node(name, address, called=[(hooks.gate_uploads, (str(here.gates), name))]) for name in names
        }
        here.reached(f"train-{KILLED_IN_TRAINING}-1", f"train-{STOPPED_IN_TRAINING}-1")
        here.reached(f"upload-{KILLED_IN_UPLOAD}", f"upload-{STOPPED_IN_UPLOAD}")
        for name in (KILLED_IN_TRAINING, KILLED_IN_UPLOAD):
            nodes[name].send(signal.SIGKILL)
        for name in (STOPPED_IN_TRAINING, STOPPED_IN_UPLOAD):
            nodes[name].send(signal.SIGSTOP)
        here.reached("saved-1")  # nobody has waited for the timeout, or this would fail
        for name in TAKEN:
            line = here.line(1, name)
            assert line["status"] == "silent", line
            assert "lost" in line["reason"], line
            assert not line["strike"], line
        nodes[KILLED_BETWEEN].send(signal.SIGKILL)
        nodes[STOPPED_BETWEEN].send(signal.SIGSTOP)
        here.release(*(f"train-{name}-1" for name in (KILLED_IN_TRAINING, STOPPED_IN_TRAINING)))
        here.release(*(f"upload-{name}" for name in (KILLED_IN_UPLOAD, STOPPED_IN_UPLOAD)))
        for name in (KILLED_IN_TRAINING, KILLED_IN_UPLOAD):
            nodes[name] = here.node(name, address)
            nodes[name].says("connected", times=2)
        for name in (STOPPED_IN_TRAINING, STOPPED_IN_UPLOAD):
            nodes[name].send(signal.SIGCONT)
            in_work = here.folder / name / "state" / "in-work"
            until(lambda file=in_work: not file.exists(), f"{name} is back")  # type: ignore[misc]
        here.release("saved-1")
        here.reached("saved-2")
        for name in (KILLED_BETWEEN, STOPPED_BETWEEN):
            assert "lost" in here.line(2, name)["reason"]
        nodes[STOPPED_BETWEEN].send(signal.SIGCONT)
        here.release("saved-2")
        assert server.ended() == 0, server.said()
        for name in (*TAKEN, STOPPED_BETWEEN):
            assert here.line(5, name)["status"] == "accepted", here.line(5, name)
            assert nodes[name].ended() == 0, nodes[name].said()
        assert here.line(5, KILLED_BETWEEN)["reason"] == "not connected"
        missing = absent(here)
        assert not set(STEADY) & missing.keys()
        assert here.model() == model_without(tmp_path, experiment, missing)
    left_out = "left out of its round within the heartbeat's 20 s, without a strike"
    for name, back in (
        (KILLED_IN_TRAINING, "; started again with its state, it takes part again"),
        (KILLED_IN_UPLOAD, "; nothing of its half reply is used; started again, it takes part again"),
        (STOPPED_IN_TRAINING, "; continued, it takes part again"),
        (STOPPED_IN_UPLOAD, "; its late parts are refused; continued, it takes part again"),
        (STOPPED_BETWEEN, "; continued, it takes part again"),
    ):
        outcome(
            f"node {name.replace('-', ' ')} ({'SIGKILL' if 'killed' in name else 'SIGSTOP'})",
            left_out + back,
            flower=FLOWER,
        )
    outcome("node killed between rounds and lost for good (SIGKILL)", f"{left_out}; the run finishes", flower=FLOWER)


@pytest.mark.processes
def test_a_federation_without_its_quorum_ends_with_a_sentence(tmp_path: Path, outcome: Outcome) -> None:
    experiment = tiny(["hospital-a", "hospital-b"], federation__quorum=2, federation__skipped_rounds_limit=0)
    with site(tmp_path / "site", experiment) as here:
        here.hold("train-hospital-b-2")
        server = here.server()
        address = here.address(server)
        nodes = {name: here.node(name, address) for name in ("hospital-a", "hospital-b")}
        here.reached("train-hospital-b-2")
        nodes["hospital-b"].send(signal.SIGKILL)
        assert server.ended() == 2, server.said()
        assert "federation.skipped_rounds_limit = 0: more rounds than that were skipped in a row" in server.said()
        assert "hospital-b: its node was lost" in server.said()
        assert [line["status"] for line in here.rounds()] == ["aggregated", "skipped"]
        nodes["hospital-a"].says("trying again")  # for its patience, since the server may be started again
    outcome(
        "node lost for good, quorum out of reach (SIGKILL)",
        "exit 2 with a sentence that names the client; the finished round is kept",
        flower="waits forever",
    )
