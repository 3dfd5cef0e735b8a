"""The lines of rounds.jsonl without a server, from lines of updates that are known by heart."""

from typing import Any

from experiments.peer_rounds import Scores, round_line, summary, updates_in_order, updates_of_round
from experiments.run_formats import Round
from tests.peers.toy_fixture import toy

NAMES = ["peer 0", "peer 1", "peer 2"]
SCORES = Scores({"accuracy": 0.5, "accuracy_records": 30}, {"peer 0": 0.25, "peer 1": None, "peer 2": 0.75}, 30)


def update(step: int, peer: int, **told: Any) -> dict[str, Any]:
    line = {
        "step": step, "peer": NAMES[peer], "turn": 1, "version": 1, "traffic": {}, "refused": {}, "skipped": {},
        "excluded": [], "failed": "", "records": 10 * (peer + 1), "metrics": {"loss": 1.0}, "norm": 2.0, "bytes": 0,
    }  # fmt: skip
    line |= told
    line["bytes"] = sum(sum(pair) for pair in line["traffic"].values())
    return line


def first() -> list[dict[str, Any]]:
    return [update(place, place) for place in range(3)]


def line(second: list[dict[str, Any]], scores: Scores = SCORES) -> dict[str, Any]:
    found = round_line(2, toy(3, 2), [*first(), *second], scores, 1.5)
    Round.model_validate(found)
    return found


def statuses(found: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(client["status"], client["strike"]) for client in found["clients"]]


def test_bytes_go_up_at_who_sends_them_and_down_at_who_gets_them_and_count_once() -> None:
    found = line([
        update(3, 0, traffic={"peer 1": [10, 100], "peer 2": [11, 1000]}),
        update(4, 0, traffic={"peer 1": [10, 0], "peer 2": [11, 0]}),
        update(5, 2, traffic={"peer 0": [12, 5]}),
    ])  # fmt: skip
    sent = {client["name"]: (client["bytes_up"], client["bytes_down"]) for client in found["clients"]}
    assert sent == {"peer 0": (42 + 5, 1100 + 12), "peer 1": (100, 20), "peer 2": (1000 + 12, 22 + 5)}
    assert sum(up for up, _ in sent.values()) == sum(down for _, down in sent.values()) == found["bytes_moved"] == 1159
    assert [client["local_updates"] for client in found["clients"]] == [2, 0, 1]
    assert found["local_updates"] == 6
    assert statuses(found) == [("accepted", False)] * 3
    assert [client["accuracy"] for client in found["clients"]] == [0.25, None, 0.75]


def test_what_others_saw_of_a_peer_is_its_status() -> None:
    found = line([
        update(3, 0, refused={"peer 1": "its status is not JSON"}, skipped={"peer 2": "no answer within 5 s"}),
        update(4, 0, failed="it diverged"),
        update(5, 0),
    ])  # fmt: skip
    assert statuses(found) == [("refused", False), ("refused", True), ("silent", False)]
    reasons = [client["reason"] for client in found["clients"]]
    assert reasons == [
        "its own training failed: it diverged",
        "peer 0 refused its answer: its status is not JSON",
        "peer 0 skipped it: no answer within 5 s",
    ]
    assert found["local_updates"] == 5
    told = summary({**found, "bytes_moved": 2_000_000}, 2)
    assert "round 2 of 2: 5 local updates so far, 2.0 MB moved, 50.0% of public images right; peer 0 refused:" in told


def test_a_peer_that_nobody_asks_any_more_is_excluded() -> None:
    gone = {"excluded": ["peer 1"], "traffic": {"peer 2": [1, 1]}}
    found = line([update(3, 0, **gone), update(4, 1), update(5, 2, excluded=["peer 1"], traffic={"peer 0": [1, 1]})])
    assert [status for status, _ in statuses(found)] == ["accepted", "excluded", "accepted"]
    found = line([update(3, 0, **gone), update(4, 1), update(5, 2, traffic={"peer 1": [1, 1]})])
    assert [status for status, _ in statuses(found)] == ["accepted", "accepted", "accepted"]


def test_without_any_model_the_round_is_skipped() -> None:
    found = line([update(step, 0) for step in (3, 4, 5)], Scores(None, {}, 30))
    assert (found["status"], found["accuracy"], found["accuracy_records"]) == ("skipped", None, 30)
    assert "no model could be had" in summary(found, 2)


def test_updates_are_ordered_by_step_or_by_turn_where_nobody_knows_it() -> None:
    known = [update(step, 0) for step in (2, 0, 1)]
    assert [line["step"] for line in updates_in_order(known)] == [0, 1, 2]
    unknown = [update(0, peer, turn=turn) | {"step": None} for peer, turn in ((1, 2), (1, 1), (0, 2), (0, 1))]
    order = [(line["turn"], line["peer"]) for line in updates_in_order(unknown)]
    assert order == [(1, "peer 0"), (1, "peer 1"), (2, "peer 0"), (2, "peer 1")]
    assert [line["step"] for line in updates_of_round(2, [update(step, 0) for step in range(9)], 3)] == [3, 4, 5]
