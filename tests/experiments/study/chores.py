"""What the tests of the scheduler have done in worker processes; all of it leaves traces in files."""

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

from common.errors import UserError
from experiments.study.schedule import run_tasks
from experiments.study.tasks import Task


def chore(arguments: dict[str, Any]) -> None:
    """Do what ``kind`` says, and note the beginning and the end in ``folder``."""
    folder, name = Path(arguments["folder"]), arguments["name"]
    with (folder / "log").open("a") as log:
        log.write(f"begin {name}\n")
    match arguments.get("kind"):
        case "mistake":
            raise UserError("eps = -1: choose at least 0")
        case "defect":
            raise ValueError("a tensor of the wrong shape\nand a second line")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die once" if not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case "wait":
            time.sleep(arguments["seconds"])
        case "meet":
            while max(map(len, together(folder))) < 2:  # however slowly the second of all comes
                time.sleep(0.02)
            time.sleep(arguments["seconds"])  # so that a third would be seen
        case "wait for":
            (folder / f"{name}.host").write_text(str(os.getppid()))
            while not Path(arguments["file"]).exists():
                time.sleep(0.02)
        case "hold fast":
            (folder / f"{name}.pid").write_text(str(os.getpid()))
            re.match(r"(a+)+$", "a" * 60 + "b")  # for centuries, in C, and without letting another thread run
    with (folder / "log").open("a") as log:
        log.write(f"end {name}\n")


def task(folder: Path, name: str, *needs: str, kind: str = "", seconds: float = 1.0, **more: Any) -> Task:
    """A task for ``chore``."""
    arguments = {"folder": str(folder), "name": name, "kind": kind, "seconds": seconds}
    arguments |= {key: more.pop(key) for key in ("file",) if key in more}
    return Task(name, name, needs, arguments, seconds, **more)


def together(folder: Path) -> list[set[str]]:
    """Return who ran together, after each line of the log."""
    running: set[str] = set()
    seen = []
    for line in (folder / "log").read_text().splitlines():
        event, _, name = line.partition(" ")
        running = running | {name} if event == "begin" else running - {name}
        seen.append(running)
    return seen


def hold_fast(folder: Path) -> None:
    """Run two tasks that never end, as the command line would."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    try:
        run_tasks([task(folder, name, kind="hold fast") for name in ("one", "two")], chore, cores=2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    hold_fast(Path(sys.argv[1]))
