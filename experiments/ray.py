"""The Ray runner: Flower's own simulation engine, over the same ServerApp and ClientApp code."""

import importlib.util
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from common.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
"""Where this code was imported from; Ray's workers must import the same."""


def simulate(client_app: ClientApp, clients: int, serve: Callable[[Grid], None], *, gpus: float = 0.0) -> None:
    """Call ``serve(grid)`` with a grid of ``clients`` simulated nodes, one core each.

    Args:
        client_app: what every node runs.
        clients: how many nodes.
        serve: the server's work; what it raises is raised here.
        gpus: share of a GPU for each client.

    Raises:
        UserError: Ray is not installed, or could not start.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("--runner ray: Ray is not installed here; pip install 'flwr[simulation]', or use inprocess")
    _quiet()
    from flwr.simulation import run_simulation

    failures: list[BaseException] = []
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            serve(grid)
        except BaseException as error:  # carried over to the caller's thread; Flower would wrap it
            failures.append(error)

    # Ray puts the caller's folder first on its workers' path: name ours, so that a neighbour's `server/` cannot win.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([before] if before else [])])
    try:
        run_simulation(
            server_app=server_app,
            client_app=client_app,
            num_supernodes=clients,
            backend_config={
                "client_resources": {"num_cpus": 1, "num_gpus": gpus},
                "init_args": {"log_to_driver": False, "include_dashboard": False, "logging_level": logging.ERROR},
            },
        )
    except RuntimeError as error:
        if not failures:
            raise UserError(f"--runner ray: the simulation could not run ({error}); try --runner inprocess") from error
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    if failures:
        raise failures[0]


def _quiet() -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    for name in ("flwr", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # Flower logs the tracebacks of a run that is stopped
    threading.excepthook = lambda arguments: None  # what the server's work raises is raised by ``simulate``
