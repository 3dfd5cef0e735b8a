"""Certificates and keys: Python's own TLS and Flower's own readers are the oracles."""

import socket
import ssl
import stat
import threading
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.cli.supernode.register import try_load_public_key
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message, verify_signature
from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from experiments.authority import server_name
from experiments.certificates import make_certificates
from server.link import Certificates

YEAR = timedelta(days=365)


def handshake(server: Path, authority: Path, name: str) -> str:
    """Return the TLS version that a client agrees on with a server on loopback; raise what the client raises."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(server / "server.crt", server / "server.key")
    asking = ssl.create_default_context(cafile=str(authority))
    asking.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    with serving.wrap_socket(connection, server_side=True) as secure:
                        secure.sendall(secure.recv(1))
                except OSError:
                    return  # the client tells what was wrong

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=20) as plain,
                asking.wrap_socket(plain, server_hostname=name) as secure,
            ):
                secure.sendall(b"x")
                assert secure.recv(1) == b"x"
                return str(secure.version())
        finally:
            thread.join(timeout=20)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def certificate_of(folder: Path) -> x509.Certificate:
    """Return the server's certificate."""
    return x509.load_pem_x509_certificate((folder / "server" / "server.crt").read_bytes())


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with an authority, a server and two hospitals."""
    make_certificates(tmp_path / "keys", ["fl.example.org", "192.0.2.7"], ["north", "south hospital"])
    return tmp_path / "keys"


def test_the_layout_is_what_server_and_nodes_read(made: Path) -> None:
    assert set(contents(made)) == {
        *("authority/ca.crt", "authority/ca.key"),
        *("server/ca.crt", "server/server.crt", "server/server.key"),
        *("server/nodes/north.pub", "server/nodes/south hospital.pub"),
        *("north/ca.crt", "north/node.key", "south hospital/ca.crt", "south hospital/node.key"),
    }
    authorities = {content for name, content in contents(made).items() if name.endswith("ca.crt")}
    assert len(authorities) == 1
    loaded = Certificates.load(made / "server")
    assert sorted(loaded.nodes.values()) == ["north", "south hospital"]


def test_keys_and_folders_are_for_their_owner_only(made: Path) -> None:
    for path in made.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600 if path.suffix == ".key" else 0o644), path


@pytest.mark.parametrize("name", ["fl.example.org", "192.0.2.7", "localhost", "127.0.0.1"])
def test_a_hospital_that_knows_the_authority_reaches_the_server_by_each_of_its_names(made: Path, name: str) -> None:
    assert handshake(made / "server", made / "north" / "ca.crt", name) == "TLSv1.3"


def test_another_authority_is_refused(made: Path, tmp_path: Path) -> None:
    make_certificates(tmp_path / "other", ["fl.example.org"], ["north"])
    with pytest.raises(ssl.SSLCertVerificationError, match=r"local issuer|self-signed|signature"):
        handshake(made / "server", tmp_path / "other" / "north" / "ca.crt", "fl.example.org")


def test_another_name_is_refused(made: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'evil\.example\.org'"):
        handshake(made / "server", made / "north" / "ca.crt", "evil.example.org")


def test_an_expired_certificate_is_refused_and_renewed_with_the_same_key(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    make_certificates(folder, ["fl.example.org"], ["north"], now=datetime.now(UTC) - 2 * YEAR)
    with pytest.raises(ssl.SSLCertVerificationError, match="has expired"):
        handshake(folder / "server", folder / "north" / "ca.crt", "fl.example.org")
    before = contents(folder)
    (said, _) = make_certificates(folder, [], ["north"])
    assert "renewed: the old one expired on" in said
    assert handshake(folder / "server", folder / "north" / "ca.crt", "fl.example.org") == "TLSv1.3"
    changed = {name for name, content in contents(folder).items() if before.get(name) != content}
    assert changed == {"server/server.crt"}


def test_a_clock_that_is_behind_accepts_a_new_certificate(made: Path) -> None:
    assert certificate_of(made).not_valid_before_utc <= datetime.now(UTC) - timedelta(hours=12)


def test_a_certificate_in_its_last_month_is_renewed_and_an_earlier_one_kept(tmp_path: Path) -> None:
    folder, start = tmp_path / "keys", datetime(2030, 1, 1, tzinfo=UTC)
    make_certificates(folder, ["fl.example.org"], [], now=start)
    before = contents(folder)
    make_certificates(folder, ["fl.example.org"], [], now=start + YEAR - timedelta(days=31))
    assert contents(folder) == before
    (said,) = make_certificates(folder, [], [], now=start + YEAR - timedelta(days=29))
    assert "renewed: the old one would expire on 2031-01-01" in said
    assert certificate_of(folder).not_valid_after_utc == start + 2 * YEAR - timedelta(days=29)


def test_days_say_how_long_and_never_beyond_the_authority(tmp_path: Path) -> None:
    folder, start = tmp_path / "keys", datetime(2030, 1, 1, tzinfo=UTC)
    make_certificates(folder, [], [], days=7, now=start)
    assert certificate_of(folder).not_valid_after_utc == start + timedelta(days=7)
    make_certificates(folder, [], [], now=start + 9.5 * YEAR)
    assert certificate_of(folder).not_valid_after_utc == start + 10 * YEAR
    with pytest.raises(UserError, match=r"ca\.crt expired on 2039-12-30; make all keys"):
        make_certificates(folder, [], [], now=start + 10 * YEAR)


def test_more_hospitals_are_added_and_nothing_else_changes(made: Path) -> None:
    before = contents(made)
    said = make_certificates(made, ["fl.example.org"], ["north", "east"])
    after = contents(made)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"east/ca.crt", "east/node.key", "server/nodes/east.pub"}
    assert said[0].startswith("server: has its certificate for fl.example.org, 192.0.2.7, localhost, 127.0.0.1")
    assert said[1].startswith("north: has its key")
    assert said[2].startswith("east: new key")


def test_a_hospital_can_be_added_without_the_authority(made: Path) -> None:
    """The authority's key belongs in a safe; only the server's certificate needs it."""
    for file in ("ca.key", "ca.crt"):
        (made / "authority" / file).unlink()
    make_certificates(made, [], ["east"])
    assert (made / "east" / "ca.crt").read_bytes() == (made / "server" / "ca.crt").read_bytes()


def test_a_new_name_of_the_server_is_added_to_the_old_ones(made: Path) -> None:
    said = make_certificates(made, ["192.0.2.8"], [])
    assert "issued anew for 192.0.2.8" in said[0]
    for name in ("192.0.2.8", "192.0.2.7", "fl.example.org"):
        assert handshake(made / "server", made / "north" / "ca.crt", name) == "TLSv1.3"


def test_a_withdrawn_key_is_not_admitted_again_in_silence(made: Path) -> None:
    public = made / "server" / "nodes" / "north.pub"
    public.unlink()
    with pytest.raises(UserError, match=r"the server no longer admits this key; remove .*north for a new one"):
        make_certificates(made, [], ["north"])
    stolen = (made / "north" / "node.key").read_bytes()
    for file in (made / "north").iterdir():
        file.unlink()
    make_certificates(made, [], ["north"])
    assert (made / "north" / "node.key").read_bytes() != stolen
    assert public.exists()


def test_flower_reads_the_keys_and_they_belong_together(made: Path) -> None:
    arguments = Namespace(auth_supernode_private_key=str(made / "north" / "node.key"), auth_supernode_public_key=None)
    private, public = _try_setup_client_authentication(arguments) or pytest.fail("no key was read")
    assert isinstance(private.curve, ec.SECP384R1)
    registered = try_load_public_key(made / "server" / "nodes" / "north.pub")
    assert registered == public_key_to_bytes(public)
    other = try_load_public_key(made / "server" / "nodes" / "south hospital.pub")
    assert registered != other
    assert verify_signature(public, b"asked", sign_message(private, b"asked"))


@pytest.mark.parametrize(
    ("names", "nodes", "sentence"),
    [
        (["fl.example.org:8000"], [], "server name 'fl.example.org:8000': write a DNS name"),
        (["http://fl.example.org"], [], "write a DNS name"),
        (["*.example.org"], [], "write a DNS name"),
        (["10.0.0.256"], [], "write a DNS name"),
        ([""], [], "write a DNS name"),
        (["-a.org"], [], "write a DNS name"),
        (["a." * 127 + "org"], [], "write a DNS name"),
        ([], ["../north"], "node name '../north': use up to 40 letters"),
        ([], ["north/../../x"], "use up to 40 letters"),
        ([], [".."], "use up to 40 letters"),
        ([], ["north\n"], "use up to 40 letters"),
        ([], ["n" * 41], "use up to 40 letters"),
        ([], ["server"], "node name 'server': another folder is called so"),
        ([], ["Authority"], "another folder is called so"),
    ],
)
def test_a_bad_name_is_one_sentence_and_writes_nothing(
    tmp_path: Path, names: list[str], nodes: list[str], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        make_certificates(tmp_path / "keys", names, nodes)
    assert sentence in str(caught.value)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("days", [0, -1, 3651])
def test_days_have_limits(tmp_path: Path, days: int) -> None:
    with pytest.raises(UserError, match=f"days = {days}: give 1 to 3650 days"):
        make_certificates(tmp_path, [], [], days=days)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(UserError, match=r"keys.* could not be read or written: Not a directory"):
        make_certificates(tmp_path / "keys", [], [])


@pytest.mark.parametrize(
    ("broken", "content", "sentence"),
    [
        ("authority/ca.key", None, r"ca\.key is missing, and the server's certificate needs its signature"),
        ("authority/ca.key", b"nonsense", r"ca\.key is not an elliptic-curve key without a password"),
        ("authority/ca.crt", b"nonsense", r"ca\.crt is not a certificate"),
        ("server/server.key", None, r"server\.key is missing; put it back, or remove .*server\.crt"),
        ("server/server.key", b"nonsense", r"server\.key is not an elliptic-curve key"),
        ("server/server.crt", b"nonsense", r"server\.crt is not a certificate"),
    ],
)
def test_a_broken_file_is_one_sentence(made: Path, broken: str, content: bytes | None, sentence: str) -> None:
    if content is None:
        (made / broken).unlink()
    else:
        (made / broken).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        make_certificates(made, ["new.example.org"], ["east"])
    assert not (made / "east").exists()


def test_files_of_two_authorities_are_not_mixed(made: Path, tmp_path: Path) -> None:
    make_certificates(tmp_path / "other", [], [])
    other = tmp_path / "other" / "authority"
    (made / "authority" / "ca.key").write_bytes((other / "ca.key").read_bytes())
    with pytest.raises(UserError, match=r"ca\.key is not the key of the authority's certificate"):
        make_certificates(made, ["new.example.org"], [])
    (made / "authority" / "ca.crt").write_bytes((other / "ca.crt").read_bytes())
    with pytest.raises(UserError, match=r"server\.crt is not signed by this folder's authority"):
        make_certificates(made, [], ["east"])
    (tmp_path / "third" / "authority").mkdir(parents=True)
    (other / "ca.key").replace(tmp_path / "third" / "authority" / "ca.key")
    with pytest.raises(UserError, match=r"ca\.key is there but .*ca\.crt is not"):
        make_certificates(tmp_path / "third", [], [])


def test_no_key_is_in_what_is_said(tmp_path: Path) -> None:
    said = "\n".join(make_certificates(tmp_path, ["fl.example.org"], ["north"]))
    secrets = [
        line for file in tmp_path.rglob("*.key") for line in file.read_text().splitlines() if "-----" not in line
    ]
    assert secrets
    assert not any(line in said for line in secrets)


@given(st.ip_addresses())
def test_every_address_is_a_name(address: object) -> None:
    assert str(server_name(str(address)).value) == str(address)
