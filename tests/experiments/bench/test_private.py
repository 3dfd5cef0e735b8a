"""The bench of the DP-SGD step runs, and its two private sides clip the same gradients."""

from dataclasses import replace

import pytest
import torch

from common.description import Training
from experiments.bench import private
from experiments.bench.private import CASES, SIDES, Case, find, step

TINY = [replace(case, width=8, size=32, records=3) for case in CASES]


@pytest.mark.parametrize("case", TINY, ids=[case.name or "own" for case in TINY])
def test_both_private_sides_clip_the_same_gradients(case: Case) -> None:
    ours, theirs = (step(case, side, gradients_only=True)() for side in ("ours", "opacus"))
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6)


def test_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "CASES", TINY[-1:])
    monkeypatch.setattr(private, "one_thread", lambda: None)
    asked: list[str] = []

    def grown(case: Case, side: str, training: Training) -> float:
        asked.append(side)
        return float(len(asked))

    monkeypatch.setattr(private, "_grown", grown)
    found = find(2)
    assert [finding.measure for finding in found] == ["CPU s"] * 4 + ["MiB"] * 2
    assert found[0].reached() is not None
    assert asked == [*SIDES, *SIDES]
    assert [(finding.ours, finding.other) for finding in found[4:]] == [
        ([1.0, 4.0], [2.0, 5.0]),
        ([1.0, 4.0], [3.0, 6.0]),
    ]


def test_growth_is_of_this_process() -> None:
    threads = torch.get_num_threads()
    try:
        assert 0 <= private.growth(CASES[-1].path, "ours", 2) < 1000
    finally:
        torch.set_num_threads(threads)
