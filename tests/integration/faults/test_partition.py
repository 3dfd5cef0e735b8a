"""A network that is cut and healed between a hospital and the server, in namespaces of its own."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.faults import hooks
from tests.integration.faults.conftest import Outcome
from tests.integration.faults.processes_fixture import absent, model_without, site, tiny
from tests.waiting import until

NAMES = ("hospital-a", "hospital-b")
SERVER, HOSPITAL = "198.51.100.1", "198.51.100.2"
"""Addresses that are set aside for examples (RFC 5737)."""


def ip(*arguments: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def cable(name: str) -> Iterator[None]:
    """A namespace, and a cable ``NAME`` from here to it."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and ip(8) of iproute2")
    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not allowed here: {error.stderr.strip()}")
    try:
        try:
            ip("link", "add", name, "type", "veth", "peer", "name", f"{name}i", "netns", name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no cable can be laid here: {error.stderr.strip()}")
        ip("address", "add", f"{SERVER}/30", "dev", name)
        ip("link", "set", name, "up")
        ip("-n", name, "address", "add", f"{HOSPITAL}/30", "dev", f"{name}i")
        ip("-n", name, "link", "set", f"{name}i", "up")
        yield
    finally:
        subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)
        ip("netns", "delete", name)


@pytest.mark.processes
@pytest.mark.slow
def test_both_sides_go_on_when_the_network_is_cut_and_when_it_is_healed(tmp_path: Path, outcome: Outcome) -> None:
    experiment = tiny(NAMES, federation__rounds=4, federation__quorum=1)
    name = f"ps{os.getpid()}"
    with cable(name), site(tmp_path / "site", experiment) as here:
        here.hold("train-hospital-b-1", "train-hospital-b-2", "saved-2")
        server = here.server("--host", SERVER, called=[(hooks.gate_rounds, (str(here.gates),))])
        address = here.address(server)
        here.node("hospital-a", address)
        far = here.node("hospital-b", address, called=[(hooks.enter_network, (name,))])
        here.reached("train-hospital-b-1")
        ip("link", "set", name, "down")  # for a moment
        ip("link", "set", name, "up")
        here.release("train-hospital-b-1")
        here.reached("train-hospital-b-2")
        ip("link", "set", name, "down")
        here.release("train-hospital-b-2")  # it sends its update into the void
        here.reached("saved-2")
        assert "lost" in here.line(2, "hospital-b")["reason"]
        ip("link", "set", name, "up")
        until(lambda: not (here.folder / "hospital-b" / "state" / "in-work").exists(), "hospital-b is back")
        here.release("saved-2")
        assert server.ended() == 0, server.said()
        assert far.ended() == 0, far.said()
        assert here.line(1, "hospital-b")["status"] == "accepted"
        assert here.line(4, "hospital-b")["status"] == "accepted"
        missing = absent(here)
        assert "hospital-a" not in missing
        assert here.model() == model_without(tmp_path, experiment, missing)
    outcome("network cut for a moment in a round", "nobody notices")
    outcome(
        "network cut in a round, healed after it",
        "the round goes on with the others after 20 s; the hospital comes back by itself and takes part again",
    )
