"""A round of the bench: its result is checked, and its phases are all of its time."""

import numpy as np
import pytest

from experiments import secure_cost
from experiments.secure_cost import Clock, cost


@pytest.mark.parametrize("rule", ["rsa", "norm-bounded-mean", "fltrust", "multi-krum", "median"])
def test_phases_are_nearly_all_that_is_computed(rule: str) -> None:
    told = cost(rule, 9, 2, 50)
    assert 0 < sum(told["phases"].values()) <= told["seconds"]
    assert {"keys", "dealing", "checks", "rows", "results"} <= told["phases"].keys()
    assert ("distances" in told["phases"]) == (rule == "multi-krum")
    assert told["up"] > 0
    assert told["memory"] > 10**6


def test_a_wrong_result_ends_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secure_cost.np, "array_equal", lambda one, other: False)
    with pytest.raises(RuntimeError, match="not that of the plain rule"):
        secure_cost._check(secure_cost.described("rsa", 9, 2), [np.zeros(3)] * 9, np.zeros(3), _one_round())


def _one_round() -> dict[int, secure_cost.RoundResult]:
    class Ruling:
        culprits = ()
        weights = dict.fromkeys(range(9), 1)

    class Outcome:
        ruling = Ruling()
        aborted = ""

    return {0: secure_cost.RoundResult(np.zeros(3), (Outcome(),))}  # type: ignore[arg-type]


def test_a_clock_counts_what_is_computed_between_phases_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 2.0, 5.0, 10.0, 11.0])
    monkeypatch.setattr(secure_cost.time, "process_time", lambda: next(now))
    clock = Clock()
    clock.resume("keys")
    clock.stop()
    clock.enter("dealing")
    clock.resume("checks")
    clock.stop()
    assert clock.seconds == {"keys": 2.0, "dealing": 3.0, "checks": 1.0}
