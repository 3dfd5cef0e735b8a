"""Flower's own programs, as its users start them, for comparisons and tests: in a home of their own, all ended."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent
"""Where ``flwr``, ``flower-superlink`` and ``flower-supernode`` lie."""


@contextmanager
def flower_home(home: Path) -> Iterator[dict[str, str]]:
    """Yield the environment in which Flower keeps everything below ``home``; end whatever runs in it afterwards.

    ``flwr run`` leaves a SuperLink running, which is found through ``/proc``.

    Args:
        home: a folder of the caller's own; need not be there.
    """
    try:
        yield os.environ | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(free_port()),
        }
    finally:
        mark = f"FLWR_HOME={home}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                continue


def run_command(project: Path, experiment: Path, runs: Path, *, clients: int | None = None, **more: str) -> list[str]:
    """Return the ``flwr run`` of an experiment, which prints what happens and ends with it.

    Args:
        project: the Flower App.
        experiment: the description's file.
        runs: where run folders are kept.
        clients: how many Flower simulates, one core each; None: a SuperLink of the caller's own is asked.
        more: further keys of the run configuration.
    """
    told = {"experiment": f'"{experiment}"', "runs": f'"{runs}"', **more}
    command = [str(BIN / "flwr"), "run", str(project), "--stream"]
    if clients is not None:
        command += ["--federation-config", f"num-supernodes={clients} client-resources-num-cpus=1"]
    return [*command, "--run-config", " ".join(f"{key}={value}" for key, value in told.items())]


def free_port() -> int:
    """Return a port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
