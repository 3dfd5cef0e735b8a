"""What the commands of peers print: what comes next, and help that names what there is."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from common.errors import UserError
from experiments.cli import app
from experiments.peer_certificates import make_peer_certificates

ROOT = Path(__file__).parents[3]
SMALL = ["data.train_records=40", "data.public_records=12", "data.test_records=12"]


def prepare(*words: str) -> str:
    """What `psreval peers prepare` prints for a small example."""
    changes = [word for change in SMALL for word in ("--set", change)]
    example = str(ROOT / "experiments" / "braintorrent.toml")
    done = CliRunner().invoke(app, ["peers", "prepare", example, *changes, *words])
    if isinstance(done.exception, UserError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def told_help(*words: str) -> str:
    """A command's help without the frame and the line breaks of a terminal."""
    return " ".join(CliRunner().invoke(app, [*words, "--help"]).output.replace("│", " ").split())


def test_after_preparing_come_the_certificates(tmp_path: Path) -> None:
    *folders, following, _ = prepare("--out", str(tmp_path)).splitlines()
    assert [Path(folder).parent for folder in folders] == [tmp_path] * 4
    assert following.startswith("Next come the certificates: psreval peers certificates ")
    out, *named = shlex.split(following)[7:]
    assert named[::2] == ["--peer"] * 4
    make_peer_certificates(Path(out), named[1::2])
    assert all((Path(folder) / "peer.crt").is_file() for folder in folders)


def test_a_peer_is_given_one_address(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--address a=b:2: a has one already, b:1; give each peer one address"):
        prepare("--out", str(tmp_path), "--address", "a=b:1", "--address", "a=b:2")
    assert list(tmp_path.iterdir()) == []


def test_help_names_what_there_is() -> None:
    assert "One whose file has a section peer.evaluation evaluates" in told_help("peer")
    words = told_help("peers", "prepare").split()
    (example,) = {word for word in words if word.startswith("experiments/") and word.endswith(".toml")}
    assert (ROOT / example).is_file()
