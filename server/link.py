"""The link: Flower's SuperLink inside the server's own process, reduced to what nodes need.

Of the SuperLink only the Fleet API listens. Its Control API, through which anybody who reaches the port may submit code
to be run, and its Runtime API are not there: the server's own code is the ServerApp, and it speaks to Flower's state
directly (``server.link_grid``). Parts of Flower that are private are used here; tests notice when a release moves them.
"""

import contextlib
import logging
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from fastapi import FastAPI
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
from flwr.server.superlink.linkstate import LinkState, LinkStateFactory
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME
from flwr.supercore.error import http_error_translator
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.translation import ProtobufTranslationMiddleware
from flwr.supercore.routers import health
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.routers.fleet.node_auth import NodeAuthMiddleware
from flwr.superlink.routers.fleet.router import router as fleet_router
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from common.errors import UserError
from server.allowance import Allowance, AllowanceLayer
from server.doorstep import Doorstep
from server.front_door import FrontDoor
from server.link_grid import LinkGrid
from server.link_store import LinkStore

START_TIMEOUT = 30.0
"""Seconds that listening may take to begin."""
CONNECTIONS = 4096
"""Connections at once; requests over more of them are answered with 503."""


@dataclass(frozen=True)
class Certificates:
    """What ``psreval certificates`` made for a server: its files, and the name that each node's key belongs to."""

    certificate: Path
    key: Path
    nodes: Mapping[bytes, str]
    """Public key as Flower writes it → name."""

    @staticmethod
    def load(folder: Path) -> "Certificates":
        """Read ``server.crt``, ``server.key`` and ``nodes/NAME.pub``.

        Raises:
            UserError: a file is missing or is not what its name says.
        """
        certificate, key = folder / "server.crt", folder / "server.key"
        for file in (certificate, key):
            if not file.is_file():
                raise UserError(
                    f"--certificates {folder}: there is no {file.name}; `psreval certificates` makes 'server/'"
                )
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
        except (ssl.SSLError, OSError) as error:
            raise UserError(
                f"--certificates {folder}: server.crt and server.key are not a certificate and its key ({error})"
            ) from None
        nodes = {}
        for file in sorted((folder / "nodes").glob("*.pub")):
            try:
                public = load_ssh_public_key(file.read_bytes())
            except (ValueError, UnsupportedAlgorithm, OSError):
                public = None
            if not isinstance(public, EllipticCurvePublicKey):
                raise UserError(f"--certificates {folder}: nodes/{file.name} holds no public key of a node")
            nodes[public_key_to_bytes(public)] = file.stem
        if not nodes:
            raise UserError(f"--certificates {folder}: nodes/ holds no NAME.pub, so no node could ever join")
        return Certificates(certificate, key, nodes)


@dataclass(frozen=True)
class Link:
    """An open link.

    Attributes:
        grid: what the federation runs over.
        address: ``host:port`` that is listened on.
        identities: node id → name, where keys are known; None: anybody may join under any name.
    """

    grid: LinkGrid
    address: str
    identities: Mapping[int, str] | None


@contextlib.contextmanager
def open_link(host: str, port: int, reply_limit: int, certificates: Certificates | None = None) -> Iterator[Link]:
    """Listen for nodes until the block ends; if it ends well, tell the nodes that the run is over.

    Args:
        host: address to listen on; ``127.0.0.1`` unless a person asks for more.
        port: 0 takes a free one.
        reply_limit: bytes that a node may send for one message.
        certificates: None: plain HTTP, and any key may join.

    Raises:
        UserError: the address is taken or is not this machine's.
    """
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    logging.getLogger("flwr").setLevel(logging.CRITICAL)  # or whoever knocks writes on this terminal
    _allow_many_files()
    listener = _listener(host, port)
    store = LinkStore()
    state = InMemoryLinkState(NoOpFederationManager(), store)
    allowance = Allowance(reply_limit)
    server = uvicorn.Server(_settings(_application(_factory(state), allowance, certificates), certificates))
    thread = threading.Thread(target=server.run, args=([listener],), name="link", daemon=True)
    grid = LinkGrid(state, store, allowance)
    identities = _register(state, certificates) if certificates else None
    thread.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        if not server.started:
            raise UserError(f"--host {host} --port {port}: the server could not begin to listen there")
        yield Link(grid, f"{host}:{listener.getsockname()[1]}", identities)
        # Not after an error or Ctrl-C: the run can be resumed, and the nodes shall still be there.
        with contextlib.suppress(Exception):
            grid.farewell()
    finally:
        grid.close()
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else "a port is a number from 0 to 65535"
        raise UserError(
            f"--host {host} --port {port}: cannot be listened on ({reason}); choose another with --port, 0 for any"
        ) from None
    return listener


def _allow_many_files() -> None:
    """Let this process hold as many connections as are accepted; many systems begin with 1024 open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS if hard == resource.RLIM_INFINITY else min(2 * CONNECTIONS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _factory(state: InMemoryLinkState) -> LinkStateFactory:
    """Return what Flower's routes ask for the state; it is in memory: what must outlive it is in the run's folder."""
    factory = LinkStateFactory(FLWR_IN_MEMORY_DB_NAME, state.federation_manager, ObjectStoreFactory())
    factory.state_instance = state
    return factory


def _application(state: LinkStateFactory, allowance: Allowance, certificates: Certificates | None) -> FastAPI:
    """Return the web application: outermost layer first."""
    application = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        middleware=[
            Middleware(FrontDoor),
            Middleware(BaseHTTPMiddleware, dispatch=http_error_translator),
            Middleware(ProtobufTranslationMiddleware),
            Middleware(NodeAuthMiddleware),
            Middleware(AllowanceLayer),
        ],
    )
    application.state.linkstate_factory = state
    application.state.enable_supernode_auth = certificates is not None
    application.state.allowance = allowance
    application.include_router(health.router)
    application.include_router(fleet_router)
    return application


def _settings(application: FastAPI, certificates: Certificates | None) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        http=Doorstep,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
        ssl_certfile=str(certificates.certificate) if certificates else None,
        ssl_keyfile=str(certificates.key) if certificates else None,
    )


def _register(state: LinkState, certificates: Certificates) -> dict[int, str]:
    """Make every known key a node; no other can join."""
    return {
        state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, key, 0, name=name): name
        for key, name in certificates.nodes.items()
    }
