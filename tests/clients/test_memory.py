"""What a client remembers: texts and arrays of one run, found again by the same run alone."""

import stat
from pathlib import Path

import pytest
import torch
from flwr.app import RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.memory import (
    LEDGER,
    InFlower,
    InFolder,
    Introduction,
    Memory,
    read_introduction,
    read_ledger,
    run_key,
    write_introduction,
)
from common.description import Privacy
from common.errors import UserError
from common.privacy import Entry, Ledger, calibrate
from tests.clients.client_fixture import tiny

PLAN = calibrate(Privacy(epsilon=3, delta=1e-3, accountant="rdp"), records=40, batch_size=8, local_epochs=1, rounds=2)


@pytest.fixture(params=["folder", "flower"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Memory:
    """An empty memory of each kind."""
    return InFolder(tmp_path, "run") if request.param == "folder" else InFlower(RecordDict())


def test_what_is_kept_is_read_back(memory: Memory) -> None:
    assert memory.read("a.json") is None
    assert memory.read_arrays("x.safetensors") == {}
    with memory.alone():
        memory.write("a.json", "one")
        memory.write("b.json", "two")
        memory.write("a.json", "three")
    memory.write_arrays("x.safetensors", {"w": torch.arange(3.0)})
    assert (memory.read("a.json"), memory.read("b.json")) == ("three", "two")
    assert memory.read_arrays("x.safetensors")["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("plan", [PLAN, None])
def test_an_introduction_is_read_back_and_comes_with_a_ledger(memory: Memory, plan: object) -> None:
    assert read_introduction(memory) is None
    introduction = Introduction(PLAN if plan else None, 2)
    write_introduction(memory, introduction)
    assert read_introduction(memory) == introduction
    assert read_ledger(memory).entries == ()


def test_an_introduction_never_replaces_a_ledger(memory: Memory) -> None:
    ledger = Ledger((Entry(1, 1.0, 0.1, 5),))
    memory.write(LEDGER, ledger.to_json())
    write_introduction(memory, Introduction(PLAN, 2))
    assert read_ledger(memory).entries == ledger.entries


def test_state_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    memory = InFolder(tmp_path, "run")
    memory.write("a.json", "one")
    memory.write_arrays("x.safetensors", {"w": torch.arange(3.0)})
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "run").iterdir()}
    assert modes == {"a.json": 0o600, "x.safetensors": 0o600}


def test_other_runs_are_those_beside_this_one(tmp_path: Path) -> None:
    ledgers = {name: Ledger((Entry(1, noise, 0.1, 5),)) for name, noise in (("a", 1.0), ("b", 2.0), ("c", 3.0))}
    for name, ledger in ledgers.items():
        InFolder(tmp_path, name).write(LEDGER, ledger.to_json())
    (tmp_path / "node.key").write_text("no run")
    (tmp_path / "flower").mkdir()
    others = InFolder(tmp_path, "b").other_runs()
    assert [ledger.entries for ledger in others] == [ledgers["a"].entries, ledgers["c"].entries]
    assert InFlower(RecordDict()).other_runs() == []
    (tmp_path / "a" / LEDGER).write_text("")
    with pytest.raises(UserError, match="damaged"):
        InFolder(tmp_path, "b").other_runs()


def test_alone_means_that_no_other_holder_gets_in(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="there are no such locks on this system")

    def is_free() -> bool:
        with (tmp_path / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    with InFolder(tmp_path, "run").alone():
        assert not is_free()
    assert is_free()


def test_a_state_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(UserError, match=r"state = '.*' cannot be written"), InFolder(tmp_path / "state", "run").alone():
        pass


HOSPITAL_S_OWN = [
    {"description": "other words"},
    {"federation__rounds": 9},
    {"federation__aggregation": "/srv/rule.py:Rule"},
    {"privacy__enabled": True, "privacy__epsilon": 1.0},
    {"evaluation__steps": 3},
    {"clients": [{"name": "a", "strategy": "update-poisoner"}, {"name": "b"}]},
    {"data__path": "/elsewhere"},
]
TRAINING = [
    {"name": "other"},
    {"seed": 2},
    {"training__batch_size": 4},
    {"model__width": 8},
    {"data__image_size": 32},
    {"clients": [{"name": "b"}, {"name": "a"}]},
]


@pytest.mark.parametrize("changes", HOSPITAL_S_OWN)
def test_a_hospital_s_run_stays_the_same_where_its_training_does(changes: dict) -> None:
    assert run_key(tiny(**changes), hospital=True) == run_key(tiny(), hospital=True)


@pytest.mark.parametrize("changes", TRAINING)
def test_another_training_is_another_run(changes: dict) -> None:
    for hospital in (True, False):
        assert run_key(tiny(**changes), hospital=hospital) != run_key(tiny(), hospital=hospital)


@pytest.mark.parametrize("changes", [change for change in HOSPITAL_S_OWN if "data__path" not in change])
def test_in_a_simulation_another_description_is_another_run(changes: dict) -> None:
    assert run_key(tiny(**changes), hospital=False) != run_key(tiny(), hospital=False)


@pytest.mark.parametrize("hospital", [True, False])
def test_a_run_may_move_to_another_folder(hospital: bool) -> None:
    here, there = (
        tiny(model__name=f"{folder}/net.py:build", data__source=f"npz:{folder}/x.npz") for folder in ("/a", "/b/c")
    )
    assert run_key(here, hospital=hospital) == run_key(there, hospital=hospital)


@settings(deadline=None)
@given(st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}\Z"))
def test_a_run_s_name_is_a_folder_s(name: str) -> None:
    key = run_key(tiny(name=name), hospital=True)
    assert key.startswith(f"{name}-")
    assert Path(key).name == key
