"""A cable between two peers that a test can cut and mend: a TCP relay on loopback."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator


class Relay:
    """Carries bytes to one address while it is whole; cut, it swallows what comes, as a network does that is down."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._whole = threading.Event()
        self._whole.set()
        self._over = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        self._whole.clear()

    def mend(self) -> None:
        """Let everything through again; connections from before the cut go on where they were."""
        self._whole.set()

    def close(self) -> None:
        """End all connections."""
        self._over.set()
        self._whole.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError), near:
            self._whole.wait()  # a connection begins, as far as its kernel knows, and hears nothing
            with socket.create_connection(self._target, timeout=10) as far, selectors.DefaultSelector() as ready:
                ready.register(near, selectors.EVENT_READ, far)
                ready.register(far, selectors.EVENT_READ, near)
                while not self._over.is_set():
                    for key, _ in ready.select(timeout=0.2):
                        piece = key.fileobj.recv(2**16)  # type: ignore[union-attr]
                        if not piece:
                            return
                        self._whole.wait()
                        key.data.sendall(piece)


@contextlib.contextmanager
def relays(targets: dict[str, str]) -> Iterator[dict[str, Relay]]:
    """A relay to each of these addresses, by the same name."""
    made = {name: Relay(target) for name, target in targets.items()}
    try:
        yield made
    finally:
        for relay in made.values():
            relay.close()
