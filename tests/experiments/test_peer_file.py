"""A peer's own file and the agreement: what they may say, and what is a mistake."""

import contextlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.hospital import Hospital
from common.config import Experiment, parse
from common.errors import UserError
from experiments.peer_file import AgreementFile, agreement_toml, host_and_port, load_agreement, load_peer, peer_toml
from experiments.peer_split import agreed_tree, own_tree
from peers.agreement import Images

IMAGES = Images(classes=("normal", "other"), channels=1, image_size=28, mean=(0.1 + 0.2,), std=(1 / 3,))
TREE: dict[str, Any] = {
    "name": "north",
    "data": {"source": "npz:records.npz"},
    "peer": {"addresses": {"south": "south.example.org:9000"}},
}


def described(**changes: Any) -> Experiment:
    tree = {"protocol": "braintorrent", "clients": [{"name": "north"}, {"name": "south"}]}
    return parse(tree, "test").change({key.replace("__", "."): value for key, value in changes.items()})


def written(folder: Path, tree: dict[str, Any]) -> Path:
    file = folder / "peer.toml"
    file.write_text(peer_toml(tree))
    return file


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    tree = TREE | {"peer": {**TREE["peer"], "evaluation": {"source": "npz:public-test.npz"}}}
    file = load_peer(written(tmp_path, tree))
    assert file.state == tmp_path / "state"
    assert file.data.source == f"npz:{tmp_path / 'records.npz'}"
    assert file.peer.evaluation is not None
    assert file.peer.evaluation.source == f"npz:{tmp_path / 'public-test.npz'}"
    assert (file.peer.agreement, file.peer.certificates) == (tmp_path / "agreement.toml", tmp_path)
    assert file.peer.runs == tmp_path / "runs"
    assert file.peer.listen == "127.0.0.1:9000"  # nobody else reaches it unless the file says so


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"peer": {"listen": "9000"}}, r"peer\.listen = '9000': .*write HOST:PORT"),
        ({"peer": {"listen": "::1:9000"}}, r"peer\.listen = '::1:9000'"),
        ({"peer": {"addresses": {"south": "south:0"}}}, "'south:0' is no address"),
        ({"peer": {"adresses": {}}}, r"peer\.adresses: unknown key.*addresses"),
        ({"peers": {}}, r"peers: unknown key.*peer"),
        ({"privacy": {"enabled": "perhaps"}}, r"privacy\.enabled"),
        ({"misbehaviour": {"kind": "kindness"}}, r"misbehaviour\.kind"),
        ({"peer": 3}, "peer = 3: write a table"),
        ({"name": "../north"}, "name = '../north'"),
    ],
)
def test_mistakes_name_the_key_and_the_remedy(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load_peer(written(tmp_path, TREE | change))


def test_files_that_are_not_there_or_no_toml_are_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no peer file"):
        load_peer(tmp_path / "nothing.toml")
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(UserError, match=r"broken\.toml is not valid TOML"):
        load_peer(tmp_path / "broken.toml")


def test_a_file_must_fit_the_names(tmp_path: Path) -> None:
    file = load_peer(written(tmp_path, TREE))
    file.check_fits(("north", "south"))
    with pytest.raises(UserError, match="name = 'north': the agreement has no peer of that name, only east, west"):
        file.check_fits(("east", "west"))
    with pytest.raises(UserError, match=r"peer\.addresses: there is no 'west'"):
        file.check_fits(("north", "south", "west"))
    with pytest.raises(UserError, match=r"peer\.addresses: 'south' is none of the other peers, east"):
        load_peer(written(tmp_path, TREE | {"peer": {"addresses": {"south": "s:1", "east": "e:1"}}})).check_fits(
            ("north", "east")
        )


def test_an_agreement_is_read_as_it_was_written(tmp_path: Path) -> None:
    experiment = described(model__width=8, federation__rounds=7)
    file = tmp_path / "agreement.toml"
    file.write_text(agreement_toml(agreed_tree(experiment), IMAGES))
    agreed = load_agreement(file)
    assert agreed.images == IMAGES  # to the last digit, since the model is normalised with these numbers
    assert agreed.names() == ("north", "south")
    assert (agreed.experiment.model, agreed.experiment.federation) == (experiment.model, experiment.federation)


def test_an_agreement_decides_nothing_that_is_a_peers_own(tmp_path: Path) -> None:
    experiment = described().change(
        {
            "data.source": "npz:/secret/place.npz",
            "privacy.enabled": True,
            "clients.1.strategy": "label-flipper",
            "clients.1.misbehaviour": {"kind": "silent"},
        }
    )
    told = agreed_tree(experiment)
    assert not {"data", "privacy"} & told.keys()
    assert told["clients"] == [{"name": "north"}, {"name": "south"}]
    agreed = AgreementFile(experiment=experiment, images=IMAGES)  # even if it says so
    mine = agreed.of(load_peer(written(tmp_path, TREE)))
    assert mine.data.source == f"npz:{tmp_path / 'records.npz'}"
    assert not mine.privacy.enabled
    assert [(client.strategy, client.misbehaviour) for client in mine.roster()] == [("honest", None)] * 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "experiment: is required"),
        ("[experiment]\n[images]\n", r"images\.classes: is required"),
        ("[experiment]\nprotocol = 'server'\n", "is required"),
    ],
)
def test_an_agreement_that_is_none_is_a_mistake(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "agreement.toml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        load_agreement(tmp_path / "agreement.toml")


def test_an_agreement_of_the_secure_protocol_names_its_run(tmp_path: Path) -> None:
    tree = {"protocol": "secure", "clients": [{"name": f"peer {number}"} for number in range(5)]}
    (tmp_path / "agreement.toml").write_text(agreement_toml(tree, IMAGES, "one of many"))
    assert load_agreement(tmp_path / "agreement.toml").run == "one of many"
    (tmp_path / "agreement.toml").write_text(agreement_toml(tree, IMAGES))
    with pytest.raises(UserError, match=r"agreement\.toml: there is no `run`, which names this run among all"):
        load_agreement(tmp_path / "agreement.toml")


def test_a_server_is_no_protocol_of_peers(tmp_path: Path) -> None:
    text = agreement_toml({"protocol": "server", "clients": [{"name": "north"}, {"name": "south"}]}, IMAGES)
    (tmp_path / "agreement.toml").write_text(text)
    with pytest.raises(UserError, match=r"experiment\.protocol = 'server' is none that peers speak"):
        load_agreement(tmp_path / "agreement.toml")


def test_a_hospital_file_and_a_section_make_a_peer_file(tmp_path: Path) -> None:
    experiment = described().change(
        {"clients.0.strategy": "data-poisoner", "clients.0.options": {"attack": "fgsm", "fraction": 0.5}}
    )
    client = experiment.roster()[0]
    file = load_peer(written(tmp_path, own_tree(experiment, client, 0, share=(0, 2)) | {"peer": TREE["peer"]}))
    ours = Hospital.of(experiment, client, share=(0, 2), state=tmp_path / "state")
    assert {key: getattr(file, key) for key in Hospital.model_fields} == dict(ours)
    assert file.client() == client


def test_the_text_of_a_file_holds_the_same_values() -> None:
    assert tomllib.loads(peer_toml(TREE)) == TREE


@pytest.mark.parametrize(
    ("address", "parts"),
    [("a:1", ("a", 1)), ("[::1]:65535", ("::1", 65535)), ("x.example.org:80", ("x.example.org", 80))],
)
def test_addresses_come_apart(address: str, parts: tuple[str, int]) -> None:
    assert host_and_port(address) == parts


@given(st.text(max_size=20))
def test_any_other_text_is_an_address_or_a_mistake(text: str) -> None:
    with contextlib.suppress(ValueError):
        host, port = host_and_port(text)
        assert host
        assert 1 <= port <= 65535
