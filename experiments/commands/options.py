"""Options that several commands share, and what their exit codes mean."""

from pathlib import Path
from typing import Annotated

import typer

EXIT_THRESHOLD, EXIT_MISTAKE, EXIT_DEFECT, EXIT_STOPPED = 1, 2, 3, 130

DescriptionArgument = Annotated[Path, typer.Argument(help="Experiment description (TOML).")]
ChangesOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change the description: --set federation.rounds=5 (may be repeated)."),
]
RunsOption = Annotated[Path, typer.Option("--runs", help="Where run folders are kept.", envvar="PSREVAL_RUNS")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
