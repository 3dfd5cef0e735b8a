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
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.code import ROOT
from common.folder import write_text
from experiments.bench.page import table
from experiments.bench.parts import PARTS, STOPPED, check_choice, check_folder, circumstances

AS_IT_COMES = ("attacks", "private")
"""Parts whose sides share a process: neither has freed memory kept, which libraries do not ask for."""


def run_part(name: str, repeats: int) -> dict[str, Any]:
    """Run one part in this process; return its findings with what they depend on."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}  # Flower's side asks nobody
    if name in AS_IT_COMES:
        os.environ["MALLOC_ARENA_TEST"] = "8"  # glibc's own number; that it is said keeps ``common.allocator`` away
    before, started = circumstances(), time.monotonic()
    findings = importlib.import_module(f"experiments.bench.{name}").find(repeats)
    seconds = round(time.monotonic() - started, 1)
    return {
        "part": name,
        **before,
        "repeats": repeats,
        "seconds": seconds,
        "findings": [asdict(finding) for finding in findings],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run parts one after the other, print their tables, and write ``OUT/PART.json``; a part that fails is told."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; without any: all")
    parser.add_argument("--repeats", type=int, default=5, help="of both sides, in turn")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder of the results")
    parser.add_argument("--here", action="store_true", help="in this process, printing JSON")
    chosen = parser.parse_args(arguments)
    check_choice(parser, "part", chosen.parts, PARTS, chosen.repeats)
    parts = chosen.parts or PARTS
    try:
        if chosen.here:
            for part in parts:
                print(json.dumps(run_part(part, chosen.repeats)))
            return
        check_folder(parser, "--out", chosen.out)
        failed = [part for part in parts if not _told(part, chosen.repeats, chosen.out)]
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _told(part: str, repeats: int, out: Path) -> bool:
    """Run a part in a process of its own, print its table and write its file; tell whether it did not fail."""
    command = [sys.executable, "-m", "experiments.bench", part, "--here", "--repeats", str(repeats)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            said, _ = child.communicate()
        except KeyboardInterrupt:
            child.communicate()  # it has heard it, too, and ends what it has started
            raise
    if child.returncode != 0:
        print(f"### {part}\n\nfailed; see above\n", flush=True)
        return False
    told = json.loads(said.splitlines()[-1])
    print(table(told), flush=True)
    write_text(out / f"{part}.json", json.dumps(told, indent=1) + "\n")
    return True


if __name__ == "__main__":
    main()
