"""What every fault test tells of what happened, for docs/reliability.md."""

import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

Outcome = Callable[..., None]
FILE = "PSREVAL_OUTCOMES"
"""Environment variable: the file that outcomes are added to, one JSON object a line; nothing is kept without it."""


def _add(told: dict[str, Any]) -> None:
    if FILE in os.environ:
        with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")


@pytest.fixture(autouse=True, scope="session")
def _machine() -> None:
    """Note once where the outcomes come from."""
    python, flower = platform.python_version(), version("flwr")
    _add({"machine": f"{platform.system()}, {os.cpu_count()} cores, Python {python}, Flower {flower}"})


@pytest.fixture
def outcome(request: pytest.FixtureRequest) -> Outcome:
    """A function that notes ``(fault, what happened)``; a test calls it after it has checked that it did."""
    started = time.monotonic()

    def note(fault: str, happened: str, *, flower: str = "", timed: bool = True) -> None:
        told = {
            "part": request.path.stem.removeprefix("test_"),
            "fault": fault,
            "happened": happened,
            "flower": flower,
            "seconds": round(time.monotonic() - started, 1) if timed else None,
            "test": request.node.nodeid.partition("[")[0].rpartition("/")[2],
        }
        _add(told)

    return note
