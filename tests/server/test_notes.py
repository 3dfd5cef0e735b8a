from pathlib import Path

import numpy as np
import pytest

from common.data import Dataset
from common.data.dataset import Split
from common.folder import RunFolder, append_line
from server.marks import Marks
from server.notes import attendance_notes, unseeing, unseeing_note
from tests.server import federation_fixture as fixture


def line(status: str, **clients: str) -> dict:
    told = [{"name": name, "status": state, "reason": f"{name} is ill"} for name, state in clients.items()]
    return {"status": status, "reason": "0 good updates", "clients": told}


def test_whoever_was_left_out_is_named_with_the_reason(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    append_line(folder.rounds, line("aggregated", a="accepted", b="accepted"))
    append_line(folder.rounds, line("skipped", a="refused", b="refused"))
    append_line(folder.rounds, line("aggregated", a="accepted", b="silent"))
    skipped, first, second = (note["sentence"] for note in attendance_notes(folder))
    assert skipped.startswith("1 of 3 rounds were skipped")
    assert first == "a: 2 of 3 updates counted; the last that did not was refused: a is ill"
    assert second == "b: 1 of 3 updates counted; the last that did not was silent: b is ill"


def test_nobody_left_out_is_no_note(tmp_path: Path) -> None:
    append_line(RunFolder(tmp_path).rounds, line("aggregated", a="accepted"))
    assert attendance_notes(RunFolder(tmp_path)) == []


def test_a_model_that_always_says_the_commonest_class_is_noted() -> None:
    labels = np.array([0] * 70 + [1] * 30)
    (note,) = unseeing_note(Marks((labels == 0).astype(float)), 0.7, "classification")
    assert note["sentence"].endswith("which is right for 70.0%")
    assert unseeing_note(Marks(np.ones(100)), 0.7, "classification") == []


def test_the_unseeing_answer_is_the_commonest_class_or_the_commonest_mask() -> None:
    plain = fixture.dataset()
    assert unseeing(plain) == np.bincount(plain.test.labels).max() / len(plain.test)
    images = np.zeros((3, 1, 2, 2), np.uint8)
    public = Split(images, np.array([[[1, 1], [0, 0]], [[1, 0], [0, 2]], [[1, 1], [0, 2]]], np.uint8))
    test = Split(images[:2], np.array([[[1, 1], [0, 2]], [[1, 0], [0, 0]]], np.uint8))
    masks = Dataset("made", ("none", "a", "b"), public, public, test, True, "", (), task="segmentation")
    # The commonest mask is [[1, 1], [0, 2]]: right for the first image; Dice 2/3 of a, and 0 of b, for the second.
    assert unseeing(masks) == pytest.approx((1 + (2 / 3 + 0) / 2) / 2)
    (note,) = unseeing_note(Marks(np.full(4, 0.6), structures=np.ones((4, 3))), 0.61, "segmentation")
    assert note["sentence"].endswith("with its mean Dice of 61.0%")
