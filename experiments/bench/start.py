"""How long commands take that need nothing heavy, in processes of their own; and what the start of a run imports."""

import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from statistics import median

from common.code import ROOT
from experiments.bench.findings import Finding, at_most, interleaved
from experiments.known import KINDS

BOUND = 0.3
"""Seconds in which a command that needs nothing heavy was to answer."""
QUICK = (("--help",), ("run", "--help"), ("list",), *(("list", kind) for kind in KINDS))
IMPORTS = {"what `psreval run` imports": "experiments.run", "of it torch": "torch"}


def find(repeats: int) -> list[Finding]:
    """Time each command from its start to its end, in turn, after one call of each that does not count."""
    commands = {f"psreval {' '.join(words)}": ["-m", "experiments.cli", *words] for words in QUICK}
    commands |= {name: ["-c", f"import {module}"] for name, module in IMPORTS.items()}
    commands["python, nothing imported"] = ["-c", ""]
    times = interleaved({name: partial(python, words) for name, words in commands.items()}, repeats)
    return [
        Finding(
            name,
            "",
            "wall s",
            [one.wall for one in taken],
            [],
            at_most(BOUND) if name.startswith("psreval") else None,
            f"{median(one.cpu for one in taken):.2f} CPU s",
        )
        for name, taken in times.items()
    ]


def python(words: Sequence[str]) -> None:
    """Run this Python with these words, in the repository.

    Raises:
        CalledProcessError: it failed.
    """
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
