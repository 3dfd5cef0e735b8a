"""Who may not take part is refused, with the reason in the log, and the federation goes on as if nobody had come."""

import contextlib
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from experiments.authority import new_key, read_certificate, read_key, sign_peer
from experiments.key_folder import pem
from experiments.peer_certificates import make_peer_certificates
from tests.integration.peers.peers_fixture import in_one_process, peer_site, tiny

NAMES = ("a", "b", "c")
LORISES = 20


def forged(keys: Path, folder: Path, name: str, *, start: timedelta = timedelta(0)) -> Path:
    """A folder with a certificate that the peers' own authority signed ``start`` from now, for a key of its own."""
    folder.mkdir()
    authority, signing, key = (
        read_certificate(keys / "authority" / "ca.crt"),
        read_key(keys / "authority" / "ca.key"),
        new_key(),
    )
    time = datetime.now(UTC) + start
    certificate = sign_peer(authority, signing, key.public_key(), name, time, timedelta(hours=1))
    (folder / "peer.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "peer.key").write_bytes(pem(key))
    return folder


def knock(address: str, folder: Path | None) -> None:
    """Shake hands with a peer, with a certificate or without, and wait until it has hung up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if folder is not None:
        context.load_cert_chain(folder / "peer.crt", folder / "peer.key")
    host, _, port = address.rpartition(":")
    with (
        contextlib.suppress(OSError),
        socket.create_connection((host, int(port)), timeout=60) as plain,
        context.wrap_socket(plain) as secure,
    ):
        while secure.recv(1000):
            pass


@pytest.mark.processes
def test_nobody_comes_in_who_may_not_and_the_federation_goes_on(tmp_path: Path) -> None:
    experiment = tiny(NAMES)
    one = in_one_process(tmp_path / "one", experiment)
    with peer_site(tmp_path / "site", experiment) as here, contextlib.ExitStack() as stack:
        others = tmp_path / "others"
        make_peer_certificates(others, ["b", "z"])
        here.hold("train-a-2", "train-b-2", "train-c-2")
        peers = here.all()
        address, door = here.addresses["a"], peers["a"]
        here.took("a", 1)
        host, _, port = address.rpartition(":")
        for _ in range(LORISES):  # connections that never say a word
            stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
        for folder, reason in (
            (others / "b", "it is not signed by the authority that this peer knows"),
            (forged(here.keys, tmp_path / "expired", "b", start=timedelta(days=-9)), "certificate has expired"),
            (
                forged(here.keys, tmp_path / "unknown", "z"),
                "its certificate is that of 'z', whom this peer does not know",
            ),
            (
                forged(here.keys, tmp_path / "stolen", "b"),
                "its certificate says 'b', but its key is not the one that is",
            ),
            (None, "it showed no certificate"),
        ):
            knock(address, folder)
            door.says(f"refused {host}: ")
            door.says(reason)
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=60) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while plain.recv(1000):
                pass
        door.says("no TLS handshake (http request)")
        here.release("train-a-2", "train-b-2", "train-c-2")
        here.finished(peers)
        assert here.skips() == []
        for name in NAMES:
            assert here.own_model(name) == one.peer_model(name).read_bytes()
        assert "Traceback" not in "".join(program.said() for program in peers.values())
        secrets = [line for file in here.keys.rglob("*.key") for line in file.read_text().splitlines()[1:-1]]
        assert not any(line in program.said() for line in secrets for program in peers.values())


@pytest.mark.processes
def test_a_second_process_with_one_identity_is_refused(tmp_path: Path) -> None:
    experiment = tiny(NAMES)
    with peer_site(tmp_path / "site", experiment) as here:
        here.hold("train-a-2", "train-b-2", "train-c-2")
        peers = here.all()
        for name in NAMES:
            here.took(name, 1)
        # On another machine, with the same certificate; and on this one, with the same state.
        twin = here.config("b", folder="twin", peer__listen="127.0.0.1:0")
        second = here.start("twin", ["peer", "--config", str(twin)])
        again = here.start("again", ["peer", "--config", str(here.folder / "b" / "peer.toml")])
        assert again.ended() == 2
        assert "another process works with it; only one may be b at a time" in again.said()
        assert second.ended() == 2
        assert "another process with the identity 'b' is connected" in second.said()
        assert "end the other process" in second.said()
        for name in ("a", "c"):
            assert "refused 'b' at 127.0.0.1:" in peers[name].said()
        here.release("train-a-2", "train-b-2", "train-c-2")
        here.finished(peers)
        assert here.skips() == []


@pytest.mark.processes
def test_a_peer_of_another_agreement_is_told_what_differs(tmp_path: Path) -> None:
    experiment = tiny(NAMES, peers__turn_timeout=3.0, peers__order="shuffled", federation__rounds=2)
    with peer_site(tmp_path / "site", experiment) as here:
        here.hold("train-a-2", "train-b-2")
        peers = {name: here.peer(name) for name in ("a", "b")}
        file = here.config("c")
        agreed = file.parent / "agreement.toml"
        agreed.write_text(agreed.read_text().replace("learning_rate = 0.001", "learning_rate = 0.01"))
        peers["c"] = here.peer("c")
        peers["a"].says("c takes part in another run: training (here ")
        peers["c"].says("a takes part in another run: training (here ")
        here.release("train-a-2", "train-b-2")
        here.finished({name: peers[name] for name in ("a", "b")})
        assert "the question belongs to another run" in "".join(program.said() for program in peers.values())
        merged = {(name, other) for name in ("a", "b") for line in here.lines_of(name) for other in line["merged"]}
        assert merged == {("a", "b"), ("b", "a")}
