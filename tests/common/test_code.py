"""The digest of the code: the same wherever the same code lies, another one for other code."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from common.code import PACKAGES, ROOT, code_digest, digest_of


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the code."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_copy_elsewhere_has_the_same_digest(copy: Path) -> None:
    assert digest_of(copy) == digest_of(ROOT)
    assert len(code_digest()) == 64


@pytest.mark.parametrize("package", PACKAGES)
def test_any_change_of_any_file_changes_it(copy: Path, package: str) -> None:
    before = digest_of(copy)
    file = copy / package / "__init__.py"
    text = file.read_text()
    file.write_text(text + "\n")
    assert digest_of(copy) != before
    file.write_text(text)
    assert digest_of(copy) == before
    file.rename(file.with_name("renamed.py"))
    assert digest_of(copy) != before


def test_what_is_no_client_s_code_does_not_count(copy: Path) -> None:
    before = digest_of(copy)
    (copy / "server").mkdir()
    (copy / "server" / "x.py").write_text("1")
    (copy / "clients" / "notes.txt").write_text("1")
    (copy / "clients" / "__pycache__").mkdir()
    (copy / "clients" / "__pycache__" / "x.pyc").write_bytes(b"1")
    assert digest_of(copy) == before


def test_moving_a_line_from_one_file_to_the_next_changes_it(copy: Path) -> None:
    for name, text in (("zz_a.py", "x\ny\n"), ("zz_b.py", "")):
        (copy / "clients" / name).write_text(text)
    before = digest_of(copy)
    for name, text in (("zz_a.py", "x\n"), ("zz_b.py", "y\n")):
        (copy / "clients" / name).write_text(text)
    assert digest_of(copy) != before


def test_the_digest_is_read_once() -> None:
    assert code_digest() is code_digest()


@pytest.mark.processes
def test_a_flower_app_bundle_has_the_checkout_s_digest(tmp_path: Path) -> None:
    flwr = Path(sys.executable).parent / "flwr"
    checkout = tmp_path / "psreval"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".git", ".venv", ".*cache", "runs", "__pycache__"))
    done = subprocess.run(
        [flwr, "build", "--app", checkout],
        cwd=tmp_path,
        env=os.environ | {"FLWR_HOME": str(tmp_path / "flower")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (bundle,) = tmp_path.glob("*.fab")
    with zipfile.ZipFile(bundle) as files:
        files.extractall(tmp_path / "unpacked")
    assert digest_of(tmp_path / "unpacked") == digest_of(checkout)
