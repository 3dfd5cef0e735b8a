"""The parts of ``make bench``, and what their numbers depend on besides the code that is measured."""

import os
from importlib.metadata import version
from typing import Any

from common.code import ALL_PACKAGES, code_digest
from server.provenance import commit, machine, now

PARTS = (
    "start",
    "attacks",
    "private",
    "int8",
    "evaluation",
    "federation",
    "memory",
    "deployment",
    "study",
)
"""In this order; ``growth``, ``peers`` and ``secure`` have commands of their own, since they draw figures, too."""
PACKAGES = ("torch", "opacus", "torchattacks", "flwr", "ray", "onnxruntime", "numpy")


def circumstances() -> dict[str, Any]:
    """Return machine, versions, commit, digest of the code, and the time and load of now, ready for JSON."""
    return {
        "machine": machine(),
        "versions": {package: version(package) for package in PACKAGES},
        "commit": commit(),
        "code": code_digest(ALL_PACKAGES),
        "started": now(),
        "load_before": round(os.getloadavg()[0], 2),
    }
