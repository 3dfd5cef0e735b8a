"""Certificates, keys, names, floods: who may not come in stays out, and behind the door the federation goes on."""

import contextlib
import shutil
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest, RegisterNodeFleetRequest
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from clients.connection import own_key
from experiments.certificates import make_certificates
from tests.integration.faults.conftest import Outcome
from tests.integration.faults.processes_fixture import Program, Site, model_without, site, tiny

NAMES = ("hospital-a", "hospital-b", "hospital-c")
LORISES = 100
FLOOD = 400
GIVES_UP = ("--patience", "4")


def intruder(here: Site, log: str, name: str, certificates: Path, address: str, *options: str) -> Program:
    """A node with a state of its own and the given folder of certificates, that says it is ``name``."""
    file = here.hospital(name, folder=log)
    command = ["node", str(file), "--server", address, "--certificates", str(certificates), *options]
    return here.start(log, command)


@contextlib.contextmanager
def lorises(address: str, authority: Path) -> Iterator[list[socket.socket]]:
    """Connections that begin a request and never end it; half of them do not even begin their TLS."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(authority))
    with contextlib.ExitStack() as stack:
        held = []
        for number in range(LORISES):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            if number % 2:
                connection = stack.enter_context(context.wrap_socket(connection, server_hostname=host))
                connection.sendall(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nX")
            held.append(connection)
        yield held


def flood(address: str, authority: Path, key: Path) -> set[int]:
    """Knock many times with a key that nobody knows; return the answers."""
    stranger = own_key(key)
    public = public_key_to_bytes(stranger.public_key())

    def knock(number: int) -> int:
        with FleetHttpClient.from_server_address(
            address,
            insecure=False,
            root_certificates=str(authority),
            interceptors=[NodeAuthHttpInterceptor(stranger, stranger.public_key())],
        ) as client:
            try:
                if number % 2:
                    client.RegisterNode(RegisterNodeFleetRequest(public_key=public))
                else:
                    client.ActivateNode(ActivateNodeRequest(public_key=public, heartbeat_interval=10))
            except httpx.HTTPStatusError as error:
                return error.response.status_code
            return 200

    with ThreadPoolExecutor(8) as pool:
        return set(pool.map(knock, range(FLOOD)))


@pytest.mark.processes
def test_nobody_comes_in_who_may_not_and_the_federation_goes_on(tmp_path: Path, outcome: Outcome) -> None:
    experiment = tiny(NAMES, federation__quorum=2)
    with site(tmp_path / "site", experiment) as here:
        keys, others = tmp_path / "keys", tmp_path / "others"
        make_certificates(keys, ["127.0.0.1"], NAMES)
        make_certificates(others, ["127.0.0.1"], NAMES)
        authority = keys / "server" / "ca.crt"
        here.hold("train-hospital-a-2")
        server = here.server("--certificates", str(keys / "server"))
        address = here.address(server)
        nodes = [here.node(name, address, "--certificates", str(keys / name)) for name in NAMES[:2]]
        # The third hospital's key comes with the first one's name.
        thief = intruder(here, "stolen-name", "hospital-a", keys / "hospital-c", address)
        here.reached("train-hospital-a-2")

        stranger = tmp_path / "stranger"
        stranger.mkdir()
        shutil.copy(authority, stranger / "ca.crt")
        shutil.copy(others / "hospital-a" / "node.key", stranger / "node.key")
        unknown = intruder(here, "unknown-key", "hospital-a", stranger, address, *GIVES_UP)
        wrong = intruder(here, "wrong-authority", "hospital-a", others / "hospital-a", address)
        stolen = intruder(here, "stolen-key", "hospital-a", keys / "hospital-a", address, *GIVES_UP)
        file = here.hospital("hospital-a", folder="plain")
        plain = here.start("plain", ["node", str(file), "--server", address, *GIVES_UP])
        assert wrong.ended() == 2
        assert "the server's certificate cannot be trusted" in wrong.said()
        for refused in (unknown, stolen, plain):
            assert refused.ended() == 2, refused.said()
            assert "is this node's key among the server's nodes, and no other node connected with it?" in refused.said()

        with httpx.Client(base_url=f"https://{address}", verify=ssl.create_default_context(cafile=authority)) as web:
            assert web.get("/health").status_code == 200
            for path in ("/", "/docs", "/openapi.json", "/v1/control/list-runs", "/v1/runtime/get-nodes", "/../../etc"):
                assert web.get(path).status_code == 404
                assert web.post(path, content=b"x").status_code == 404
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=30) as raw:
            raw.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" not in raw.recv(100)

        with lorises(address, authority):
            answers = flood(address, authority, tmp_path / "key")
            assert 200 not in answers
            assert 429 in answers
            here.release("train-hospital-a-2")
            here.finished(3)
        assert server.ended() == 0, server.said()
        assert [node.ended() for node in nodes] == [0, 0]
        for number in (1, 2, 3):
            line = here.line(number, "hospital-c")
            assert line["reason"] == "its key belongs to 'hospital-c', but it says it is 'hospital-a'"
            assert all(here.line(number, name)["status"] == "accepted" for name in NAMES[:2])
        assert here.model() == model_without(tmp_path, experiment, {"hospital-c": [1, 2, 3]})
        assert thief.ended() in (0, 2), thief.said()  # it was there to the end, and took no part
        assert "Traceback" not in server.said()
    goes_on = "; the federation goes on, its model is that without the offender"
    for fault, happened in (
        ("certificate of another authority", "the node ends with exit 2: the server's certificate cannot be trusted"),
        ("unknown key", "not admitted; the node ends with exit 2 after its patience, and says why"),
        ("stolen name (right key, another hospital's name)", "left out: its key belongs to another"),
        ("stolen key, while its owner is connected", "not admitted; exit 2 after its patience"),
        ("a node without TLS at a TLS port", "no answer; exit 2 after its patience"),
        ("requests for other paths", "404 for all but /health and the Fleet API; nothing on the Control API answers"),
        (f"flood of {FLOOD} registrations", "401, 403 and, from the 301st in a minute, 429"),
        (f"{LORISES} connections that never end their request", "held open; nobody else notices"),
    ):
        outcome(fault, happened + goes_on, timed=False, flower="exit 1 (code 305)" if fault == "unknown key" else "")


@pytest.mark.processes
def test_an_expired_certificate_is_refused_with_a_sentence(tmp_path: Path, outcome: Outcome) -> None:
    experiment = tiny(NAMES[:1])
    with site(tmp_path / "site", experiment) as here:
        keys = tmp_path / "keys"
        make_certificates(keys, ["127.0.0.1"], NAMES[:1], days=1, now=datetime.now(UTC) - timedelta(days=30))
        server = here.server("--certificates", str(keys / "server"))
        node = here.node("hospital-a", here.address(server), "--certificates", str(keys / "hospital-a"))
        assert node.ended() == 2, node.said()
        assert "the server's certificate cannot be trusted (certificate has expired" in node.said()
    outcome("expired server certificate", "the node ends with exit 2: the certificate has expired")
