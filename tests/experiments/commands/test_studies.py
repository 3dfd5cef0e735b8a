"""What the help of studies promises is true of every study."""

from typer.testing import CliRunner

from experiments.cli import app


def test_each_study_names_its_own_scales() -> None:
    told = CliRunner().invoke(app, ["study", "--help"]).output.replace("│", " ")
    assert "One of the scales that the study's file names. Default: small, or its first." in " ".join(told.split())
