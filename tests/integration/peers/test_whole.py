"""From a description to a report without a server: what docs/peers.md says, typed."""

from pathlib import Path

import pytest

from common.folder import RunFolder, read_json, read_lines
from experiments.peer_processes import free_addresses
from tests.integration.faults.processes_fixture import Site, site
from tests.integration.peers.peers_fixture import in_one_process, tiny

NAMES = ("north", "south", "west")


def typed(here: Site, log: str, *words: str) -> str:
    """Run a command to its end; return what it said."""
    program = here.start(log, words)
    assert program.ended() == 0, program.said()
    return program.said()


@pytest.mark.processes
def test_prepare_certificates_and_peers_come_to_a_simulations_model_and_a_report(tmp_path: Path) -> None:
    changes = {"threats": ["white-box"], "attacks": ["fgsm"], "records": 6, "stress_records": 6}
    experiment = tiny(NAMES, federation__rounds=2, **{f"evaluation__{key}": value for key, value in changes.items()})
    one = in_one_process(tmp_path / "one", experiment.change({"clients.0.private": True}))
    with site(tmp_path / "site", experiment.change({"clients.0.private": True})) as here:
        parties = here.folder / "parties"
        given = [f"--address={name}={address}" for name, address in zip(NAMES, free_addresses(3), strict=True)]
        description = str(here.folder / "experiment.toml")
        said = typed(
            here, "prepare", "peers", "prepare", description, "--out", str(parties), *given, "--evaluate", "west"
        )
        assert "For trials only" in said
        typed(here, "keys", "peers", "certificates", str(parties), *(f"--peer={name}" for name in NAMES))
        peers = {name: here.start(name, ["peer", "--config", str(parties / name / "peer.toml")]) for name in NAMES}
        for program in peers.values():
            assert program.ended() == 0, program.said()
        (place,) = (parties / "west" / "runs").glob("peers/*")
        folder = RunFolder(place)
        assert folder.model.read_bytes() == one.model.read_bytes()
        assert read_json(folder.ledger) == read_json(one.ledger)
        assert list(read_lines(folder.rounds))[-1]["accuracy"] == list(read_lines(one.rounds))[-1]["accuracy"]
        assert folder.report.exists()
        assert folder.model_card.exists()
        assert not list((parties / "north").glob("runs/*"))
        # Once more: nothing is trained or evaluated again, and nobody needs to be there.
        again = here.start("again", ["peer", "--config", str(parties / "west" / "peer.toml")])
        assert again.ended() == 0, again.said()
        assert "turn " not in again.said()
