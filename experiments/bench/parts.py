"""The parts of ``make bench``, and what their numbers depend on besides the code that is measured."""

import os
from argparse import ArgumentParser
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path
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
STOPPED = 130
"""Exit code after Ctrl-C."""
PACKAGES = ("torch", "opacus", "torchattacks", "flwr", "ray", "onnxruntime", "numpy")


def check_choice(parser: ArgumentParser, what: str, names: Sequence[str], known: Collection[str], repeats: int) -> None:
    """End with a sentence where a ``what`` that was named is not known, or nothing is to be repeated."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        parser.error(f"no {what} {unknown[0]}; choose of {', '.join(known)}")
    if repeats < 1:
        parser.error(f"--repeats {repeats}: must be at least 1")


def check_folder(parser: ArgumentParser, option: str, folder: Path) -> None:
    """Make the folder of the results before anything is measured; end with a sentence where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"{option} {folder}: {error.strerror}; name a folder that can be written")


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
