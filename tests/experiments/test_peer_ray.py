"""Trainings on Ray: the same bytes as in one process, also where a worker is killed; order, bound and mistakes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from safetensors import safe_open

from common.config import Experiment, parse
from common.data import prepare
from common.errors import UserError
from common.folder import RunFolder, read_lines
from common.local_update import Failed, Job
from experiments.peer_ray import AHEAD, learn_here, learn_on
from experiments.run import train

FRAGILE = '''
import os, signal
from pathlib import Path
from clients.honest import Honest

class Fragile(Honest):
    """Its first worker is killed in the middle of its second update."""

    def train(self, model, records):
        metrics = super().train(model, records)
        mark = Path(__file__).with_name("killed")
        if self.setting.round == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return metrics
'''


def tiny(**changes: Any) -> Experiment:
    """Three peers that train at the same time: one plain, one private, one that poisons."""
    tree = {
        "name": "tiny",
        "protocol": "braintorrent",
        "data": {"train_records": 90, "public_records": 24, "test_records": 24, "image_size": 28},
        "model": {"width": 4},
        "federation": {"rounds": 2},
        "peers": {"initiators": 3},
        "privacy": {"noise_multiplier": 1.0, "accountant": "rdp"},
        "clients": [
            {"name": "plain"},
            {"name": "private", "private": True},
            {"name": "poisoner", "strategy": "data-poisoner", "options": {"attack": "fgsm", "fraction": 0.2}},
        ],
    }
    return parse({**tree, **changes}, "tiny")


def timeless(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "seconds"}


def check_equal(one: RunFolder, other: RunFolder, experiment: Experiment) -> None:
    """Compare all that two runs left, but for the seconds that it took."""
    assert one.model.read_bytes() == other.model.read_bytes()
    assert json.loads(one.ledger.read_text()) == json.loads(other.ledger.read_text())
    for lines in ("rounds", "updates"):
        first, second = (read_lines(getattr(folder, lines)) for folder in (one, other))
        assert [timeless(line) for line in first] == [timeless(line) for line in second]
    for client in experiment.roster():
        name = str(client.name)
        assert one.peer_model(name).read_bytes() == other.peer_model(name).read_bytes()
        assert state_of(one, name) == state_of(other, name)


def state_of(folder: RunFolder, name: str) -> tuple[Any, ...]:
    """What a peer's file holds: numbers of all tensors, versions, ledger."""
    file = folder.peers / name / "state.safetensors"
    with safe_open(file, "pt") as opened:
        told = json.loads(opened.metadata()["state"])
        told["lines"] = [timeless(line) for line in told["lines"]]
        return told, {key: opened.get_tensor(key).numpy().tobytes() for key in opened.keys()}  # noqa: SIM118


@pytest.mark.processes
def test_ray_gives_the_same_bytes_as_one_process_also_where_a_worker_is_killed(tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    fragile = {"name": "fragile", "strategy": f"{tmp_path / 'fragile.py'}:Fragile"}
    experiment = tiny(clients=[*tiny().model_dump(exclude_none=True)["clients"], fragile], peers={"initiators": 4})
    dataset, killed = prepare(experiment.data), tmp_path / "killed"
    killed.touch()
    here = train(experiment, dataset, tmp_path / "here", "inprocess")
    killed.unlink()
    there = train(experiment, dataset, tmp_path / "there", "ray")
    assert killed.exists()
    check_equal(here, there, experiment)
    assert json.loads(there.manifest.read_text())["runner"] == "ray"
    assert not ray.is_initialized()


class StandIn:
    """As much of Ray as a run uses, in this process; counts what is on its way."""

    exceptions = ray.exceptions

    def __init__(self, do: Callable[[Job], Any]) -> None:
        self.do, self.given, self.most, self.under_way, self.cancelled = do, list[int](), 0, 0, 0

    def remote(self, **options: Any) -> Callable[[Any], "StandIn"]:
        return lambda function: StandIn.Function(self)

    def put(self, thing: Any) -> Any:
        return thing

    def get(self, job: Job) -> Any:
        self.under_way -= 1
        return self.do(job)

    def cancel(self, reference: Any, force: bool) -> None:
        self.cancelled += 1

    class Function:
        def __init__(self, stand_in: "StandIn") -> None:
            self.stand_in = stand_in

        def remote(self, root: str, held: list[Any]) -> Any:
            _text, _state, job = held[0]
            self.stand_in.given.append(job.number)
            self.stand_in.under_way += 1
            self.stand_in.most = max(self.stand_in.most, self.stand_in.under_way)
            return job


def jobs(count: int) -> list[Job]:
    return [Job(number, 1, {"weight": torch.zeros(2)}) for number in range(count)]


def came(stand_in: StandIn, count: int, tmp_path: Path) -> Iterator[Any]:
    return learn_on(stand_in, tiny(), tmp_path, jobs(count), workers=2)


def test_results_come_in_the_jobs_order_and_no_more_is_sent_than_workers_can_soon_take(tmp_path: Path) -> None:
    stand_in = StandIn(lambda job: Failed(str(job.number), ""))
    assert [result.reason for result in came(stand_in, 9, tmp_path)] == [str(number) for number in range(9)]
    assert stand_in.given == list(range(9))
    assert stand_in.most == 2 * AHEAD


def test_a_mistake_ends_the_wave_with_its_sentence_and_the_rest_is_cancelled(tmp_path: Path) -> None:
    stand_in = StandIn(lambda job: "the disk is full" if job.number == 1 else Failed("", ""))
    results = came(stand_in, 9, tmp_path)
    next(results)
    with pytest.raises(UserError, match=r"^the disk is full$"):
        next(results)
    assert stand_in.cancelled == stand_in.under_way > 0


def test_lost_workers_and_defects_are_told_in_a_sentence(tmp_path: Path) -> None:
    def lost(job: Job) -> Any:
        raise ray.exceptions.WorkerCrashedError

    with pytest.raises(UserError, match=r"workers were lost.*use fewer cores or --runner inprocess"):
        next(came(StandIn(lost), 2, tmp_path))

    def defect(job: Job) -> Any:
        raise ray.exceptions.RayTaskError("learn", "…", ValueError("a wrong shape"))

    with pytest.raises(UserError, match=r"a training failed \(ValueError: a wrong shape\)"):
        next(came(StandIn(defect), 2, tmp_path))


def test_a_worker_tells_a_mistake_in_its_own_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.peer_ray.end_with_parent", lambda: None)
    text = tiny(data={"source": "npz:/nowhere.npz"}).to_toml()
    told = learn_here(text, str(tmp_path), jobs(1)[0])
    assert isinstance(told, str)
    assert "nowhere.npz" in told
