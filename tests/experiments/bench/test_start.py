"""What the bench of the start times is what users type."""

import subprocess

import pytest

from experiments.bench.start import QUICK, python


def test_a_failing_command_is_no_measure() -> None:
    python(["-c", "pass"])
    with pytest.raises(subprocess.CalledProcessError):
        python(["-c", "raise SystemExit(2)"])


def test_every_kind_of_list_is_timed() -> None:
    assert {"--help", "list", "list attacks", "list clients"} <= {" ".join(words) for words in QUICK}
