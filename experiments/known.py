"""What a description can name, told without importing it.

The registries import torch and Flower, which takes seconds. ``known.json`` has their names and lines; a test compares
it with them, and ``python -m experiments.known`` writes it anew.
"""

import json
import tomllib
from pathlib import Path

FILE = Path(__file__).with_name("known.json")
KINDS = ("clients", "attacks", "aggregation", "merge", "data", "models", "experiments")
"""In the order in which they are listed."""

Lines = dict[str, str]
"""Name → what it is, in a line."""


def known() -> dict[str, Lines]:
    """Return what there is of every kind; experiments, which are files, by their path."""
    written: dict[str, Lines] = json.loads(FILE.read_text(encoding="utf-8"))
    return written | {"experiments": experiments()}


def experiments() -> Lines:
    """Return the ready descriptions and what each says about itself."""
    files = sorted(FILE.parent.glob("*.toml"))
    return {shortest(file): tomllib.loads(file.read_text(encoding="utf-8")).get("description", "") for file in files}


def registered() -> dict[str, Lines]:
    """Return what the registries themselves say; takes seconds."""
    from attacks.catalogue import ATTACKS
    from clients.strategies import descriptions
    from common.data import SOURCES
    from common.models import MODELS
    from peers.merge import MERGE
    from server.aggregation import AGGREGATION

    return {
        "clients": descriptions(),
        "attacks": ATTACKS,
        "aggregation": {name: line for name, (_, line) in AGGREGATION.items()},
        "merge": MERGE,
        "data": SOURCES,
        "models": MODELS,
    }


def write() -> None:
    """Write the registries' names and lines to ``known.json``."""
    FILE.write_text(json.dumps(registered(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def shortest(path: Path) -> str:
    """Return a path as it is read here: relative, where it lies below the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


if __name__ == "__main__":
    write()
