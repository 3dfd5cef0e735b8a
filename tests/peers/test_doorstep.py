"""TLS handshakes: an independent client, Python's own, knocks; who is refused is told of with the reason."""

import contextlib
import socket
import ssl
from pathlib import Path

import pytest

from common.errors import UserError
from experiments.peer_certificates import make_peer_certificates
from peers.credentials import Credentials
from peers.doorstep import CONNECTIONS_PER_PEER, HANDSHAKES_PER_HOST
from peers.neighbours import Unreachable
from tests.peers.network_fixture import Stub, nobody, stub
from tests.waiting import until

OLDEST_TLS = ssl.TLSVersion.TLSv1_2


def client(keys: Path | None) -> ssl.SSLContext:
    """A client that trusts everybody, and shows the certificate of a folder."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if keys is not None:
        context.load_cert_chain(keys / "peer.crt", keys / "peer.key")
    return context


def knock(address: str, context: ssl.SSLContext) -> None:
    """Shake hands and wait for the end."""
    host, _, port = address.rpartition(":")
    with (
        contextlib.suppress(OSError),
        socket.create_connection((host, int(port)), timeout=30) as plain,
        context.wrap_socket(plain) as secure,
    ):
        while secure.recv(1000):
            pass


def says(peer: Stub, words: str) -> None:
    """Wait until a peer has logged this, with the address of loopback."""
    until(lambda: any(words in line for line in peer.said), words)
    assert any(line.startswith("refused 127.0.0.1: ") and words in line for line in peer.said)


def test_whoever_has_no_certificate_or_another_authoritys_is_refused(keys: Path, tmp_path: Path) -> None:
    make_peer_certificates(tmp_path / "others", ["a", "b"])
    with stub(keys / "a") as a:
        knock(a.address, client(None))
        says(a, "it showed no certificate")
        knock(a.address, client(tmp_path / "others" / "b"))
        says(a, "its certificate is refused: it is not signed by the authority that this peer knows")
        # Of the right authority, but of nobody whom a knows: itself.
        knock(a.address, client(keys / "a"))
        says(a, "its certificate is that of 'a', whom this peer does not know")


def test_old_tls_and_no_tls_are_refused(keys: Path) -> None:
    with stub(keys / "a") as a:
        old = client(keys / "b")
        old.maximum_version = OLDEST_TLS
        knock(a.address, old)
        says(a, "no TLS handshake (unsupported protocol)")
        host, _, port = a.address.rpartition(":")
        for words, reason in ((b"\x00" * 50, "wrong version number"), (b"GET / HTTP/1.1\r\n\r\n", "http request")):
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=30) as plain:
                plain.sendall(words)
                while plain.recv(1000):
                    pass
            says(a, f"no TLS handshake ({reason})")
        socket.create_connection((host, int(port)), timeout=30).close()
        says(a, "it hung up during the handshake")


def test_connections_that_never_say_who_they_are_are_bounded(keys: Path) -> None:
    with stub(keys / "a") as a, contextlib.ExitStack() as stack:
        host, _, port = a.address.rpartition(":")
        for _ in range(HANDSHAKES_PER_HOST + 5):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
        says(a, "too many connections at once that have not shown who they are")


def test_connections_of_one_peer_are_bounded(keys: Path) -> None:
    with stub(keys / "a") as a, contextlib.ExitStack() as stack:
        host, _, port = a.address.rpartition(":")
        for _ in range(CONNECTIONS_PER_PEER):
            plain = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            secure = stack.enter_context(client(keys / "b").wrap_socket(plain))
            secure.recv(1)  # gRPC's greeting: it is in
        knock(a.address, client(keys / "b"))
        says(a, f"'b' holds {CONNECTIONS_PER_PEER} connections already")


def test_somebody_else_at_a_peers_address_is_not_taken_for_it(keys: Path) -> None:
    with stub(keys / "a") as a, stub(keys / "b") as b, b.dialling({"c": a.address}) as dialler:
        found = dialler.ask_all({"c": b"?"}, limit=100, timeout=20)["c"]
        assert found == Unreachable(f"{a.address}: 'a' answers there")
        assert b.said == [f"refused 'c' at {a.address}: 'a' answers there"]


def test_a_peer_that_does_not_know_this_one_hangs_up_and_this_one_can_tell(keys: Path) -> None:
    forgetful = Credentials.load(keys / "a")
    forgetful = Credentials(forgetful.folder, "a", {"c": forgetful.known["c"]}, forgetful.expires)
    with (
        stub(keys / "a", credentials=forgetful) as a,
        stub(keys / "b") as b,
        b.dialling({"a": a.address}) as dialler,
    ):
        found = dialler.ask_all({"a": b"?"}, limit=100, timeout=20)["a"]
        assert isinstance(found, Unreachable)
        assert (
            found.reason
            == "it hung up after the handshake; it may not accept this peer's certificate, and its log says why"
        )
        says(a, "its certificate is that of 'b', whom this peer does not know")


def test_who_is_behind_a_connection_is_known_as_long_as_it_is_open(keys: Path) -> None:
    with stub(keys / "a") as a, stub(keys / "b") as b:
        assert b.doorstep.tunnel("a") is None
        with b.dialling({"a": a.address}) as dialler:
            assert dialler.ask_all({"a": b"?"}, limit=100, timeout=20) == {"a": b"?"}
            tunnel = b.doorstep.tunnel("a")
            assert tunnel is not None
            assert b.doorstep.is_open(tunnel)
            assert a.members.is_there("b")
            assert b.doorstep.trouble("a") == ""
        until(lambda: not a.members.is_there("b"), "a notices that b is gone")
        until(lambda: not b.doorstep.is_open(tunnel), "b does, too")


def test_nobody_listening_is_said_so(keys: Path) -> None:
    address = nobody()
    with stub(keys / "b") as b, b.dialling({"a": address}) as dialler:
        assert dialler.ask_all({"a": b"?"}, limit=100, timeout=20)["a"] == Unreachable(
            f"{address}: nobody listens there"
        )


def test_an_address_that_is_taken_is_a_mistake(keys: Path) -> None:
    with stub(keys / "a") as a:
        port = int(a.address.rpartition(":")[2])
        with (
            pytest.raises(UserError, match=f"peer.listen = '127.0.0.1:{port}': cannot be listened on"),
            stub(keys / "b", port=port),
        ):
            pass
