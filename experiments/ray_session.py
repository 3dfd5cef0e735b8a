"""Ray for as long as a piece of work needs it: started here or joined, quiet, and gone afterwards."""

import importlib.util
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from common.errors import UserError
from experiments.study.machine import available_cores
from experiments.study.worker import in_a_line

PATIENCE = 10.0
"""Seconds within which a cluster's address answers."""
OBJECTS = 80 * 2**20
"""Bytes of Ray's store of objects, the least that it accepts."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""A worker's environment: one core each, and sums of floating-point numbers in one order."""


@contextmanager
def ray_session(
    cores: int | None = None,
    address: str | None = None,
    *,
    objects: int = OBJECTS,
    instead: str = "use one process (cores = 0)",
) -> Iterator[Any]:
    """Start Ray here, or join a cluster, and yield it; leave nothing of this process there afterwards.

    Args:
        cores: that Ray hands out where it is started here; None: all that this process may use.
        address: of a running cluster; None starts Ray here.
        objects: bytes that arguments and results may take at once where it is started here, before they go to disk.
        instead: what a person can do without Ray.

    Raises:
        UserError: Ray is not installed, or could not start, or nothing answers at the address.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"Ray is not installed here; pip install 'ray>=2.55,<3', or {instead}")
    # Read when Ray is imported or started: no telemetry, no warnings, and `uv run` shall not upload this folder.
    for name, value in (
        ("RAY_USAGE_STATS_ENABLED", "0"),
        ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"),
        ("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0"),
    ):
        os.environ.setdefault(name, value)
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    try:
        try:
            _connect(ray, cores, address, objects)
        except (RuntimeError, ValueError, OSError) as error:
            where = f"the Ray cluster at {address} cannot be used" if address else "Ray could not start here"
            remedy = "see that it runs, with the Ray and Python of this machine" if address else instead
            raise UserError(f"{where} ({in_a_line(error)}); {remedy}") from error
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has put its own there
        ray._private.worker._worker_logs_enabled = False  # or Ray prints what it thinks of a lost worker
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, cores: int | None, address: str | None, objects: int) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if port.isdigit():  # Ray itself would try for a quarter of an hour
            socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
        passed = {name: value for name, value in os.environ.items() if name.startswith(("PSREVAL_", "FLWR_"))}
        ray.init(address=address, runtime_env={"env_vars": passed | ONE_THREAD}, **quiet)
        return
    # "local": never a cluster that happens to run here, nor what a killed study left behind.
    with _environment(ONE_THREAD):
        ray.init(
            address="local",
            num_cpus=cores or available_cores(),
            object_store_memory=max(OBJECTS, objects),
            include_dashboard=False,
            **quiet,
        )


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Set variables that the processes inherit that are started meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
