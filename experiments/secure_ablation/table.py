"""The table: each check of the secure protocol, the attack that it stops, and what comes of that with and without it.

``python -m experiments.secure_ablation.table [FILE]`` writes it as Markdown.
"""

import sys
from pathlib import Path

from common.folder import write_text
from experiments.secure_ablation.rows import rows


def markdown() -> str:
    """Return the table, from rounds that are played now."""
    lines = ["| check | attack | with it | without it |", "|---|---|---|---|"]
    lines += [f"| {row.check} | {row.attack} | {row.tried(check=True)} | {row.tried(check=False)} |" for row in rows()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write_text(Path(sys.argv[1]), markdown())
    else:
        print(markdown(), end="")
