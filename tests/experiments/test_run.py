"""A whole run, small: equal bytes every time, resumed after a kill, never done twice, mistakes told early."""

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from torch import nn

import clients.app
import server.evaluator
import server.federation
from common.config import Experiment, load, parse
from common.data import Dataset, prepare
from common.description import Generator
from common.errors import UserError
from common.folder import RunFolder, read_json, read_lines, write_json
from experiments.inprocess import InProcessGrid
from experiments.run import _RUNNERS, Work, check_fits, evaluate_run, generator_description, load_model, run, train
from experiments.split import split
from experiments.store import claimed
from server.adversarial_sets import AdversarialSets
from tests.clients.client_fixture import FOLDED, FOLDING, PRIVATE
from tests.waiting import until

ROOT = Path(__file__).parents[2]
TINY = {
    "name": "tiny",
    "data": {"image_size": 28, "train_records": 60, "public_records": 24, "test_records": 24},
    "model": {"width": 4},
    "training": {"batch_size": 16},
    "federation": {"rounds": 2},
    "clients": [
        {"name": "good"},
        {"name": "bad", "strategy": "data-poisoner", "options": {"fraction": 0.5, "steps": 2}},
    ],
    "evaluation": {"records": 12, "query_records": 6, "queries": 10, "steps": 2},
}


@pytest.fixture(autouse=True)
def _quick_latencies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.evaluator, "LATENCY_SECONDS", 0.05)


def tiny(**changes: object) -> Experiment:
    return parse(TINY, "tiny").change({key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    server.evaluator.LATENCY_SECONDS = 0.05
    return run(tiny(), tmp_path_factory.mktemp("runs"))


def test_a_run_leaves_everything_that_its_folder_promises(whole: RunFolder) -> None:
    for path in (
        whole.experiment,
        whole.manifest,
        whole.partition,
        whole.rounds,
        whole.ledger,
        whole.model,
        whole.int8_model,
        whole.results,
        whole.evaluation,
        whole.examples,
        whole.report,
        whole.model_card,
    ):
        assert path.stat().st_size > 0, path
    assert not whole.checkpoint.exists()
    assert [line["status"] for line in read_lines(whole.rounds)] == ["aggregated"] * 2
    told = read_json(whole.manifest)
    assert told["hash"] == whole.path.name
    assert set(told["bytes"]) == {"good", "bad"}
    assert set(told["seconds"]) == {"federation", "evaluation"}
    report = whole.report.read_text()
    assert "synthetic" in report.lower()
    assert "<script src" not in report
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_the_same_description_gives_the_same_bytes(whole: RunFolder, tmp_path: Path) -> None:
    again = run(tiny(), tmp_path)
    for path in (whole.model, whole.int8_model, whole.results, whole.examples, whole.partition, whole.ledger):
        assert (again.path / path.name).read_bytes() == path.read_bytes(), path.name


def test_another_seed_gives_another_model(whole: RunFolder, tmp_path: Path) -> None:
    experiment = tiny(seed=2)
    folder = train(experiment, prepare(experiment.data), tmp_path, "inprocess")
    assert folder.model.read_bytes() != whole.model.read_bytes()


def test_a_server_among_hospitals_runs_to_its_report_without_any_training_record(
    whole: RunFolder, tmp_path: Path
) -> None:
    *hospitals, served = split(tiny(), tmp_path / "split")
    configurations = [{"hospital": str(folder / "hospital.toml")} for folder in hospitals]

    def federate(experiment: Experiment, dataset: Dataset, folder: RunFolder, work: Work) -> None:
        assert len(dataset.train) == 0
        work(InProcessGrid(clients.app.app, 2, configurations), None)

    folder = run(load(served / "experiment.toml"), tmp_path / "runs", "hospitals", federate)
    assert folder.model.read_bytes() == whole.model.read_bytes()
    assert folder.int8_model.read_bytes() == whole.int8_model.read_bytes()
    assert folder.results.read_bytes() == whole.results.read_bytes()
    assert folder.report.exists()
    assert read_json(folder.manifest)["runner"] == "hospitals"


def test_what_real_hospitals_do_is_not_rehearsed_by_the_server(tmp_path: Path) -> None:
    made = tiny(clients=[{"name": "a", "strategy": "/theirs/own.py:Mine"}, {"name": "b"}])
    with pytest.raises(UserError, match="there is no file"):
        run(made, tmp_path)

    def nobody(*_: object) -> None:
        raise UserError("nobody came")

    with pytest.raises(UserError, match="nobody came"):
        run(made, tmp_path, "hospitals", nobody)


def test_a_study_evaluates_in_parts_what_a_user_runs_at_once(whole: RunFolder, tmp_path: Path) -> None:
    experiment = tiny()
    dataset = prepare(experiment.data)
    folder = train(experiment, dataset, tmp_path, "inprocess", wait=True)
    sets = AdversarialSets(tmp_path / ".sets")
    evaluate_run(experiment, dataset, folder, {}, sets=sets, latencies=False)
    assert sets.crafts == 4
    assert folder.results.read_bytes() == whole.results.read_bytes()
    assert folder.examples.read_bytes() == whole.examples.read_bytes()
    assert not folder.report.exists()
    assert set(read_json(folder.manifest)["seconds"]) == {"federation", "evaluation"}
    before = {path: path.stat().st_mtime_ns for path in folder.path.iterdir()}
    evaluate_run(experiment, dataset, folder, {}, sets=sets, latencies=False)
    assert {path: path.stat().st_mtime_ns for path in folder.path.iterdir()} == before
    assert sets.hits == 0
    evaluate_run(experiment, dataset, folder, {}, report=True)
    assert "not measured" in folder.report.read_text(encoding="utf-8")
    assert "not measured" in folder.model_card.read_text(encoding="utf-8")


def test_seconds_that_a_killed_process_did_not_note_are_made_up_for(whole: RunFolder, tmp_path: Path) -> None:
    experiment = tiny()
    dataset = prepare(experiment.data)
    folder = RunFolder(tmp_path / "tiny" / whole.path.name)
    shutil.copytree(whole.path, folder.path)
    manifest = read_json(folder.manifest)
    write_json(folder.manifest, manifest | {"seconds": {}, "bytes": {}})
    assert train(experiment, dataset, tmp_path, "inprocess") == folder
    evaluate_run(experiment, dataset, folder, {})
    told = read_json(folder.manifest)
    rounds = sum(line["seconds"] for line in read_lines(folder.rounds))
    assert told["seconds"]["federation"] == pytest.approx(rounds, abs=0.01)
    assert told["seconds"]["evaluation"] == read_json(folder.evaluation)["seconds"]
    assert told["bytes"] == manifest["bytes"]


def test_two_that_want_one_federation_train_it_once_if_they_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, waiting, real = [], threading.Event(), _RUNNERS["inprocess"]
    monkeypatch.setattr("common.progress._say", lambda sentence: "waiting for federation" in sentence and waiting.set())
    one, other = tiny(federation__rounds=1), tiny(federation__rounds=1, name="other", evaluation__steps=3)
    dataset = prepare(one.data)
    threads = []

    def counted(*arguments: object) -> None:
        trained.append(arguments)
        if not threads:
            arguments_of_other = (other, dataset, tmp_path, "inprocess")
            threads.append(threading.Thread(target=train, args=arguments_of_other, kwargs={"wait": True}))
            threads[0].start()
            assert waiting.wait(60)
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setitem(_RUNNERS, "inprocess", counted)
    folder = train(one, dataset, tmp_path, "inprocess", wait=True)
    threads[0].join(60)
    assert len(trained) == 1
    (copied,) = (tmp_path / "other").glob("*/model.safetensors")
    assert copied.read_bytes() == folder.model.read_bytes()


def test_a_run_that_another_process_evaluates_is_refused_or_waited_for(
    whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = threading.Event()
    monkeypatch.setattr("common.progress._say", lambda sentence: waiting.set())
    experiment = tiny()
    arguments = (experiment, prepare(experiment.data), whole, {})
    thread = threading.Thread(target=evaluate_run, args=arguments, kwargs={"wait": True})
    with claimed(whole):
        with pytest.raises(UserError, match="another psreval works on this run"):
            evaluate_run(*arguments)
        thread.start()
        assert waiting.wait(60)
    thread.join(60)
    assert not thread.is_alive()


def test_a_generator_s_description_is_the_experiment_s_with_changes(whole: RunFolder) -> None:
    generator = Generator(name="other", changes={"seed": 2, "privacy.enabled": True})
    experiment = tiny(evaluation__threats=["transfer"], evaluation__generators=[generator.model_dump()])
    description = generator_description(generator, experiment)
    assert (description.seed, description.privacy.enabled) == (2, True)
    assert (description.evaluation.generators, description.evaluation.threats) == ((), ("white-box",))
    dataset = prepare(experiment.data)
    check_fits(generator, description, dataset, experiment, dataset)
    with pytest.raises(UserError, match="'other' does not fit"):
        check_fits(generator, description.change({"model.width": 8}), dataset, experiment, dataset)
    assert isinstance(load_model(whole, tiny(), dataset), nn.Module)


def test_what_has_been_done_is_not_done_again(whole: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setitem(_RUNNERS, "inprocess", never)
    monkeypatch.setattr("experiments.run.evaluate", never)
    before = whole.results.read_bytes()
    assert run(tiny(), whole.path.parents[1]) == whole
    assert whole.results.read_bytes() == before


def test_a_federation_in_the_store_serves_another_evaluation(whole: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setitem(_RUNNERS, "inprocess", never)
    other = run(tiny(evaluation__steps=3, name="tiny-harder"), whole.path.parents[1])
    assert other.model.read_bytes() == whole.model.read_bytes()
    assert read_json(other.manifest)["federation_from"] == str(whole.path)
    assert len(list(read_lines(other.rounds))) == 2


def test_a_transfer_generator_is_trained_first_and_stored(tmp_path: Path) -> None:
    experiment = tiny(
        federation__rounds=1,
        evaluation__threats=["white-box", "transfer"],
        evaluation__generators=[{"name": "other", "changes": {"seed": 2}}],
    )
    folder = run(experiment, tmp_path)
    assert len(list((tmp_path / "tiny").glob("*/model.safetensors"))) == 2
    rows = folder.results.read_text()
    assert "fp32,transfer,pgd,other" in rows
    assert "int8,transfer,worst,other" in rows


@pytest.mark.parametrize(
    ("generators", "words"),
    [
        ([], "needs at least one"),
        ([{"name": "itself"}], "is the attacked model itself"),
        ([{"name": "larger", "changes": {"model.width": 8}}], "does not fit"),
        ([{"name": "typo", "changes": {"sed": 2}}], "did you mean 'seed'"),
    ],
)
def test_a_generator_that_does_not_fit_is_told(tmp_path: Path, generators: list, words: str) -> None:
    experiment = tiny(evaluation__threats=["transfer"], evaluation__generators=generators)
    with pytest.raises(UserError, match=words):
        run(experiment, tmp_path)


def test_the_generator_that_is_recommended_may_be_called_so(tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        run(tiny(evaluation__threats=["transfer"]), tmp_path)
    (name,) = re.findall('name = "(.*?)"', str(told.value))
    tiny(evaluation__threats=["transfer"], evaluation__generators=[{"name": name, "changes": {"seed": 2}}])


def test_private_training_ends_at_its_epsilon_and_the_ledger_says_so(tmp_path: Path) -> None:
    experiment = tiny(
        privacy__enabled=True,
        privacy__accountant="rdp",
        privacy__epsilon=5.0,
        privacy__delta=1e-3,
        clients=[{"count": 2}],
    )
    folder = train(experiment, prepare(experiment.data), tmp_path, "inprocess")
    table = read_json(folder.ledger)
    assert 4.5 < table["worst_honest_epsilon"] <= 5.0 + 1e-6
    for client in table["clients"]:
        assert [entry["round"] for entry in client["entries"]] == [1, 2]
        assert client["epsilon_by_round"][0] < client["epsilon_by_round"][1] == client["epsilon"]


def test_a_malicious_client_that_ignores_privacy_does_not_void_the_honest_one_s(tmp_path: Path) -> None:
    clients = [{"name": "good"}, {"name": "bad", "strategy": "label-flipper", "private": False}]
    experiment = tiny(privacy__enabled=True, privacy__accountant="rdp", privacy__delta=1e-3, clients=clients)
    table = read_json(train(experiment, prepare(experiment.data), tmp_path, "inprocess").ledger)
    good, bad = table["clients"]
    assert bad["epsilon"] is None
    assert table["worst_honest_epsilon"] == good["epsilon"] is not None


def test_ledgers_and_model_are_the_same_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"privacy__enabled": True, "privacy__accountant": "rdp", "privacy__delta": 1e-3, "federation__rounds": 3}
    experiment = tiny(**changes)
    dataset = prepare(experiment.data)
    undisturbed = train(experiment, dataset, tmp_path / "a", "inprocess")

    saved = server.federation.Progress.save

    def killed_after_two(self: server.federation.Progress, folder: RunFolder) -> None:
        if self.round == 3:
            raise KeyboardInterrupt
        saved(self, folder)

    monkeypatch.setattr(server.federation.Progress, "save", killed_after_two)
    with pytest.raises(KeyboardInterrupt):
        train(experiment, dataset, tmp_path / "b", "inprocess")
    monkeypatch.undo()
    resumed = train(experiment, dataset, tmp_path / "b", "inprocess")
    assert resumed.model.read_bytes() == undisturbed.model.read_bytes()
    assert read_json(resumed.ledger) == read_json(undisturbed.ledger)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def prepare(self, r, m): raise ValueError('scanner is broken')", "scanner is broken"),
        ("def prepare(self, r, m): return None", "Mine.prepare returned nothing"),
        ("def train(self, m, r): return {'loss': float('nan')}", "Mine.train"),
        ("def train(self, m, r): return 3", "Mine.train returned"),
        ("def send(self, u, r): return {k: v * float('nan') for k, v in u.items()}", "not finite"),
        ("def send(self, u, r): return {k: v[:1] for k, v in u.items()}", "Mine.send returned weights"),
        ("def send(self, u, r): return {}", "Mine.send left out"),
    ],
)
def test_a_broken_custom_strategy_costs_its_client_the_round_and_is_told(tmp_path: Path, code: str, words: str) -> None:
    (tmp_path / "mine.py").write_text(f"from clients.honest import Honest\nclass Mine(Honest):\n    {code}\n")
    clients = [{"name": "good"}, {"name": "mine", "strategy": f"{tmp_path / 'mine.py'}:Mine"}]
    experiment = tiny(federation__rounds=1, clients=clients)
    folder = train(experiment, prepare(experiment.data), tmp_path / "runs", "inprocess")
    (line,) = read_lines(folder.rounds)
    good, mine = line["clients"]
    assert good["status"] == "accepted"
    assert mine["status"] == "refused"
    assert words in mine["reason"]


PROCESSES = pytest.mark.processes


@pytest.mark.parametrize(
    "runner", ["inprocess", pytest.param("ray", marks=PROCESSES), pytest.param("processes", marks=PROCESSES)]
)
def test_why_a_private_client_s_model_was_refused_stands_in_the_report(tmp_path: Path, runner: str) -> None:
    (tmp_path / "rows.py").write_text(FOLDING)
    experiment = tiny(
        model={"name": f"{tmp_path / 'rows.py'}:build"},
        federation={"rounds": 1, "quorum": 1},
        clients=[{"name": "good"}, {"name": "open", "private": False}],
        evaluation={"records": 6, "steps": 2, "stress_records": 6, "threats": ["insider"], "attacks": ["fgsm"]},
        **PRIVATE,
    )
    folder = run(experiment, tmp_path / "runs", runner)
    (line,) = read_lines(folder.rounds)
    refused, accepted = line["clients"]
    assert (refused["status"], accepted["status"], refused["strike"]) == ("refused", "accepted", False)
    assert refused["reason"].startswith(FOLDED)
    assert refused["reason"].endswith("and views or patches of a record elsewhere")
    told = f"good: 0 of 1 updates counted; the last that did not was refused: {refused['reason']}"
    assert told in [warning["sentence"] for warning in read_json(folder.evaluation)["warnings"]]
    assert refused["reason"] in html.unescape(folder.report.read_text())


def test_a_full_disk_keeps_finished_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = tiny(federation__rounds=3)
    dataset = prepare(experiment.data)
    real = os.fsync
    count = {"left": 10**9}

    def fsync(handle: int) -> None:
        if count["left"] <= 0:
            raise OSError(28, "No space left on device")
        count["left"] -= 1
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    saved = server.federation.Progress.save

    def save(self: server.federation.Progress, folder: RunFolder) -> None:
        if self.round == 3:
            count["left"] = 0
        saved(self, folder)

    monkeypatch.setattr(server.federation.Progress, "save", save)
    with pytest.raises(UserError, match=r"No space left on device.*finished rounds are kept"):
        train(experiment, dataset, tmp_path, "inprocess")
    monkeypatch.undo()
    folder = train(experiment, dataset, tmp_path, "inprocess")
    assert [line["round"] for line in read_lines(folder.rounds)] == [1, 2, 3]


@pytest.mark.processes
def test_ctrl_c_stops_within_seconds_and_the_same_command_resumes(tmp_path: Path) -> None:
    description = tmp_path / "tiny.toml"
    description.write_text(tiny(federation__rounds=40).to_toml())
    command = [sys.executable, "-m", "experiments.cli", "run", str(description), "--runs", str(tmp_path / "runs")]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    rounds = tmp_path / "runs"
    until(lambda: any("\n" in file.read_text() for file in rounds.glob("*/*/rounds.jsonl")), "the first round")
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "the same command resumes" in told
    assert "Traceback" not in told
    (lines,) = rounds.glob("*/*/rounds.jsonl")
    reached = len(lines.read_text().splitlines())
    assert 1 <= reached < 40
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert len(lines.read_text().splitlines()) == 40


@pytest.mark.processes
def test_ray_gives_the_same_model_bit_for_bit(whole: RunFolder, tmp_path: Path) -> None:
    description = tmp_path / "tiny.toml"
    description.write_text(tiny().to_toml())
    command = [sys.executable, "-m", "experiments.cli", "run", str(description), "--runner", "ray"]
    done = subprocess.run(
        [*command, "--runs", str(tmp_path / "runs")], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    (model,) = (tmp_path / "runs").glob("*/*/model.safetensors")
    assert model.read_bytes() == whole.model.read_bytes()
    noise = [line for line in done.stderr.splitlines() if "DEPRECATED" in line or "ray" in line.lower()]
    assert noise == []
    assert json.loads((model.parent / "manifest.json").read_text())["runner"] == "ray"
