"""Laws of a user's own data function."""

from pathlib import Path

import numpy as np
import pytest

from common.data import custom
from common.description import Data
from common.errors import UserError

BEGINNING = """
import numpy as np
def pair(count, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
    return images, np.arange(count) % 2
"""


def data(folder: Path, body: str) -> Data:
    (folder / "mine.py").write_text(BEGINNING + body, encoding="utf-8")
    return Data(source=f"{folder / 'mine.py'}:images")


def test_what_the_function_returns_is_read(tmp_path: Path) -> None:
    located = custom.locate(data(tmp_path, "def images(): return pair(20), None, pair(9, 2)"), tmp_path)
    opened = located.open()
    assert located.label == "mine.py:images"
    assert opened.public is None
    assert opened.test is not None
    assert opened.train.read(np.array([0, 19])).shape == (2, 3, 9, 9)
    assert len(opened.test.strata) == 9


def test_the_result_identifies_the_data(tmp_path: Path) -> None:
    bodies = ["def images(): return pair(20), None, pair(9)", "def images(): return pair(20), None, pair(9, 3)"]
    bodies += [bodies[0] + "\n# a comment", bodies[0] + "\nimages.classes = ('normal', 'ill')"]
    first, other, same, named = (custom.locate(data(tmp_path, body), tmp_path) for body in bodies)
    assert first.fingerprint == same.fingerprint
    assert len({first.fingerprint, other.fingerprint, named.fingerprint}) == 3
    assert named.open().classes == ("normal", "ill")


def test_one_process_calls_the_function_once_to_identify_the_data(tmp_path: Path) -> None:
    body = "calls = []\ndef images():\n    calls.append(1)\n    return pair(20, len(calls)), None, pair(9)"
    first = custom.locate(data(tmp_path, body), tmp_path)
    again = custom.locate(data(tmp_path, body), tmp_path)
    assert first.fingerprint == again.fingerprint
    assert len(again.open().train.strata) == 20


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def images(): return 1 / 0", r"mine\.py:images\(\) raised ZeroDivisionError: division by zero"),
        ("def images(needed): return 1", r"raised TypeError"),
        ("def images(): return None", "it returned None"),
        ("def images(): return pair(20), pair(9)", "it returned a tuple of 2"),
        ("def images(): return pair(20), None, None", "its test is None"),
        ("def images(): return pair(20), pair(9)[0], pair(9)", "its public is a ndarray"),
        ("def images(): return pair(20), None, (pair(9)[0], pair(8)[1])", "test: there are 9 images but 8 labels"),
        ("def images(): return pair(20), None, pair(9)\nimages.classes = 3", "must be a tuple of names"),
        ("images = 5", "is not a function"),
        ("image = 5", "has no 'images'; did you mean 'image'"),
        ("import nowhere", "could not be imported"),
    ],
)
def test_anything_else_is_a_sentence(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        custom.locate(data(tmp_path, body), tmp_path)
