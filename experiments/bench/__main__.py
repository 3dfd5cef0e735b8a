"""``python -m experiments.bench [PART ...]``: ``make bench``. Each part runs in a process of its own.

A part is a module of this package with ``find(repeats) -> list[Finding]``. Wall times depend on what else the machine
does; ratios taken side by side depend on it much less. Nothing here is a test: a slow machine is no defect.
"""

import argparse
import importlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common.code import ROOT
from experiments.bench.page import table
from server.provenance import machine

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


def run_part(name: str, repeats: int) -> dict[str, Any]:
    """Run one part in this process; return its findings with what they depend on."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    load = os.getloadavg()[0]
    findings = importlib.import_module(f"experiments.bench.{name}").find(repeats)
    return {
        "part": name,
        "machine": machine(),
        "versions": {package: version(package) for package in PACKAGES},
        "load_before": round(load, 2),
        "repeats": repeats,
        "findings": [asdict(finding) for finding in findings],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run parts one after the other, print their tables, and write ``OUT/PART.json``."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; without any: all")
    parser.add_argument("--repeats", type=int, default=5, help="of both sides, in turn")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder of the results")
    parser.add_argument("--here", action="store_true", help="in this process, printing JSON")
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part {unknown[0]}; choose of {', '.join(PARTS)}")
    if chosen.repeats < 1:
        parser.error(f"--repeats {chosen.repeats}: must be at least 1")
    parts = chosen.parts or PARTS
    if chosen.here:
        for part in parts:
            print(json.dumps(run_part(part, chosen.repeats)))
        return
    chosen.out.mkdir(parents=True, exist_ok=True)
    for part in parts:
        command = [sys.executable, "-m", "experiments.bench", part, "--here", "--repeats", str(chosen.repeats)]
        ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
        told = json.loads(ended.stdout.splitlines()[-1])
        (chosen.out / f"{part}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        print(table(told), flush=True)


if __name__ == "__main__":
    main()
