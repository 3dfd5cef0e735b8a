"""Real peers come to the models of a simulation, bit for bit."""

import json
from pathlib import Path

import pytest

from common.config import Experiment
from common.data import prepare
from common.folder import read_lines
from experiments.run import train
from tests.integration.peers.peers_fixture import in_one_process, peer_site, plain, tiny

NAMES = ("a", "b", "c", "d")
MIXED = {
    "clients.1.private": True,
    "clients.2.strategy": "data-poisoner",
    "clients.2.options": {"attack": "fgsm", "fraction": 0.5},
    "clients.3.misbehaviour": {"kind": "sign-flip", "factor": 2.0},
}
"""One of each: a private peer, one that poisons its data, and one that lies about its model."""


def several(initiators: int) -> Experiment:
    return tiny(NAMES, peers__initiators=initiators).change(MIXED)


@pytest.mark.processes
@pytest.mark.parametrize("initiators", [1, 2])
def test_processes_come_to_the_models_of_a_simulation(tmp_path: Path, initiators: int) -> None:
    experiment = several(initiators)
    one = in_one_process(tmp_path / "one", experiment)
    with peer_site(tmp_path / "site", experiment) as here:
        here.finished(here.all())
        assert here.skips() == []
        for name in NAMES:
            assert here.own_model(name) == one.peer_model(name).read_bytes()
        updates = [line for line in read_lines(one.updates) if line["peer"] == "a"]
        assert plain(here.lines_of("a")) == plain(updates)


@pytest.mark.processes
def test_the_runner_of_processes_leaves_what_the_one_in_this_process_does(tmp_path: Path) -> None:
    experiment = several(1)
    one = in_one_process(tmp_path / "one", experiment)
    two = train(experiment, prepare(experiment.data), tmp_path / "two", "processes")
    assert two.model.read_bytes() == one.model.read_bytes()
    assert plain(list(read_lines(two.rounds))) == plain(list(read_lines(one.rounds)))
    assert plain(list(read_lines(two.updates))) == plain(list(read_lines(one.updates)))
    assert json.loads(two.ledger.read_text()) == json.loads(one.ledger.read_text())
    for name in NAMES:
        assert two.peer_model(name).read_bytes() == one.peer_model(name).read_bytes()
