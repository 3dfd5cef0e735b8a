"""Keys and certificates of peers: who is given what, what is never replaced, and whom Python's own TLS accepts."""

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from common.errors import UserError
from experiments.authority import new_key
from experiments.peer_certificates import make_peer_certificates
from peers.credentials import Credentials

NOW = datetime.now(UTC)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / name / "peer.crt").read_bytes())


def test_each_peer_gets_its_own_secret_and_the_others_certificates(tmp_path: Path) -> None:
    said = make_peer_certificates(tmp_path, ["north", "south hospital"])
    assert set(contents(tmp_path)) == {
        *("authority/ca.crt", "authority/ca.key"),
        *(
            f"{name}/{file}"
            for name in ("north", "south hospital")
            for file in ("ca.crt", "peer.crt", "peer.key", "signing.key", "signing.pub")
        ),
        *(f"north/peers/south hospital.{kind}" for kind in ("crt", "pub")),
        *(f"south hospital/peers/north.{kind}" for kind in ("crt", "pub")),
    }
    assert len(said) == 3
    assert not any("server" in line for line in said)
    for secret in (*tmp_path.rglob("*.key"), tmp_path / "north"):
        assert stat.S_IMODE(secret.stat().st_mode) & 0o077 == 0
    for name in ("north", "south hospital"):
        assert Credentials.load(tmp_path / name).name == name
        usage = certificate(tmp_path, name).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_what_is_there_stays_and_another_peer_is_made_known_to_all(tmp_path: Path) -> None:
    make_peer_certificates(tmp_path, ["a", "b"])
    before = contents(tmp_path)
    make_peer_certificates(tmp_path, ["a", "b"])
    assert contents(tmp_path) == before
    make_peer_certificates(tmp_path, ["c"])
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    of_c = ("ca.crt", "peer.crt", "peer.key", "signing.key", "signing.pub")
    assert set(after) - set(before) == {
        *(f"c/{file}" for file in of_c),
        *(f"c/peers/{other}.{kind}" for other in "ab" for kind in ("crt", "pub")),
        *(f"{other}/peers/c.{kind}" for other in "ab" for kind in ("crt", "pub")),
    }


def test_a_certificate_that_expires_is_renewed_for_the_same_key_and_others_need_not_know(tmp_path: Path) -> None:
    make_peer_certificates(tmp_path, ["a", "b"], days=90, now=NOW - timedelta(days=80))
    old = Credentials.load(tmp_path / "a")
    said = make_peer_certificates(tmp_path, ["a", "b"], now=NOW)
    assert sum("renewed: the old one would expire" in line for line in said) == 2
    assert certificate(tmp_path, "b").not_valid_after_utc > NOW + timedelta(days=300)
    assert old.who(certificate(tmp_path, "b").public_bytes(Encoding.DER)) == "b"
    assert (tmp_path / "a" / "peers" / "b.crt").read_bytes() == (tmp_path / "b" / "peer.crt").read_bytes()


def test_a_peer_that_makes_its_own_key_keeps_it(tmp_path: Path) -> None:
    key = new_key()
    (tmp_path / "a").mkdir()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "a" / "peer.pub").write_bytes(public)
    make_peer_certificates(tmp_path, ["a", "b"], days=90, now=NOW - timedelta(days=80))
    assert not (tmp_path / "a" / "peer.key").exists()
    assert certificate(tmp_path, "a").public_key() == key.public_key()
    (tmp_path / "a" / "peer.pub").unlink()
    make_peer_certificates(tmp_path, ["a", "b"], now=NOW)  # renewed, and still for the peer's own key
    assert certificate(tmp_path, "a").public_key() == key.public_key()
    assert not (tmp_path / "a" / "peer.key").exists()


def test_python_accepts_a_peer_for_both_sides_and_by_no_address(tmp_path: Path) -> None:
    make_peer_certificates(tmp_path, ["a", "b"])
    credentials = Credentials.load(tmp_path / "a")
    for context in (credentials.listening(), credentials.dialling()):
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3
        assert len(context.get_ca_certs()) == 1
    with pytest.raises(x509.ExtensionNotFound):
        certificate(tmp_path, "a").extensions.get_extension_for_class(x509.SubjectAlternativeName)


@pytest.mark.parametrize(
    ("peers", "days", "sentence"),
    [
        (["a"], 10, "at least two peers"),
        (["a", "b"], 0, "days = 0: give 1 to 3650 days"),
        (["a", "../b"], 10, r"peer name '\.\./b': use up to 40"),
        (["a", "Authority"], 10, "peer name 'Authority': the authority's folder is called so"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_made(
    tmp_path: Path, peers: list[str], days: int, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        make_peer_certificates(tmp_path, peers, days=days)
    assert contents(tmp_path) == {}


def test_damage_is_named(tmp_path: Path) -> None:
    make_peer_certificates(tmp_path, ["a", "b"])
    (tmp_path / "authority" / "ca.key").unlink()
    assert make_peer_certificates(tmp_path, ["a", "b"])  # nothing to sign
    with pytest.raises(UserError, match=r"ca\.key is missing, and c's certificate needs its signature"):
        make_peer_certificates(tmp_path, ["c"])
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "peer.pub").write_text("no key")
    with pytest.raises(UserError, match=r"peer\.pub holds no public elliptic-curve key"):
        make_peer_certificates(tmp_path, ["d"])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(UserError, match=r"keys.* could not be read or written"):
        make_peer_certificates(tmp_path / "keys", ["a", "b"])
