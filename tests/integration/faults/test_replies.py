"""Bad replies: a rogue process answers each round with another fault; none gets into the model, none ends the run."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.faults import rogue
from tests.integration.faults.conftest import Outcome
from tests.integration.faults.processes_fixture import Program, model_without, site, tiny
from tests.waiting import until

HONEST = ("hospital-a", "hospital-b")
STAYING = tuple(f"rogue-{number}" for number in range(1, 7))
LEAVING = ("rogue-7", "rogue-8")
"""They hang up, which costs them the next rounds, too."""
ROUNDS = 9


@dataclass
class Federation:
    """What became of the federation: its lines, and the rogues' notes by fault."""

    lines: list[dict[str, Any]]
    notes: dict[str, dict[str, Any]]
    model: bytes
    reference: bytes
    exit_code: int


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """One federation of two honest hospitals and eight rogues, who share the faults among them."""
    folder = tmp_path_factory.mktemp("replies")
    names = [*HONEST, *STAYING, *LEAVING]
    experiment = tiny(
        names,
        federation__rounds=ROUNDS,
        federation__quorum=2,
        federation__strikes_limit=1000,
        federation__round_timeout=60,
    )
    leaving = [fault.name for fault in rogue.FAULTS if fault.status == "silent"]
    staying = [fault.name for fault in rogue.FAULTS if fault.status != "silent"]
    with site(folder / "site", experiment) as here:
        notes = here.folder / "notes"
        notes.mkdir()
        server = here.server()
        address = here.address(server)
        here.node(HONEST[0], address)
        here.node(HONEST[1], address, options={"gates": str(here.gates), "chatty": True})
        for rogues, faults in ((STAYING, staying), (LEAVING, leaving)):
            for number, name in enumerate(rogues):
                given = (address, name, str(notes), faults[number :: len(rogues)])
                here.start(name, [], [(rogue.act, given)])
        code = server.ended(300)
        told = [json.loads(file.read_text()) for file in notes.glob("*.json")]
        reference = model_without(folder, experiment, {name: range(1, ROUNDS + 1) for name in names[2:]})
        assert not (notes / "unpickled").exists()
        yield Federation(here.rounds(), {note["fault"]: note for note in told}, here.model(), reference, code)


@pytest.mark.processes
@pytest.mark.parametrize("fault", rogue.FAULTS, ids=lambda fault: fault.name)
def test_a_bad_reply_is_left_out_with_a_reason(fault: rogue.Fault, federation: Federation, outcome: Outcome) -> None:
    note = federation.notes[fault.name]
    line = next(line for line in federation.lines[note["round"] - 1]["clients"] if line["name"] == note["client"])
    assert fault.reason in line["reason"], note["doors"]
    assert (line["status"], line["strike"]) == (fault.status, fault.strike)
    assert len(line["reason"]) < 500
    assert line["reason"].isprintable()
    told = {"refused": "refused", "silent": "left out"}[fault.status] + f": \u201c{line['reason'][:90]}\u201d"
    outcome(fault.name, told + (", a strike" if fault.strike else ""), flower=fault.flower, timed=False)


@pytest.mark.processes
def test_the_model_is_that_of_the_honest_alone(federation: Federation, outcome: Outcome) -> None:
    assert federation.exit_code == 0
    assert all(line["status"] == "aggregated" for line in federation.lines)
    assert len(federation.lines) == ROUNDS
    for line in federation.lines:
        honest = [client["status"] for client in line["clients"] if client["name"] in HONEST]
        assert honest == ["accepted", "accepted"], line
    assert federation.model == federation.reference
    outcome("all of these in one federation", f"{ROUNDS} rounds, all aggregated; the model is that of the honest alone")


@pytest.mark.processes
def test_a_metric_that_only_one_client_has_does_no_harm(federation: Federation, outcome: Outcome) -> None:
    for line in federation.lines:
        (chatty,) = [client for client in line["clients"] if client["name"] == HONEST[1]]
        assert chatty["status"] == "accepted"
        assert chatty["metrics"]["surprise"] == 1.0
    outcome(
        "one extra metric key, from an honest client",
        "accepted; the strategy sees only metrics that all have",
        flower="the run ends",
        timed=False,
    )


def peak(program: Program) -> int:
    """The most memory that a process has had so far, in bytes."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.mark.processes
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's memory from /proc")
def test_a_gibibyte_is_refused_while_it_comes_and_takes_no_memory(tmp_path: Path, outcome: Outcome) -> None:
    experiment = tiny([*HONEST, "rogue"], federation__rounds=2, federation__quorum=2)
    with site(tmp_path / "site", experiment) as here:
        notes = here.folder / "notes"
        notes.mkdir()
        here.hold("train-hospital-a-1")
        server = here.server()
        address = here.address(server)
        for name in HONEST:
            here.node(name, address)
        given = (address, "rogue", str(notes), [rogue.GIBIBYTE.name])
        sender = here.start("rogue", [], [(rogue.act, given)])
        here.reached("train-hospital-a-1")
        before = peak(server)
        (notes / "go").touch()
        until((notes / "sent").exists, "a gibibyte is sent")
        assert peak(server) - before < 2**29  # each of its threads keeps some
        here.release("train-hospital-a-1")
        assert server.ended() == 0, server.said()
        assert sender.ended() == 0, sender.said()
        assert int((notes / "sent").read_text()) > 2**30
        (note,) = [json.loads(file.read_text()) for file in notes.glob("*.json")]
        assert set(note["doors"][1:]) == {413}  # none of its parts was taken in
        line = here.line(1, "rogue")
        assert rogue.GIBIBYTE.reason in line["reason"], line
        assert line["strike"]
        assert here.model() == model_without(tmp_path, experiment, {"rogue": [1, 2]})
    outcome(
        "1 GB upload, in parts, whatever the server answers",
        "413 from the first byte too many; refused with a strike; the server's memory stays as it was",
        flower=rogue.GIBIBYTE.flower,
    )


def test_three_bad_updates_exclude_and_the_model_is_that_of_one_process(tmp_path: Path, outcome: Outcome) -> None:
    names = [*HONEST, "rogue"]
    experiment = tiny(names, federation__rounds=4, federation__quorum=2)
    with site(tmp_path / "site", experiment) as here:
        notes = here.folder / "notes"
        notes.mkdir()
        server = here.server()
        address = here.address(server)
        for name in HONEST:
            here.node(name, address)
        faults = [rogue.FAULTS[0].name, "an array missing", "num-examples = 1e12"]
        here.start("rogue", [], [(rogue.act, (address, "rogue", str(notes), faults))])
        assert server.ended() == 0, server.said()
        assert [here.line(number, "rogue")["status"] for number in (1, 2, 3, 4)] == ["refused"] * 3 + ["excluded"]
        assert "3 of its updates were refused (rounds 1, 2, 3)" in here.line(4, "rogue")["reason"]
        assert here.model() == model_without(tmp_path, experiment, {"rogue": [1, 2, 3, 4]})
    outcome(
        "three bad updates of one client",
        "excluded for the rest of the run; model as without it, processes and one process alike, bit for bit",
    )
