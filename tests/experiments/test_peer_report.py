"""What a peer writes of a run that nobody saw whole: the run folder of a simulation, as far as others tell."""

from pathlib import Path

import pytest

from common.config import parse
from common.data import prepare
from common.errors import UserError
from common.folder import RunFolder, read_json, read_lines
from experiments.peer_account import Account, decode_account, encode_account
from experiments.peer_federation import facts_of, learners_of, peers_of
from experiments.peer_file import load_agreement, load_peer
from experiments.peer_report import Place, evaluate_place, evaluation_place, write_federation
from experiments.peer_split import prepare_peers
from experiments.run import train
from peers.simulation import collect
from peers.wire import Parcel
from server.federation import initial_model

DESCRIBED = parse(
    {
        "name": "three",
        "protocol": "braintorrent",
        "data": {"image_size": 28, "train_records": 72, "public_records": 24, "test_records": 24},
        "model": {"width": 4},
        "federation": {"rounds": 2},
        "clients": [{"name": "a", "private": True}, {"name": "b"}, {"name": "c"}],
        "evaluation": {"threats": ["white-box"], "attacks": ["fgsm"], "records": 6, "stress_records": 6},
    },
    "test",
)
Ended = tuple[RunFolder, dict[str, Parcel], dict[str, Account]]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A simulation's folder, and what its peers would give and tell at its end."""
    dataset = prepare(DESCRIBED.data)
    folder = train(DESCRIBED, dataset, tmp_path_factory.mktemp("runs"), "inprocess")
    peers = peers_of(DESCRIBED, dataset, folder, initial_model(DESCRIBED, dataset))
    accounts = {
        peer.name: decode_account(encode_account(facts_of(learner), peer.state), peer.name, peer.number, DESCRIBED)
        for peer, learner in zip(peers, learners_of(DESCRIBED, dataset, folder), strict=True)
    }
    return folder, collect(DESCRIBED, peers[0].run, peers), accounts


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Where the peer a evaluates."""
    folder = prepare_peers(DESCRIBED, tmp_path)[0]
    found = evaluation_place(load_peer(folder / "peer.toml"), load_agreement(folder / "agreement.toml"))
    assert found is not None
    return found


def test_with_all_that_there_is_it_is_the_folder_of_a_simulation(ended: Ended, place: Place) -> None:
    simulated, parcels, accounts = ended
    write_federation(place, parcels, accounts, "run")
    folder = evaluate_place(place)
    assert folder.model.read_bytes() == simulated.model.read_bytes()
    assert read_json(folder.ledger) == read_json(simulated.ledger)
    assert list(read_lines(folder.updates)) == list(read_lines(simulated.updates))
    for name in "abc":
        assert folder.peer_model(name).read_bytes() == simulated.peer_model(name).read_bytes()
    first, last = read_lines(folder.rounds)
    simulated_last = list(read_lines(simulated.rounds))[-1]
    assert {**last, "seconds": 0} == {**simulated_last, "seconds": 0}
    assert (first["accuracy"], first["status"], first["local_updates"]) == (None, "aggregated", 3)
    assert read_json(folder.manifest)["runner"] == "peers"
    updates = list(read_lines(folder.updates))
    assert [first["seconds"], last["seconds"]] == [
        pytest.approx(sum(line["seconds"] for line in updates[begin : begin + 3]), abs=1e-3) for begin in (0, 3)
    ]
    assert first["seconds"] > 0
    text, card = folder.report.read_text(), folder.model_card.read_text()
    assert "three" in text
    assert "<td>not scored: its models are gone</td>" in text
    assert text.count("<td>aggregated</td>") == 1
    for told in (text, card):
        assert "The peers trained on records of their own, which no other peer knows." in told
        assert "which the server" not in told
    assert "| a | 0" not in card
    assert folder.path.parent.name == "three"
    assert folder.path.name != simulated.path.name  # it never stands for a simulation


def test_a_peer_that_is_gone_or_silent_is_missing_and_no_reason_to_stop(ended: Ended, place: Place) -> None:
    _, parcels, accounts = ended
    write_federation(
        place,
        {name: parcels[name] for name in ("a", "c")},
        {name: accounts[name] for name in ("a", "b")},
        "run",
    )
    folder = evaluate_place(place)
    assert [folder.peer_model(name).exists() for name in "abc"] == [True, False, True]
    told = {client["name"]: client for client in read_json(folder.ledger)["clients"]}
    assert (told["c"]["strategy"], told["c"]["honest"], told["c"]["epsilon"]) == ("unknown", False, None)
    assert told["a"]["epsilon"] > 0
    assert {line["peer"] for line in read_lines(folder.updates)} == {"a", "b"}
    assert folder.report.exists()


def test_one_peers_own_model_is_not_a_federations(ended: Ended, place: Place) -> None:
    with pytest.raises(UserError, match=r"no other peer's model could be had.*start this peer again"):
        write_federation(place, {"a": ended[1]["a"]}, ended[2], "run")


def test_a_peer_evaluates_only_if_its_file_says_so(tmp_path: Path) -> None:
    folder = prepare_peers(DESCRIBED, tmp_path)[1]
    assert evaluation_place(load_peer(folder / "peer.toml"), load_agreement(folder / "agreement.toml")) is None
