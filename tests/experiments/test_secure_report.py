"""A round's line, put together from what each peer knows."""

from experiments.secure_report import whole_line
from experiments.secure_rounds import own_part
from peers.secure.simulation import Traffic

NAMES = ["a", "b"]
VIEW = {
    "round": 2,
    "status": "aggregated",
    "reason": "",
    "clients": [{"name": name, "status": "accepted", "reason": "", "strike": False, "ignored": 0} for name in NAMES],
    "own": {"examples": 99},
    "missed": {},
    "seconds": 3.0,
    "training_seconds": 1.0,
    "accuracy": 0.5,
    "accuracy_records": 10,
}


def test_each_peers_own_part_comes_from_itself_and_zeros_from_who_told_nothing() -> None:
    line = whole_line(VIEW, NAMES, {"a": {2: own_part(None, Traffic(7, 8)), 3: {}}})
    assert line.keys() == {"round", "status", "reason", "clients", "accuracy", "accuracy_records", "seconds"}
    a, b = line["clients"]
    assert (a["name"], a["status"], a["bytes_up"], a["bytes_down"]) == ("a", "accepted", 7, 8)
    assert (b["bytes_up"], b["bytes_down"], b["examples"]) == (0, 0, 0)


def test_a_round_that_nobody_saw_to_its_end_has_no_result_here() -> None:
    line = whole_line({"round": 1, "status": "missed", "reason": "it was away", "clients": []}, NAMES, {})
    assert (line["status"], line["reason"], line["accuracy"]) == ("skipped", "it was away", None)
    assert [(one["name"], one["status"], one["reason"]) for one in line["clients"]] == [
        ("a", "absent", "it was away"),
        ("b", "absent", "it was away"),
    ]
