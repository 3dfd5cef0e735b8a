from pathlib import Path

import numpy as np

from common.folder import RunFolder, append_line
from server.evaluator import attendance_notes, majority_note, sample
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
    assert majority_note(np.eye(2)[np.zeros(100, dtype=int)], labels) != []
    assert majority_note(np.eye(2)[labels], labels) == []


def test_no_number_means_all_records() -> None:
    labels = fixture.dataset().test.labels
    assert sample(labels, None, np.random.default_rng(0)).tolist() == list(range(len(labels)))
    assert len(sample(labels, 5, np.random.default_rng(0))) == 5
