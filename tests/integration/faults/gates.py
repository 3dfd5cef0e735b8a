"""Gates: files by which a test stops a process at an exact place, instead of sleeping and hoping."""

import time
from pathlib import Path


def pass_gate(folder: Path, name: str) -> None:
    """Say that a gate is reached; go on once nobody holds it."""
    (folder / f"{name}.reached").touch()
    while (folder / f"{name}.hold").exists():
        time.sleep(0.01)


def hold(folder: Path, name: str) -> None:
    """Close a gate before anybody comes to it."""
    (folder / f"{name}.hold").touch()


def release(folder: Path, name: str) -> None:
    """Open a gate."""
    (folder / f"{name}.hold").unlink()


def is_reached(folder: Path, name: str) -> bool:
    """Tell whether somebody has come to a gate."""
    return (folder / f"{name}.reached").exists()
