"""The deployment bench's own arithmetic; what it measures is no test."""

from experiments.bench.deployment import FLOWER, Run, description, findings, training_seconds


def test_training_is_taken_off_each_round_and_models_are_compared() -> None:
    runs = {
        FLOWER: [Run(100.0, (12.0, 14.0, 13.0), b"w"), Run(90.0, (11.0,), b"w")],
        "processes": [Run(20.0, (9.0, 2.0, 1.5), b"w"), Run(22.0, (2.5,), b"w")],
        "inprocess": [Run(6.0, (0.5, 0.75, 0.75), b"w"), Run(5.0, (0.75,), b"w")],
    }
    found = findings(runs, 0.25, rounds=3)
    assert (found[0].ours, found[0].other) == ([1.75, 2.25], [12.75, 10.75])
    assert found[0].reached()
    assert "equal models" in found[0].note
    assert "longest of ours took 9 s" in found[0].note
    assert (found[1].ours, found[1].other) == ([1.75, 2.25], [0.5, 0.5])
    assert (found[2].ours, found[2].other) == ([20.0, 22.0], [100.0, 90.0])
    assert (found[3].ours, found[3].other) == ([20.0, 22.0], [6.0, 5.0])
    assert not findings(runs, -2.0, rounds=3)[0].reached()
    runs["processes"][1] = Run(22.0, (2.5,), b"other")
    assert "2 DIFFERENT models" in findings(runs, 0.25, rounds=3)[0].note


def test_its_training_takes_almost_no_time() -> None:
    assert 0 < training_seconds(description()) < 600
