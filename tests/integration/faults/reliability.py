"""Writes docs/reliability.md from what the fault tests told of themselves.

export PSREVAL_OUTCOMES=/tmp/outcomes.jsonl
python -m pytest tests/integration/faults     # as often as there shall be repeats
python -m tests.integration.faults.reliability $PSREVAL_OUTCOMES docs/reliability.md
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PARTS = {
    "replies": "Bad replies",
    "node_loss": "Nodes that are lost",
    "server_loss": "A server that is lost",
    "runner": "A runner that is stopped",
    "doors": "Who may not come in",
    "machine": "Machines",
    "partition": "The network between them",
}
"""Of a test file's name → a heading, in the order of the document."""


def document(lines: list[dict[str, Any]]) -> str:
    """Return the document: the head that is written by hand, and a table for each part.

    Args:
        lines: what one or more runs of the tests noted; each run begins with a line ``machine``.
    """
    machines = [line["machine"] for line in lines if "machine" in line]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines:
        if "fault" in line:
            found.setdefault((line["part"], line["fault"]), []).append(line)
    text = (HERE / "reliability_head.md").read_text(encoding="utf-8")
    text += "\n## What was done, and what happened\n\n" + _about(machines)
    for part, heading in PARTS.items():
        rows = [_row(fault, told, len(machines)) for (of, fault), told in found.items() if of == part]
        if rows:
            text += f"\n### {heading}\n\n| fault | Flower 1.41 | here | s | test |\n|---|---|---|---|---|\n" + "".join(
                rows
            )
    return text


def _about(machines: list[str]) -> str:
    kinds = "; ".join(dict.fromkeys(machines))
    repeats = f"{len(machines)} runs" if len(machines) > 1 else "one run"
    return (
        f"Taken from {repeats} of `pytest tests/integration/faults` ({kinds}).\n"
        "Seconds are a test's, the median over the runs, with other work on the machine; rows without share a\n"
        "federation. Flower's column says what its own SuperLink, SuperNodes and strategies did with the same fault,\n"
        "where that was measured.\n"
    )


def _row(fault: str, told: list[dict[str, Any]], runs: int) -> str:
    last = told[-1]
    times = [line["seconds"] for line in told if line["seconds"] is not None]
    seconds = f"{statistics.median(times):.0f}" if times else ""
    held = "" if len(told) == runs else f" ({len(told)} of {runs} runs)"
    cells = [fault, last["flower"], last["happened"] + held, seconds, f"`{last['test'].rpartition('::')[2]}`"]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"


if __name__ == "__main__":
    noted = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    Path(sys.argv[2]).write_text(document(noted), encoding="utf-8")
