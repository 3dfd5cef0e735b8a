"""One program of the bench: it runs by itself, on one thread, and its last line is JSON."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.code import ROOT

PATIENCE = 1800.0
"""Seconds that one program may take."""


def answer(command: Sequence[str], place: Path, **environment: str) -> Any:
    """Run a program in the folder ``place`` and return the JSON of its last line.

    Args:
        command: its words.
        place: where it runs.
        environment: variables beyond those of this process.

    Raises:
        RuntimeError: it failed, or took more than ``PATIENCE`` seconds.
    """
    given = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"} | environment
    try:
        done = subprocess.run(
            command, cwd=place, env=given, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"it took more than {PATIENCE:g} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise RuntimeError(f"it failed: {lines[-1].strip()}")
    return json.loads(done.stdout.splitlines()[-1])
