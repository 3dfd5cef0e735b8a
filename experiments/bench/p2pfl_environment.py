"""An environment of its own for p2pfl, which needs other versions of packages than psreval; only benches ask for it."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from common.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent
PLACE = ROOT / "build" / "p2pfl"
"""Where it is kept; ``make clean`` removes it."""
VERSION = "0.4.4"
SIZE = "1.7 GB"
"""Of the environment."""
PATIENCE = 1800.0
"""Seconds that an installation may take."""
NEEDS = (
    f"p2pfl[dp]=={VERSION}",  # it imports its extra dp always
    "lightning>=2.4,<2.6",  # with its extra torch comes a torchvision that ends this torch; from 2.6 on the progress
    "pytorch-lightning<2.6",  # bars of nodes in one process break each other
    "torchmetrics>=1.3.1,<2",
    "pyarrow<21",  # later ones need numpy 2, which p2pfl does not allow
    "huggingface_hub<1",  # its datasets are from before
    "pydantic>=2.9,<3",  # ours, with the next: the network is psreval's
    "tomli-w>=1.1,<2",
)
"""What makes p2pfl work beside our torch."""
_MARK = ".installed"


def p2pfl_python(place: Path = PLACE) -> Path:
    """Return the Python that has p2pfl; install it if need be, which takes minutes and 1.7 GB, and say so before.

    torch and torchvision are those of this environment, so that both sides of a comparison compute with the same.

    Raises:
        UserError: it cannot be installed here.
    """
    python, wanted = place / "bin" / "python", " ".join(_needs())
    mark = place / _MARK
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return python
    print(
        f"p2pfl {VERSION} is installed now, in {place}: about {SIZE}, some minutes; --no-p2pfl does without", flush=True
    )
    for command in ([sys.executable, "-m", "venv", str(place)], [str(python), "-m", "pip", "install", "-q", *_needs()]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        except (OSError, subprocess.SubprocessError) as error:
            raise UserError(f"p2pfl could not be installed in {place}: {error}") from None
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
            raise UserError(f"p2pfl could not be installed in {place}: {lines[-1].strip()}")
    mark.write_text(wanted, encoding="utf-8")
    return python


def _needs() -> list[str]:
    own = [f"{package}=={version(package).partition('+')[0]}" for package in ("torch", "torchvision")]
    return [*own, *NEEDS]
