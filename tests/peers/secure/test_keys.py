"""Keys to sign with: whose they are, who may read them, and a sentence for whatever is wrong."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from common.errors import UserError
from experiments.peer_certificates import make_peer_certificates
from peers.credentials import Credentials
from peers.secure.keys import load_signing_keys, read_trusted_keys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folders of three peers."""
    make_peer_certificates(tmp_path, ["a", "b", "c"])
    return tmp_path


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_what_one_signs_the_others_verify(folder: Path) -> None:
    keys = {name: load_signing_keys(folder / name, name, set("abc") - {name}) for name in "abc"}
    for name, mine in keys.items():
        signature = mine.own.sign(b"said")
        for other in keys.values():
            other.public[name].verify(signature, b"said")
    trusted = read_trusted_keys(folder)
    assert trusted == {name: key.public_bytes_raw() for name, key in keys["a"].public.items()}
    assert len(set(trusted.values())) == 3


def test_the_secret_half_is_its_owners_alone_and_not_the_certificates(folder: Path) -> None:
    for name in "abc":
        assert stat.S_IMODE((folder / name / "signing.key").stat().st_mode) == 0o600
        assert (folder / name / "signing.key").read_bytes() != (folder / name / "peer.key").read_bytes()
    assert not list(folder.glob("*/peers/*.key"))


def test_keys_that_are_there_stay(folder: Path) -> None:
    before = read_trusted_keys(folder)
    make_peer_certificates(folder, ["d"])
    after = read_trusted_keys(folder)
    assert {name: after[name] for name in before} == before
    assert (folder / "a" / "peers" / "d.pub").exists()


def test_a_peer_that_makes_its_own_key_gives_the_public_half_alone(tmp_path: Path) -> None:
    own = Ed25519PrivateKey.generate()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "signing.pub").write_bytes(public(own))
    make_peer_certificates(tmp_path, ["a", "b"])
    assert not (tmp_path / "a" / "signing.key").exists()
    assert load_signing_keys(tmp_path / "b", "b", ["a"]).public["a"] == own.public_key()
    secret = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "a" / "signing.key").write_bytes(secret)
    (tmp_path / "a" / "signing.key").chmod(0o600)
    assert load_signing_keys(tmp_path / "a", "a", ["b"]).own.public_key() == own.public_key()


def test_certificates_from_before_get_what_is_missing_and_who_made_its_own_is_asked_for_it(folder: Path) -> None:
    for file in [*folder.rglob("signing.*"), *folder.rglob("peers/*.pub")]:
        file.unlink()
    (folder / "c" / "peer.key").unlink()
    said = make_peer_certificates(folder, ["a", "b", "c"])
    assert any("c: has no signing.pub, which protocol = 'secure' needs" in line for line in said)
    assert not (folder / "c" / "signing.key").exists()
    assert load_signing_keys(folder / "a", "a", ["b"]).public.keys() == {"a", "b"}
    assert Credentials.load(folder / "a").name == "a"  # other protocols need none of it


def test_public_keys_alone_can_be_trusted(folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "public"
    flat.mkdir()
    for name in "abc":
        (flat / f"{name}.pub").write_bytes((folder / name / "signing.pub").read_bytes())
    assert read_trusted_keys(flat) == read_trusted_keys(folder)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("a/signing.key", None, r"there is no .*a/signing\.key, only its public half, .* put the key back from a copy"),
        ("a/signing.key", b"?", r"a/signing\.key is not an Ed25519 key without a password; put the right file back"),
        ("a/peers/b.pub", None, r"there is no .*a/peers/b\.pub"),
        ("a/peers/b.pub", b"?", r"b\.pub is not a public Ed25519 key; put the right file back"),
        ("a/peers/b.pub", "c/signing.pub", "b and c have the same signing key; put the right files back"),
        ("a/peers/b.pub", "a/signing.pub", "a and b have the same signing key"),
        ("a/signing.key", "a/peer.key", "is not an Ed25519 key"),
    ],
)
def test_mistakes_are_one_sentence(folder: Path, file: str, content: bytes | str | None, sentence: str) -> None:
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content if isinstance(content, bytes) else (folder / content).read_bytes())
    with pytest.raises(UserError, match=sentence):
        load_signing_keys(folder / "a", "a", ["b", "c"])


def test_a_key_of_which_nothing_is_left_is_made_as_the_sentence_says(folder: Path) -> None:
    (folder / "a" / "signing.key").unlink()
    make_peer_certificates(folder, ["a"])
    assert not (folder / "a" / "signing.key").exists()  # as of one that makes its own
    with pytest.raises(UserError, match=r"\(without signing\.pub, too, `psreval peers certificates` makes a new pair"):
        load_signing_keys(folder / "a", "a", ["b", "c"])
    (folder / "a" / "signing.pub").unlink()
    with pytest.raises(UserError, match=r"which protocol = 'secure' needs; `psreval peers certificates` makes what is"):
        load_signing_keys(folder / "a", "a", ["b", "c"])
    make_peer_certificates(folder, ["a"])
    made = load_signing_keys(folder / "a", "a", ["b", "c"]).own.public_key()
    assert load_signing_keys(folder / "b", "b", ["a", "c"]).public["a"] == made


def test_a_secret_that_others_may_read_is_none(folder: Path) -> None:
    (folder / "a" / "signing.key").chmod(0o640)
    with pytest.raises(UserError, match=r"can be read by others, who could then sign as this peer; chmod 600"):
        load_signing_keys(folder / "a", "a", ["b", "c"])


def test_halves_that_do_not_belong_together_are_told(folder: Path) -> None:
    (folder / "a" / "signing.pub").write_bytes((folder / "b" / "signing.pub").read_bytes())
    with pytest.raises(UserError, match=r"signing\.pub is not the public half of .*signing\.key"):
        make_peer_certificates(folder, ["a", "b"])


def test_a_folder_without_keys_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--keys .*: there is no NAME/signing\.pub and no NAME\.pub in it; name the"):
        read_trusted_keys(tmp_path)
