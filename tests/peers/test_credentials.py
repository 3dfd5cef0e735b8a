"""A peer's own folder of certificates, and whom it knows by it."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import UserError
from peers.credentials import Credentials
from peers.wire import RefusedError


def der(file: Path) -> bytes:
    return x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)


def test_a_peer_knows_itself_and_the_others(keys: Path) -> None:
    credentials = Credentials.load(keys / "a")
    assert credentials.name == "a"
    assert set(credentials.known) == {"b", "c", "d"}
    for name in ("b", "c", "d"):
        assert credentials.who(der(keys / name / "peer.crt")) == name


def test_it_knows_nobody_else(keys: Path) -> None:
    credentials = Credentials.load(keys / "a")
    with pytest.raises(RefusedError, match="showed no certificate"):
        credentials.who(None)
    with pytest.raises(RefusedError, match="that of 'a', whom this peer does not know"):
        credentials.who(der(keys / "a" / "peer.crt"))
    with pytest.raises(RefusedError, match="that of 'psreval authority', whom this peer does not know"):
        credentials.who(der(keys / "authority" / "ca.crt"))


def test_a_known_name_with_another_key_is_refused(keys: Path, tmp_path: Path) -> None:
    mine = tmp_path / "a"
    shutil.copytree(keys / "a", mine)
    shutil.copy(keys / "c" / "peer.crt", mine / "peers" / "c.crt")
    credentials = Credentials.load(mine)
    swapped = Credentials(
        credentials.folder, "a", {**credentials.known, "c": credentials.known["b"]}, credentials.expires
    )
    with pytest.raises(RefusedError, match="says 'c', but its key is not the one that is known"):
        swapped.who(der(keys / "c" / "peer.crt"))


@pytest.mark.parametrize("name", ["ca.crt", "peer.crt", "peer.key"])
def test_a_missing_file_is_named(keys: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(keys / "a", tmp_path / "a")
    (tmp_path / "a" / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}; `psreval peers certificates` makes it"):
        Credentials.load(tmp_path / "a")


@pytest.mark.parametrize("name", ["ca.crt", "peer.crt", "peer.key", "peers/b.crt"])
def test_a_file_that_is_something_else_is_a_mistake(keys: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(keys / "a", tmp_path / "a")
    (tmp_path / "a" / name).write_text("nothing of the kind")
    with pytest.raises(UserError, match=r"a certificate|and its key"):
        Credentials.load(tmp_path / "a")


def test_a_certificate_under_another_name_is_a_mistake(keys: Path, tmp_path: Path) -> None:
    shutil.copytree(keys / "a", tmp_path / "a")
    shutil.copy(keys / "c" / "peer.crt", tmp_path / "a" / "peers" / "b.crt")
    with pytest.raises(UserError, match=r"b\.crt: it is the certificate of 'c'"):
        Credentials.load(tmp_path / "a")


def test_a_key_of_somebody_else_is_a_mistake(keys: Path, tmp_path: Path) -> None:
    shutil.copytree(keys / "a", tmp_path / "a")
    shutil.copy(keys / "c" / "peer.key", tmp_path / "a" / "peer.key")
    with pytest.raises(UserError, match=r"peer\.crt and peer\.key .* are not a certificate and its key"):
        Credentials.load(tmp_path / "a")


def test_a_peer_whose_own_certificate_has_expired_is_told_before_all_others_refuse_it(keys: Path) -> None:
    with pytest.raises(UserError, match=r"peer\.crt expired on .*`psreval peers certificates` renews it"):
        Credentials.load(keys / "a", now=datetime.now(UTC) + timedelta(days=400))
