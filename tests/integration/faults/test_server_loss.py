"""A server that is killed and started again: nodes find it, the run resumes, nothing is spent or counted twice."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from common.config import Experiment
from tests.integration.faults import hooks
from tests.integration.faults.conftest import Outcome
from tests.integration.faults.processes_fixture import Site, absent, model_without, site, tiny
from tests.waiting import until

NAMES = ("hospital-a", "private-b")
PRIVATE = {"delta": 1e-3, "epsilon": 8.0}


def description() -> Experiment:
    return tiny(
        NAMES,
        **{"clients.1.private": True, "privacy.delta": PRIVATE["delta"], "privacy.epsilon": PRIVATE["epsilon"]},
    )


def interrupted(here: Site, *, secure_noise: bool) -> None:
    """Run a federation whose server is killed between rounds 1 and 2, and again in round 2."""
    gates = [(hooks.gate_rounds, (str(here.gates),))]
    here.hold("saved-1", "train-hospital-a-2")
    here.hospital("private-b", privacy={**PRIVATE, "enabled": True, "secure_noise": secure_noise})
    server = here.server(called=gates)
    address = here.address(server)
    port = int(address.rpartition(":")[2])
    nodes = [here.node(name, address) for name in NAMES]
    here.reached("saved-1")
    server.send(signal.SIGKILL)
    server.ended()
    here.release("saved-1")

    server = here.server(called=gates, port=port)
    here.reached("train-hospital-a-2", "train-private-b-2")
    ledger = next((here.folder / "private-b" / "state").glob("*/ledger.json"))
    until(lambda: len(json.loads(ledger.read_text())["entries"]) == 2, "private-b has spent round 2")
    server.send(signal.SIGKILL)
    server.ended()
    here.release("train-hospital-a-2")

    server = here.server(port=port)
    assert server.ended() == 0, server.said()
    for node in nodes:
        assert node.ended() == 0, node.said()


def spent(folder: Path) -> dict[str, Any]:
    """What the run's ledger tells of the private hospital, but for the name of its strategy."""
    told = json.loads((folder / "ledger.json").read_text())
    (client,) = [client for client in told["clients"] if client["name"] == "private-b"]
    return {key: value for key, value in client.items() if key != "strategy"}


@pytest.mark.processes
def test_a_killed_server_resumes_and_the_model_is_the_uninterrupted_one(tmp_path: Path, outcome: Outcome) -> None:
    experiment = description()
    with site(tmp_path / "site", experiment) as here:
        interrupted(here, secure_noise=False)
        assert here.model() == model_without(tmp_path, experiment, {})
        uninterrupted = next((tmp_path / "faults").glob("*/ledger.json")).parent
        assert spent(here.run()) == spent(uninterrupted)
        assert [entry["round"] for entry in spent(here.run())["entries"]] == [1, 2, 3]
        assert [line["status"] for line in here.rounds()] == ["aggregated"] * 3
    same = "nodes find it on its port by themselves; the model is bit for bit the uninterrupted run's"
    outcome("server killed between rounds (SIGKILL), started again", same)
    outcome(
        "server killed in a round (SIGKILL), started again",
        f"the round is repeated, {same}; a private hospital repeats its noise and spends nothing more",
    )


@pytest.mark.processes
@pytest.mark.slow
def test_fresh_noise_for_a_repeated_round_is_counted(tmp_path: Path, outcome: Outcome) -> None:
    with site(tmp_path / "site", description()) as here:
        interrupted(here, secure_noise=True)
        # Three rounds were planned, and the repeated one took the place of the last.
        released = [entry["round"] for entry in spent(here.run())["entries"] if not entry.get("assumed")]
        assert released == [1, 2, 2]
        line = here.line(3, "private-b")
        assert line["status"] == "refused", line
        assert "its privacy budget does not allow this round" in line["reason"], line
    outcome(
        "server killed in a round, private hospital with noise from the operating system",
        "both releases of the round are in its ledger; when its budget is spent it refuses, and the run goes on",
    )


@pytest.mark.processes
@pytest.mark.slow
def test_a_server_that_stands_still_is_waited_for(tmp_path: Path, outcome: Outcome) -> None:
    experiment = tiny(["hospital-a", "hospital-b"], federation__rounds=5)
    with site(tmp_path / "site", experiment) as here:
        here.hold("train-hospital-a-2", "train-hospital-b-2")
        server = here.server()
        address = here.address(server)
        nodes = [here.node(name, address) for name in ("hospital-a", "hospital-b")]
        here.reached("train-hospital-a-2", "train-hospital-b-2")
        server.send(signal.SIGSTOP)
        here.release("train-hospital-a-2", "train-hospital-b-2")
        for node in nodes:
            node.says("trying again")  # after the half minute that a request may take
        server.send(signal.SIGCONT)
        assert server.ended() == 0, server.said()
        assert [node.ended() for node in nodes] == [0, 0]
        assert [line["status"] for line in here.rounds()][::4] == ["aggregated", "aggregated"]
        assert here.model() == model_without(tmp_path, experiment, absent(here))
    outcome(
        "server stopped in a round (SIGSTOP), continued after its nodes gave up on it",
        "the nodes come back by themselves; rounds without anybody are skipped, the run finishes",
    )
