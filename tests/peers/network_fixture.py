"""Peers that answer over the network in this process: stubs with real certificates, doorsteps and gRPC."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from peers.credentials import Credentials
from peers.dial import Dialler, open_dialler
from peers.doorstep import Doorstep, open_doorstep
from peers.listen import Answering, listen
from peers.members import Members
from peers.refusals import Refusals


@dataclass
class Stub:
    """A peer that answers whatever it is told to."""

    doorstep: Doorstep
    members: Members
    address: str
    said: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def dialling(self, addresses: Mapping[str, str]) -> Iterator[Dialler]:
        """A way to others."""
        with open_dialler(self.doorstep, self.members, addresses) as dialler:
            yield dialler


@contextlib.contextmanager
def stub(
    folder: Path,
    answer: Callable[[str, bytes], bytes] = lambda asker, question: question,
    *,
    greet: Callable[[str, bytes], bytes] = lambda asker, greeting: greeting,
    delay: float = 0.0,
    port: int = 0,
    credentials: Credentials | None = None,
    letters: Callable[[str, bytes], Iterator[bytes]] | None = None,
) -> Iterator[Stub]:
    """A peer with the certificates of ``folder``; it echoes unless told otherwise."""
    said: list[str] = []
    refusals = Refusals(said.append)
    with open_doorstep(credentials or Credentials.load(folder), refusals) as doorstep:
        members = Members(doorstep.is_open)
        answering = Answering(answer, greet, letters=letters, delay=delay)
        with listen(doorstep, "127.0.0.1", port, answering, members, refusals, peers=3) as address:
            yield Stub(doorstep, members, address, said)


def nobody() -> str:
    """An address on loopback at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"
