"""Print what the image installs: the dependencies of pyproject.toml, without those that only a simulation needs."""

import re
import tomllib
from pathlib import Path

SIMULATION_ONLY = "ray"
"""220 MB, for `psreval run --runner ray`; a server or a node never imports it."""


def main() -> None:
    """Print one requirement a line, as ``pip install --requirement`` reads them."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"]:
        if not re.match(rf"{SIMULATION_ONLY}\b", requirement):
            print(requirement.replace("[simulation]", ""))


if __name__ == "__main__":
    main()
