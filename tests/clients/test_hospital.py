"""A hospital's file: read as it is meant, mistakes in one sentence."""

from pathlib import Path

import pytest

from clients.hospital import Hospital, HospitalPrivacy, load_hospital, local_name, write_hospital
from common.description import AdversarialTraining, Client, Data, Privacy
from common.errors import UserError
from common.privacy import calibrate
from tests.clients.client_fixture import PRIVATE, tiny

WHOLE = """
name = "hospital-a"
strategy = "mine/own.py:Mine"
options = { attack = "mine/own.py:attack", fraction = 0.5 }
state = "ledgers"
share = [0, 3]
code = ["mine/net.py:build"]

[adversarial_training]
attack = "mine/own.py:attack"

[data]
source = "npz:records.npz"

[privacy]
enabled = true
epsilon = 3.0
lifetime_epsilon = 6.0
"""


def write(folder: Path, text: str) -> Path:
    (folder / "hospital.toml").write_text(text)
    return folder / "hospital.toml"


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    hospital = load_hospital(write(tmp_path, WHOLE))
    assert hospital.strategy == f"{tmp_path}/mine/own.py:Mine"
    assert hospital.options == {"attack": f"{tmp_path}/mine/own.py:attack", "fraction": 0.5}
    assert hospital.adversarial_training == AdversarialTraining(attack=f"{tmp_path}/mine/own.py:attack")
    assert hospital.data.source == f"npz:{tmp_path}/records.npz"
    assert hospital.state == tmp_path / "ledgers"
    assert hospital.code == (f"{tmp_path}/mine/net.py:build",)
    assert hospital.share == (0, 3)
    assert (hospital.privacy.epsilon, hospital.privacy.lifetime_epsilon) == (3.0, 6.0)


def test_what_is_not_said_is_careful(tmp_path: Path) -> None:
    hospital = load_hospital(write(tmp_path, 'name = "a"\n[data]\n[privacy]\nenabled = true'))
    assert hospital.strategy == "honest"
    assert hospital.code == ()
    assert hospital.privacy.secure_noise
    assert hospital.privacy.lifetime_epsilon is None
    assert hospital.state == tmp_path / "state"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "a"\n', "data: is required"),
        ("[data]\n", "name: is required"),
        ('name = "a/../b"\n[data]\n', "name = 'a/../b': use up to 40"),
        ('name = "a"\nstrateyg = "honest"\n[data]\n', "strateyg: unknown key; did you mean 'strategy'?"),
        ('name = "a"\n[data]\nsorce = "phantom"\n', "data.sorce: unknown key; did you mean 'source'?"),
        ('name = "a"\n[data]\n[privacy]\nepsilom = 1\n', "privacy.epsilom: unknown key; did you mean 'epsilon'?"),
        ('name = "a"\n[data]\n[privacy]\nlifetime_epsilon = 1\n', "lifetime_epsilon = 1 is below epsilon = 7"),
        ('name = "a"\nshare = [3, 3]\n[data]\n', "share: is not a part, counted from 0, of 3"),
        ('name = "a"\nshare = [0]\n[data]\n', "share.1: is required"),
        ('name = "a"\ncode = ["net"]\n[data]\n', "'net' does not have the form 'file.py:function'"),
        ('name = "a"\ncode = ["x/n.py:f", "y/n.py:f"]\n[data]\n', "names n.py:f twice"),
        ('name = "a"\nstate = 3\n[data]\n', "state = 3"),
        ("name = ", "is not valid TOML"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        load_hospital(write(tmp_path, text))
    assert words in str(caught.value)
    assert str(tmp_path / "hospital.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no hospital file .*nowhere\.toml"):
        load_hospital(tmp_path / "nowhere.toml")
    with pytest.raises(UserError, match="could not be read"):
        load_hospital(tmp_path)


def test_a_hospital_is_written_as_it_is_read(tmp_path: Path) -> None:
    hospital = load_hospital(write(tmp_path, WHOLE))
    write_hospital(tmp_path / "again" / "hospital.toml", hospital)
    assert load_hospital(tmp_path / "again" / "hospital.toml") == hospital


def test_a_simulated_client_becomes_a_hospital_that_does_the_same() -> None:
    made = tiny(
        model__name="/srv/net.py:build",
        privacy__enabled=True,
        privacy__clip_norm=0.5,
        clients=[
            {"name": "a", "adversarial_training": {"steps": 3}},
            {"name": "b", "strategy": "label-flipper", "options": {"fraction": 0.1}, "private": False},
        ],
    )
    first, second = (Hospital.of(made, client, share=(0, 2)) for client in made.roster())
    assert first.client() == made.roster()[0]
    assert first.privacy.model_dump(exclude={"lifetime_epsilon"}) == made.privacy.model_dump()
    assert first.data == made.data
    assert first.code == ("/srv/net.py:build",)
    assert second.client() == Client(name="b", strategy="label-flipper", options={"fraction": 0.1})
    assert not second.privacy.enabled
    assert Hospital.of(made, made.roster()[0], data=Data(source="npz:x.npz")).data.source == "npz:x.npz"


def test_a_given_noise_has_the_budget_that_follows_from_it() -> None:
    made = tiny(**PRIVATE, privacy__noise_multiplier=0.5)
    client = made.roster()[0]
    spent = calibrate(made.privacy, records=20, batch_size=8, local_epochs=1, rounds=made.federation.rounds).epsilon
    assert spent > made.privacy.epsilon
    assert spent <= Hospital.of(made, client).privacy.epsilon <= spent + 0.01
    ample = tiny(**PRIVATE, privacy__noise_multiplier=0.5, privacy__epsilon=1e4)
    assert Hospital.of(ample, client).privacy.epsilon == 1e4
    public = tiny(**PRIVATE, privacy__noise_multiplier=0.5, clients=[{"name": "a", "private": False}, {"name": "b"}])
    assert Hospital.of(public, public.roster()[0]).privacy.epsilon == made.privacy.epsilon


def test_a_hospital_s_privacy_is_an_experiment_s_but_for_the_source_of_noise() -> None:
    own, general = HospitalPrivacy().model_dump(), Privacy().model_dump()
    assert {key for key in own if own[key] != general.get(key)} == {"secure_noise"}


@pytest.mark.parametrize(
    ("reference", "name"),
    [("/a/b/net.py:build", "net.py:build"), ("net.py:build", "net.py:build"), ("resnet9", "resnet9")],
)
def test_a_reference_goes_by_its_file_s_name(reference: str, name: str) -> None:
    assert local_name(reference) == name


def test_code_is_allowed_by_its_names_and_is_the_hospital_s_own(tmp_path: Path) -> None:
    hospital = load_hospital(write(tmp_path, WHOLE))
    assert hospital.allowed("/srv/models/net.py:build") == f"{tmp_path}/mine/net.py:build"
    for other in ("/srv/net.py:other", "/srv/other.py:build", "resnet9"):
        assert hospital.allowed(other) is None
