"""`psreval peers prepare`: folders that together are the description."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.config import Experiment, parse
from common.data import partition, prepare
from common.errors import UserError
from experiments.peer_file import load_agreement, load_peer
from experiments.peer_split import FIRST_PORT, own_tree, prepare_peers, updates_of
from peers.agreement import Images
from peers.order import planned

NAMES = ("north", "south", "west")
HERE = {"north": "127.0.0.1:9001", "south": "south.example.org:9000", "west": "127.0.0.1:9003"}


def described(**changes: Any) -> Experiment:
    tree = {
        "protocol": "braintorrent",
        "data": {
            "image_size": 28,
            "train_records": 60,
            "public_records": 12,
            "test_records": 9,
            "partition": "dirichlet:1",
        },
        "clients": [{"name": name} for name in NAMES],
    }
    return parse(tree, "test").change({key.replace("__", "."): value for key, value in changes.items()})


def test_each_peer_gets_its_records_its_file_and_the_same_agreement(tmp_path: Path) -> None:
    experiment = described().change(
        {"clients.1.strategy": "label-flipper", "clients.2.misbehaviour": {"kind": "silent"}}
    )
    folders = prepare_peers(experiment, tmp_path, HERE)
    assert [folder.name for folder in folders] == list(NAMES)
    dataset = prepare(experiment.data)
    shares = partition(dataset.train.strata, 3, experiment.data)
    files = [load_peer(folder / "peer.toml") for folder in folders]
    for file, share, client in zip(files, shares, experiment.roster(), strict=True):
        held = np.load(tmp_path / file.name / "records.npz", allow_pickle=False)
        np.testing.assert_array_equal(held["train_images"], dataset.train.images[share][:, 0])
        np.testing.assert_array_equal(held["train_labels"], dataset.train.labels[share])
        assert file.client() == client
        file.check_fits(NAMES)
    assert [file.peer.listen for file in files] == [
        f"127.0.0.1:{FIRST_PORT}",
        "0.0.0.0:9000",
        f"127.0.0.1:{FIRST_PORT + 2}",
    ]
    assert files[0].peer.addresses == {name: HERE[name] for name in ("south", "west")}
    assert [file.peer.evaluation is not None for file in files] == [True, False, False]
    assert (tmp_path / "north" / "public-test.npz").is_file()
    assert len({(folder / "agreement.toml").read_bytes() for folder in folders}) == 1
    assert load_agreement(folders[0] / "agreement.toml").images == Images.of(dataset)


def test_the_evaluating_peers_images_are_those_that_all_agreed_on(tmp_path: Path) -> None:
    from experiments.peer_report import evaluation_place

    folder = prepare_peers(described(), tmp_path, evaluating="south")[1]
    file, agreed = load_peer(folder / "peer.toml"), load_agreement(folder / "agreement.toml")
    place = evaluation_place(file, agreed)
    assert place is not None
    assert (len(place.dataset.train), len(place.dataset.public), len(place.dataset.test)) == (0, 12, 9)
    other = agreed.model_copy(update={"images": agreed.images.model_copy(update={"mean": (0.5,)})})
    with pytest.raises(UserError, match=r"peer\.evaluation: its images are not like those that all agreed on"):
        evaluation_place(file, other)


def test_a_private_peers_budget_is_for_the_turns_that_it_has(tmp_path: Path) -> None:
    noisy = described(privacy__noise_multiplier=1.0, privacy__delta=1e-3, federation__rounds=4).change(
        {f"clients.{number}.private": True for number in range(3)}
    )
    budgets = {}
    for number, client in enumerate(noisy.roster()):
        budgets[planned(noisy)[number]] = own_tree(noisy, client, number)["privacy"]["epsilon"]
    assert len(budgets) > 1, "the order gives these peers different numbers of turns"
    assert sorted(budgets.values()) == [budgets[turns] for turns in sorted(budgets)]


def test_again_changes_nothing_and_another_description_is_a_mistake(tmp_path: Path) -> None:
    prepare_peers(described(), tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    prepare_peers(described(), tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    with pytest.raises(UserError, match="is there already and differs"):
        prepare_peers(described(model__width=8), tmp_path)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"addresses": {"east": "e:1"}},
            "--address east=e:1: the description has no such peer, only north, south, west",
        ),
        ({"addresses": {"west": "nowhere"}}, "--address west=nowhere: 'nowhere' is no address"),
        (
            {"addresses": {"north": "n:1"}},
            "--address: there is none for south, west; give one for each peer, or none at all for a trial",
        ),
        (
            {"addresses": HERE | {"west": "South.example.org:9000"}},
            "--address west=South.example.org:9000: south has the same; give each peer an address of its own",
        ),
        ({"evaluating": "east"}, "--evaluate east: the description has no such peer"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        prepare_peers(described(), tmp_path, **given)


def test_without_addresses_all_are_on_this_machine(tmp_path: Path) -> None:
    file = load_peer(prepare_peers(described(), tmp_path)[1] / "peer.toml")
    assert file.peer.listen == f"127.0.0.1:{FIRST_PORT + 1}"
    assert file.peer.addresses == {"north": f"127.0.0.1:{FIRST_PORT}", "west": f"127.0.0.1:{FIRST_PORT + 2}"}


def secure(**changes: Any) -> Experiment:
    """Five peers of the secure protocol."""
    named = [{"name": name} for name in (*NAMES, "east", "centre")]
    return described(protocol="secure", clients=named, federation__rounds=4, **changes)


def test_peers_of_the_secure_protocol_get_an_agreement_that_names_a_new_run_and_keep_it(tmp_path: Path) -> None:
    one, other = prepare_peers(secure(), tmp_path / "one"), prepare_peers(secure(), tmp_path / "other")
    runs = {load_agreement(folder / "agreement.toml").run for folder in one}
    assert len(runs) == 1
    assert runs.isdisjoint({load_agreement(folder / "agreement.toml").run for folder in other})
    prepare_peers(secure(), tmp_path / "one")  # what is there stays
    assert {load_agreement(folder / "agreement.toml").run for folder in one} == runs


def test_too_few_peers_for_so_many_cheaters_are_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"secure\.faults = 2"):
        prepare_peers(secure(secure__faults=2, secure__coalition=2), tmp_path)
    assert not list(tmp_path.iterdir())


def test_peers_of_the_secure_protocol_train_once_a_round() -> None:
    assert updates_of(secure()) == [4] * 5
    assert updates_of(described(federation__rounds=4)) == planned(described(federation__rounds=4))


def test_a_server_needs_another_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`psreval split`"):
        prepare_peers(described(protocol="server"), tmp_path)
