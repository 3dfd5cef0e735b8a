"""What the machines do: a full disk, a clock that is wrong, two federations side by side."""

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.faults import hooks
from tests.integration.faults.conftest import Outcome
from tests.integration.faults.processes_fixture import Program, Site, model_without, site, tiny

NAMES = ("hospital-a", "hospital-b")
MEBIBYTE = 2**20


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Mount a disk of four mebibytes, where that is allowed."""
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root and mount(8)")
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def fails_after_round_1(here: Site, server: Program) -> None:
    """See the server end for want of space, with a sentence and with its finished round."""
    here.release("saved-1")
    assert server.ended() == 2, server.said()
    assert "could not be written" in server.said()
    assert "finished rounds are kept" in server.said()
    assert "Traceback" not in server.said()
    assert len(here.rounds()) == 1


@pytest.mark.processes
def test_a_full_disk_ends_the_server_with_a_sentence_and_it_resumes(tmp_path: Path, outcome: Outcome) -> None:
    experiment = tiny(NAMES)
    with site(tmp_path / "site", experiment) as here, small_disk(here.folder / "runs"):
        here.hold("saved-1")
        server = here.server(called=[(hooks.gate_rounds, (str(here.gates),))])
        address = here.address(server)
        nodes = [here.node(name, address) for name in NAMES]
        here.reached("saved-1")
        filler = here.folder / "runs" / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(MEBIBYTE // 64))
                file.flush()
        fails_after_round_1(here, server)
        assert "No space left on device" in server.said()
        filler.unlink()
        server = here.server(port=int(address.rpartition(":")[2]))
        assert server.ended() == 0, server.said()
        assert here.model() == model_without(tmp_path, experiment, {})
        assert [node.ended() for node in nodes] == [0, 0]
    outcome(
        "full disk at the server",
        "exit 2 with a sentence; the finished round is kept; started again with space, the run resumes, same model",
    )


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="sets a running process's limits, as Linux can")
def test_a_limit_on_files_ends_the_server_with_a_sentence_and_it_resumes(tmp_path: Path, outcome: Outcome) -> None:
    experiment = tiny(NAMES)
    with site(tmp_path / "site", experiment) as here:
        here.hold("saved-1")
        server = here.server(called=[(hooks.gate_rounds, (str(here.gates),))])
        address = here.address(server)
        nodes = [here.node(name, address) for name in NAMES]
        here.reached("saved-1")
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        fails_after_round_1(here, server)
        server = here.server(port=int(address.rpartition(":")[2]))
        assert server.ended() == 0, server.said()
        assert here.model() == model_without(tmp_path, experiment, {})
        assert [node.ended() for node in nodes] == [0, 0]
    outcome("limit on the size of files at the server (RLIMIT_FSIZE)", "as with a full disk")


@pytest.mark.processes
def test_a_wrong_clock_is_told_in_a_sentence_and_the_others_go_on(tmp_path: Path, outcome: Outcome) -> None:
    experiment = tiny(NAMES)
    with site(tmp_path / "site", experiment) as here:
        server = here.server()
        address = here.address(server)
        ahead = here.node("hospital-a", address, called=[(hooks.shift_clock, (3600.0,))], log="ahead")
        behind = here.node("hospital-b", address, called=[(hooks.shift_clock, (-3600.0,))], log="behind")
        assert ahead.ended() == 2, ahead.said()
        assert "s ahead of the server's, so its signatures are refused; set the clock (NTP)" in ahead.said()
        assert behind.ended() == 2, behind.said()
        assert "s behind the server's, so its signatures are refused; set the clock (NTP)" in behind.said()
        # A hospital whose clock is off by less than the tolerance takes part.
        nodes = [
            here.node("hospital-a", address, called=[(hooks.shift_clock, (3.0,))]),
            here.node("hospital-b", address, called=[(hooks.shift_clock, (-240.0,))]),
        ]
        assert server.ended() == 0, server.said()
        assert [node.ended() for node in nodes] == [0, 0]
        assert all(line["status"] == "aggregated" for line in here.rounds())
        assert here.model() == model_without(tmp_path, experiment, {})
    outcome("a node's clock is an hour ahead, or behind", "the node ends with exit 2: set the clock (NTP)")
    outcome("a node's clock is 3 s ahead, another's 4 minutes behind", "both take part")


@pytest.mark.processes
def test_two_federations_on_one_machine_do_not_meet(tmp_path: Path, outcome: Outcome) -> None:
    first, second = tiny(NAMES), tiny(NAMES, seed=2)
    with site(tmp_path / "one", first) as one, site(tmp_path / "two", second) as two:
        servers = [one.server(), two.server()]
        addresses = [one.address(servers[0]), two.address(servers[1])]
        again = one.server(name="again")  # the same run a second time
        assert again.ended() == 2, again.said()
        assert "another psreval works on this run now" in again.said()
        taken = two.server(port=int(addresses[0].rpartition(":")[2]), name="taken")
        assert taken.ended() == 2, taken.said()
        nodes = [
            here.node(name, address) for here, address in zip((one, two), addresses, strict=True) for name in NAMES
        ]
        assert [server.ended() for server in servers] == [0, 0]
        assert [node.ended() for node in nodes] == [0] * 4
        assert one.model() == model_without(tmp_path, first, {})
        assert two.model() == model_without(tmp_path, second, {})
        assert one.model() != two.model()
    outcome("two federations at once on one machine", "each has its own port and its own model, bit for bit")
    outcome("the same run started twice", "exit 2: another psreval works on this run")
