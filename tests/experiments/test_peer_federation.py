"""A whole run without a server, small: the folder that a server's run has, resumed after a kill, never done twice."""

from pathlib import Path
from typing import Any

import pytest
import torch

import server.evaluator
from common.config import Experiment, parse
from common.data import prepare
from common.errors import UserError
from common.folder import RunFolder, read_arrays, read_json, read_lines
from experiments.inventory import stored_runs
from experiments.peer_federation import RUNNERS, learners_of, run_simulation
from experiments.run import check, run, train
from experiments.run_files import read_run
from experiments.stored import trusted
from peers.state import load_state
from server.manifest import open_manifest

TINY: dict[str, Any] = {
    "name": "tiny",
    "protocol": "braintorrent",
    "data": {"image_size": 28, "train_records": 90, "public_records": 24, "test_records": 24},
    "model": {"width": 4},
    "training": {"batch_size": 16},
    "privacy": {"delta": 1e-3, "accountant": "rdp"},
    "federation": {"rounds": 3},
    "clients": [
        {"name": "private", "private": True},
        {"name": "poisoner", "strategy": "data-poisoner", "options": {"fraction": 0.5, "steps": 1}},
        {"name": "liar", "misbehaviour": {"kind": "version-inflation"}},
    ],
    "evaluation": {"records": 12, "query_records": 6, "queries": 5, "steps": 1, "attacks": ["fgsm"]},
}


def tiny(**changes: object) -> Experiment:
    return parse(TINY, "tiny").change({key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    server.evaluator.LATENCY_SECONDS = 0.05
    return run(tiny(), tmp_path_factory.mktemp("runs"))


def test_a_run_leaves_what_a_servers_run_leaves_and_each_peers_own(whole: RunFolder) -> None:
    for path in (
        whole.experiment, whole.manifest, whole.partition, whole.rounds, whole.ledger, whole.model, whole.int8_model,
        whole.results, whole.evaluation, whole.report, whole.model_card, whole.updates, whole.peer_scores,
        *(whole.peer_model(name) for name in ("private", "poisoner", "liar")),
    ):  # fmt: skip
        assert path.stat().st_size > 0, path
    lines = list(read_lines(whole.rounds))
    assert [line["local_updates"] for line in lines] == [3, 6, 9]
    updates = list(read_lines(whole.updates))
    assert [update["step"] for update in updates] == list(range(9))
    assert lines[-1]["bytes_moved"] == sum(update["bytes"] for update in updates)
    told = read_json(whole.manifest)
    assert told["bytes_total"]["up"] == told["bytes_total"]["down"] == lines[-1]["bytes_moved"]
    assert {one["name"]: one["honest"] for one in read_json(whole.ledger)["clients"]} == {
        "private": True, "poisoner": False, "liar": False,
    }  # fmt: skip
    assert [one.name for one in (read_run(whole).peers or pytest.fail("no scores")).peers] == [
        "private", "poisoner", "liar",
    ]  # fmt: skip


def test_a_private_peers_ledger_has_an_entry_for_each_of_its_updates_and_keeps_to_the_plan(whole: RunFolder) -> None:
    (about,) = (one for one in read_json(whole.ledger)["clients"] if one["private"])
    updates = [line for line in read_lines(whole.updates) if line["peer"] == "private"]
    assert [entry["round"] for entry in about["entries"]] == [line["version"] for line in updates]
    assert about["epsilon"] <= tiny().privacy.epsilon * (1 + 1e-6)
    assert read_json(whole.ledger)["worst_honest_epsilon"] == about["epsilon"]


def test_the_model_is_the_records_weighted_mean_of_all_that_is_sent(whole: RunFolder) -> None:
    dataset = prepare(tiny().data)
    run_digest = tiny().digest(dataset.checksum, federation_only=True)
    model = read_arrays(whole.model)
    states = []
    for name in ("private", "poisoner", "liar"):
        file = whole.peers / name / "state.safetensors"
        own = {key.removeprefix("own/"): array for key, array in read_arrays(file).items() if key.startswith("own/")}
        state = load_state(file, name, run_digest, own)
        assert state is not None
        states.append(state)
        kept = read_arrays(whole.peer_model(name))
        assert all(torch.equal(kept[key], array) for key, array in state.arrays.items())
    total = sum(state.offer.records for state in states)
    for key, array in states[0].offer.arrays.items():
        mean = sum((state.offer.records / total * state.offer.arrays[key].double() for state in states), 0 * array)
        torch.testing.assert_close(model[key].double(), mean, rtol=1e-6, atol=1e-7)


def test_the_report_speaks_of_peers_and_of_no_server(whole: RunFolder) -> None:
    for text in (whole.report.read_text(), whole.model_card.read_text()):
        assert "There is no server (BrainTorrent" in text
        plain = text.split("The resolved description")[0].lower().replace("there is no server", "")
        for word in ("the server", "global model after", "fedavg"):
            assert word not in plain, word
        assert "aggregated" in plain
        assert "liar" in plain
        assert "version-inflation" in plain


def test_what_was_killed_goes_on_and_ends_byte_for_byte_as_it_would_have(whole: RunFolder, tmp_path: Path) -> None:
    experiment, dataset = tiny(), prepare(tiny().data)
    folder = RunFolder(tmp_path / "tiny" / whole.path.name)
    open_manifest(experiment, dataset, folder, "inprocess")
    folder.experiment.write_text(experiment.to_toml())
    learners = learners_of(experiment, dataset, folder)
    for killed_after in (1, 4):
        left = iter(range(killed_after))

        def killed(jobs, left=left):
            for job in jobs:
                if next(left, None) is None:
                    raise KeyboardInterrupt
                yield learners[job.number].learn(job)

        with pytest.raises(KeyboardInterrupt):
            run_simulation(experiment, dataset, folder, learners, killed)
    (one,) = stored_runs(tmp_path)
    assert one.status == "resumable"
    assert trusted(folder, experiment, dataset.checksum) is None
    again = train(experiment, dataset, tmp_path, "inprocess")
    assert again.path == folder.path
    for path in (whole.model, whole.ledger, *(whole.peer_model(name) for name in ("private", "poisoner", "liar"))):
        assert (again.path / path.relative_to(whole.path)).read_bytes() == path.read_bytes(), path.name
    for lines in ("rounds", "updates"):
        untimed = [
            [
                {key: value for key, value in line.items() if key != "seconds"}
                for line in read_lines(getattr(one, lines))
            ]
            for one in (whole, again)
        ]
        assert untimed[0] == untimed[1], lines


def test_the_same_federation_under_another_name_is_copied_whole(
    whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RUNNERS, "inprocess", lambda *arguments: pytest.fail("trained anew"))
    other = tiny(name="other", evaluation__eps="4/255")
    folder = train(other, prepare(other.data), whole.path.parents[1], "inprocess")
    for path in (whole.model, whole.ledger, whole.rounds, whole.updates, whole.peer_model("liar")):
        assert (folder.path / path.relative_to(whole.path)).read_bytes() == path.read_bytes()


def test_a_peers_file_that_is_not_whole_is_damage(whole: RunFolder, tmp_path: Path) -> None:
    experiment, dataset = tiny(), prepare(tiny().data)
    assert trusted(whole, experiment, dataset.checksum) is None
    file = whole.peer_model("liar")
    content = file.read_bytes()
    try:
        file.write_bytes(content[:100])
        reason = trusted(whole, experiment, dataset.checksum)
    finally:
        file.write_bytes(content)
    assert reason is not None
    assert "liar/model.safetensors could not be read" in reason


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"peers__merge": "krum"}, "peers.merge = 'krum' needs 5 models"),
        ({"peers__merge": "nothing"}, "peers.merge = 'nothing' is unknown"),
        ({"clients.0.strategy": "honesty"}, "did you mean 'honest'"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(changes: dict[str, object], sentence: str) -> None:
    experiment = tiny(**changes)
    with pytest.raises(UserError) as told:
        check(experiment, prepare(experiment.data))
    assert sentence in str(told.value)


def test_a_generator_whose_rule_does_not_exist_is_refused_as_well(tmp_path: Path) -> None:
    other = {"name": "other", "changes": {"seed": 2, "peers.merge": "centred-clipping"}}
    experiment = tiny(evaluation__threats=["transfer"], evaluation__generators=[other])
    with pytest.raises(UserError, match="'centred-clipping' is unknown; did you mean 'centered-clipping'"):
        run(experiment, tmp_path)


def test_there_is_no_server_to_wait_for_hospitals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no server that hospitals could join"):
        run(tiny(), tmp_path, "deployment", lambda *arguments: pytest.fail("served"))
    with pytest.raises(UserError, match=r"peers\.order = 'timers'"):
        run(tiny(peers__order="timers"), tmp_path)
