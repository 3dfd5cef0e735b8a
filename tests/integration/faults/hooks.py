"""What is done to a process before it runs psreval: gates where there is no seam, limits, a clock that is wrong.

Each hook is a function of this module with plain arguments; ``processes_fixture`` calls it in the new process.
"""

import ctypes
import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.faults.gates import pass_gate

CLONE_NEWNET = 0x40000000


def _replace(owner: Any, **by: Any) -> None:
    """Replace what a module or a class has under these names."""
    for name, value in by.items():
        setattr(owner, name, value)


def without_evaluation() -> None:
    """End a run with its model: what is done with it afterwards is tested elsewhere."""
    import experiments.console
    import experiments.model_card
    import experiments.report
    import experiments.run

    def no_evaluation(_: Any, __: Any, folder: Any, *___: Any, **____: Any) -> None:
        folder.results.touch()

    _replace(experiments.run, evaluate=no_evaluation)
    _replace(experiments.report, write_report=str)
    _replace(experiments.model_card, write_model_card=str)
    _replace(experiments.console, print_verdict=lambda folder: [])


def gate_uploads(folder: str, name: str) -> None:
    """Stop a node at the gate ``upload-NAME`` when it has announced a reply with weights and sent no part of it."""
    import clients.connection as connection

    push: Any = vars(connection)["push_objects"]

    def gated(objects: dict[str, Any], *arguments: Any, **keywords: Any) -> Any:
        if any(type(part).__name__ == "ArrayRecord" for part in objects.values()):
            pass_gate(Path(folder), f"upload-{name}")
        return push(objects, *arguments, **keywords)

    _replace(connection, push_objects=gated)


def gate_rounds(folder: str) -> None:
    """Stop a server at the gate ``saved-ROUND`` when a round's checkpoint is written and the next has not begun."""
    from server.progress import Progress

    save = Progress.save

    def gated(self: Progress, run: Any) -> None:
        save(self, run)
        pass_gate(Path(folder), f"saved-{self.round}")

    _replace(Progress, save=gated)


def shift_clock(seconds: float) -> None:
    """Let this process believe that it is ``seconds`` later than it is."""
    import flwr.supernode.node_auth_http_interceptor as interceptor

    right: Callable[[], float] = time.time
    _replace(time, time=lambda: right() + seconds)
    _replace(interceptor, now=lambda: datetime.datetime.fromtimestamp(time.time(), tz=datetime.UTC))


def enter_network(name: str) -> None:
    """Move this process into a network namespace that ``ip netns add`` made."""
    handle = os.open(f"/run/netns/{name}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.close(handle)
