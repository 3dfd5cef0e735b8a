"""A whole run by the secure protocol, small: the folder of any run, cheaters named, resumed after a kill."""

from pathlib import Path
from typing import Any

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import server.evaluator
from common.config import Experiment, parse
from common.data import prepare
from common.errors import UserError
from common.folder import RunFolder, read_arrays, read_json, read_lines
from common.seeds import numpy_generator
from experiments.run import run, train
from experiments.secure_transcript import told
from peers.secure.plan import rules_of
from peers.secure.transcript import verify_transcript
from server.federation import initial_model

TINY: dict[str, Any] = {
    "name": "tiny",
    "protocol": "secure",
    "data": {"image_size": 28, "train_records": 90, "public_records": 24, "test_records": 24},
    "model": {"width": 4},
    "training": {"batch_size": 16},
    "privacy": {"delta": 1e-3, "accountant": "rdp"},
    "federation": {"rounds": 2},
    "clients": [
        {"name": "private", "private": True},
        {"name": "poisoner", "strategy": "data-poisoner", "options": {"fraction": 0.5, "steps": 1}},
        {"name": "liar", "misbehaviour": {"kind": "wrong-checks"}},
        {"count": 2},
    ],
    "evaluation": {"records": 12, "query_records": 6, "queries": 5, "steps": 1, "attacks": ["fgsm"]},
}


def tiny(**changes: object) -> Experiment:
    return parse(TINY, "tiny").change({key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    server.evaluator.LATENCY_SECONDS = 0.05
    return run(tiny(), tmp_path_factory.mktemp("runs"))


def transcripts(folder: RunFolder) -> list[Path]:
    return sorted(folder.transcripts.glob("*.jsonl"))


def test_a_run_leaves_what_a_servers_run_leaves_and_transcripts(whole: RunFolder) -> None:
    for path in (
        whole.experiment, whole.manifest, whole.partition, whole.rounds, whole.ledger, whole.model, whole.int8_model,
        whole.results, whole.evaluation, whole.report, whole.model_card, *transcripts(whole),
    ):  # fmt: skip
        assert path.stat().st_size > 0, path
    assert len(transcripts(whole)) == 2
    assert not whole.peer_scores.exists()  # nobody has a model of its own


def test_who_cheats_is_named_and_takes_no_further_part(whole: RunFolder) -> None:
    first, second = ({peer["name"]: peer for peer in line["clients"]} for line in read_lines(whole.rounds))
    assert first["liar"]["status"] == "refused"
    assert "opened another number" in first["liar"]["reason"]
    assert second["liar"]["status"] == "excluded"
    for line in (first, second):
        assert {name for name, peer in line.items() if peer["status"] == "accepted"} == set(first) - {"liar"}
        assert all(peer["bytes_up"] > 0 for name, peer in line.items() if name != "liar")


def test_the_ledger_is_the_private_peers(whole: RunFolder) -> None:
    clients = {client["name"]: client for client in read_json(whole.ledger)["clients"]}
    assert clients["private"]["private"]
    assert clients["private"]["epsilon"] > 0
    assert not clients["liar"]["honest"]


@pytest.mark.parametrize("words", ["Franzese", "1 of 5 peers may deal", "verify-transcript", "opened another number"])
def test_the_report_says_how_against_whom_and_who_cheated(whole: RunFolder, words: str) -> None:
    assert words in whole.report.read_text()


def test_a_round_moves_the_model_by_the_rules_step_of_the_accepted_updates(whole: RunFolder) -> None:
    """The transcript's sum, and nothing else, made the model: at most a unanimous vote in each round."""
    experiment = tiny()
    start = initial_model(experiment, prepare(experiment.data)).state_dict()
    end = read_arrays(whole.model)
    votes = [verify_transcript(path).sum for path in transcripts(whole)]
    assert all(vote is not None for vote in votes)
    most = 2 * experiment.secure.step_size
    assert all(float((end[name] - start[name]).abs().max()) <= most * 1.01 for name in start)
    assert any(not torch.equal(end[name], start[name]) for name in start)


def test_a_transcript_is_told_in_sentences(whole: RunFolder) -> None:
    first, second = ("\n".join(told(path)) for path in transcripts(whole))
    assert "cheated: liar opened another number" in first
    assert "accepted: the updates of private, poisoner" in first
    assert "liar: key none: it was excluded before" in second


def test_what_the_rule_made_of_updates_is_told_and_kept_in_the_rounds(tmp_path: Path) -> None:
    for rule, said in (("fltrust", "trust scores: "), ("multi-krum", "of these, left out by the rule: ")):
        clients = [{"count": 9}]
        experiment = tiny(name=rule, secure__rule=rule, clients=clients, federation__rounds=1)
        folder = train(experiment, prepare(experiment.data), tmp_path, "inprocess")
        lines = "\n".join(told(transcripts(folder)[0]))
        counts = [line["counts"] for line in next(iter(read_lines(folder.rounds)))["clients"]]
        assert (said in lines) == (0 < sum(counts) != 9)
        assert all(0 <= one <= 1 for one in counts)
        assert sum(counts) > 0


def test_a_transcript_is_checked_against_keys_that_are_trusted(whole: RunFolder, tmp_path: Path) -> None:
    found = verify_transcript(transcripts(whole)[0])
    for peer, name in found.names.items():
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(found.keys[peer]))
        (tmp_path / f"{name}.pub").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for file in transcripts(whole):
        assert f"every signature is that of its peer's key in {tmp_path}" in told(file, tmp_path)[0]
    (tmp_path / "private.pub").write_bytes((tmp_path / "poisoner.pub").read_bytes())
    with pytest.raises(UserError, match="the key of 'private' is not the one that is known"):
        told(transcripts(whole)[0], tmp_path)


def test_a_killed_run_goes_on_and_ends_the_same(whole: RunFolder, tmp_path: Path) -> None:
    experiment, dataset = tiny(), prepare(tiny().data)

    class KilledError(Exception):
        pass

    (rule,) = rules_of(experiment)
    real, calls = type(rule).decode, 0

    def dies(self: Any, total: Any, accepted: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KilledError
        return real(self, total, accepted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(rule), "decode", dies)
        with pytest.raises(KilledError):
            train(experiment, dataset, tmp_path, "inprocess")
    folder = train(experiment, dataset, tmp_path, "inprocess")
    assert folder.model.read_bytes() == whole.model.read_bytes()
    assert [path.read_bytes() for path in transcripts(folder)] == [path.read_bytes() for path in transcripts(whole)]


def test_other_runners_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--runner ray: protocol = 'secure' runs with inprocess, processes; choose"):
        train(tiny(), prepare(tiny().data), tmp_path, "ray")


def test_rounds_without_a_result_end_the_run(tmp_path: Path) -> None:
    kinds = [{"name": f"peer {number}", "misbehaviour": {"kind": "silent"}} for number in range(3)]
    experiment = tiny(clients=[{"count": 2}, *kinds], federation__skipped_rounds_limit=0)
    with pytest.raises(UserError, match="rounds in a row had no result"):
        train(experiment, prepare(experiment.data), tmp_path, "inprocess")


def test_rounding_differs_from_peer_to_peer_and_round_to_round() -> None:
    draws = {
        tuple(numpy_generator(1, "secure", peer, number, "rounding").random(3))
        for peer in range(3)
        for number in (1, 2)
    }
    assert len(draws) == 6
