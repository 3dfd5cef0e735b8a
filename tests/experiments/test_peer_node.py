"""One peer from its file: what it needs before it takes part. Whole runs are in tests/integration/peers."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.config import parse
from common.data import prepare
from common.errors import UserError
from common.exchange import arrays_of
from common.folder import read_arrays
from experiments import peer_node
from experiments.peer_certificates import make_peer_certificates
from experiments.peer_file import load_agreement, load_peer
from experiments.peer_node import OWN_MODEL, initial, open_node, run_peer, write_own_model
from experiments.peer_report import evaluation_place, write_federation
from experiments.peer_split import prepare_peers
from peers.agreement import Images
from peers.wire import Parcel
from server.federation import initial_model

DESCRIBED = parse(
    {
        "protocol": "braintorrent",
        "data": {"image_size": 28, "train_records": 48, "public_records": 12, "test_records": 9},
        "model": {"width": 4},
        "clients": [{"name": "a"}, {"name": "b"}],
    },
    "test",
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of two peers, with certificates; not to be changed."""
    folder = tmp_path_factory.mktemp("peers")
    prepare_peers(DESCRIBED, folder, evaluating="b")
    make_peer_certificates(folder, ["a", "b"])
    return folder


@pytest.fixture
def a(prepared: Path, tmp_path: Path) -> Path:
    """A copy of one peer's folder."""
    return Path(shutil.copytree(prepared / "a", tmp_path / "a"))


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def quiet(_: str) -> None:
    """Say nothing."""


def test_a_peer_begins_with_the_weights_of_a_simulation(a: Path) -> None:
    expected = arrays_of(initial_model(DESCRIBED, prepare(DESCRIBED.data)))
    with open_node(a / "peer.toml") as node:
        assert node.peer.name == "a"
        assert len(node.learner.place.holding) == 24
        assert node.peer.state.arrays.keys() == expected.keys()
        assert all(bool((array == expected[name]).all()) for name, array in node.peer.state.arrays.items())
        write_own_model(node)
        model = initial(DESCRIBED, Images.of(prepare(DESCRIBED.data))).state_dict()
        written = read_arrays(node.home / OWN_MODEL)
        assert all(bool((array == written[name]).all()) for name, array in model.items())


def test_a_state_is_one_process_at_a_time(a: Path) -> None:
    with open_node(a / "peer.toml"), pytest.raises(UserError, match="another process works with it; only one may be a"):
        open_node(a / "peer.toml").__enter__()
    with open_node(a / "peer.toml"):
        pass


def test_the_wrong_folder_of_certificates_is_a_mistake(a: Path, prepared: Path) -> None:
    replace(a / "peer.toml", "[peer]", f'[peer]\ncertificates = "{prepared / "b"}"')
    with pytest.raises(UserError, match=r"peer\.certificates: .*b belongs to 'b', not to 'a'"):
        run_peer(a / "peer.toml", report=quiet)


def test_an_unknown_peer_among_the_addresses_is_a_mistake(a: Path) -> None:
    (a / "peers" / "b.crt").unlink()
    with pytest.raises(UserError, match=r"has no b\.crt, so b could not be told from a stranger"):
        run_peer(a / "peer.toml", report=quiet)


def test_an_expired_certificate_is_told_at_once(a: Path, tmp_path: Path) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=100)
    make_peer_certificates(tmp_path / "old", ["a", "b"], days=10, now=long_ago)
    for name in ("ca.crt", "peer.crt", "peer.key"):
        shutil.copy(tmp_path / "old" / "a" / name, a / name)
    with pytest.raises(UserError, match=r"peer\.crt expired on"):
        run_peer(a / "peer.toml", report=quiet)


def test_images_of_another_kind_are_a_mistake(a: Path) -> None:
    replace(a / "agreement.toml", "image_size = 28", "image_size = 32")
    with (
        pytest.raises(UserError, match="a: its images have image_size = 28, the agreement says 32"),
        open_node(a / "peer.toml"),
    ):
        pass


def test_a_model_that_nobody_here_allows_is_not_run(a: Path, tmp_path: Path) -> None:
    (a / "theirs.py").write_text("raise SystemExit('this code was run')")
    replace(a / "agreement.toml", 'name = "resnet9"', 'name = "theirs.py:build"')
    with pytest.raises(UserError, match="a runs no file that a server names"), open_node(a / "peer.toml"):
        pass


def test_a_peer_that_is_alone_takes_its_turns_and_ends(a: Path) -> None:
    """Nobody ever answers; each wait ends with its timeout, and its own model is there."""
    text = (a / "agreement.toml").read_text()
    (a / "agreement.toml").write_text(text.replace("turn_timeout = 600.0", "turn_timeout = 0.3"))
    said: list[str] = []
    assert run_peer(a / "peer.toml", report=said.append) is None
    assert said[-1] == "a: the run is over"
    assert sum("b has not answered for 0.3 s" in line for line in said) == 1
    assert len(list((a / "state").glob(f"*/{OWN_MODEL}"))) == 1


def evaluating_alone(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the peer that evaluates; the other one never answers, and nothing is attacked."""
    home = Path(shutil.copytree(prepared / "b", tmp_path / "b"))
    replace(home / "agreement.toml", "turn_timeout = 600.0", "turn_timeout = 0.3")
    monkeypatch.setattr(peer_node, "evaluate_place", lambda place: place.folder)
    return home / "peer.toml"


def federation_written(config: Path) -> tuple[Path, bytes]:
    """Write the federation that this peer would have written with the other one there; return its model."""
    place = evaluation_place(load_peer(config), load_agreement(config.parent / "agreement.toml"))
    assert place is not None
    with open_node(config) as node:
        arrays = node.peer.state.offer.arrays or node.peer.state.arrays
        parcels = {name: Parcel(name, 1, 24, arrays) for name in "ab"}
        write_federation(place, parcels, {}, node.peer.run)
    return place.folder.model, place.folder.model.read_bytes()


def test_a_federation_that_was_written_before_a_kill_is_evaluated_though_the_others_have_left(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kill is between the run's model and the own one."""
    config = evaluating_alone(prepared, tmp_path, monkeypatch)
    with pytest.raises(UserError, match="no other peer's model could be had"):
        run_peer(config, report=quiet)
    model, written = federation_written(config)
    assert not list((config.parent / "state").glob(f"*/{OWN_MODEL}"))
    folder = run_peer(config, report=quiet)
    assert folder is not None
    assert folder.model == model
    assert model.read_bytes() == written
    assert len(list((config.parent / "state").glob(f"*/{OWN_MODEL}"))) == 1


def test_a_federation_that_was_written_with_a_state_that_is_lost_is_not_taken_for_a_new_one(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = evaluating_alone(prepared, tmp_path, monkeypatch)
    federation_written(config)
    shutil.rmtree(config.parent / "state")
    with pytest.raises(UserError, match="no other peer's model could be had"):
        run_peer(config, report=quiet)
