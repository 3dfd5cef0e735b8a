import numpy as np

from server.introduction import Participant
from server.lines import asked, not_asked, spoken_score, summary, told_score, why
from server.marks import Marks
from server.refusal import Refusal

A = Participant(1, 0, "a", records=30)
NAMES = ("a", "b", "c")


def told(present: list[Participant], listed: set[str], excluded: dict | None = None) -> dict[str, tuple[str, str]]:
    lines = not_asked(NAMES, present, listed, excluded or {})
    assert len({line["name"] for line in lines}) == len(lines)
    return {line["name"]: (line["status"], line["reason"]) for line in lines}


def test_no_reply_is_silence_with_the_seconds_that_were_waited() -> None:
    line = asked(A, 500, None, 90.0)
    assert (line["status"], line["reason"]) == ("silent", "no reply within 90 s")
    assert (line["bytes_down"], line["bytes_up"], line["examples"]) == (500, 0, 30)


def test_a_lost_node_is_silent_and_a_bad_update_refused() -> None:
    lost = asked(A, 0, Refusal("gone", strike=False, lost=True), 90.0)
    assert (lost["status"], lost["reason"], lost["strike"]) == ("silent", "gone", False)
    bad = asked(A, 0, Refusal("holds NaN", 77), 90.0)
    assert (bad["status"], bad["bytes_up"], bad["strike"]) == ("refused", 77, True)


def test_everybody_of_the_description_has_one_line_and_a_reason() -> None:
    present = [A, Participant(2, 1, "b", problem="no disk")]
    assert told(present, {"a"}) == {"b": ("absent", "no disk"), "c": ("absent", "not connected")}
    assert told([A], set()) == {
        "a": ("absent", "not sampled"), "b": ("absent", "not connected"), "c": ("absent", "not connected"),
    }  # fmt: skip


def test_whoever_is_excluded_has_the_reason_whether_it_is_there_or_not() -> None:
    excluded = {"b": {"round": 3, "reason": "3 of its updates were refused"}}
    for present in ([A], [A, Participant(2, 1, "b")], [A, Participant(2, 1, "b", problem="no disk")]):
        assert told(present, {"a"}, excluded)["b"] == ("excluded", "3 of its updates were refused")
        assert set(told(present, {"a"}, excluded)) == {"b", "c"}


def test_a_node_that_is_nobody_has_its_own_line() -> None:
    stranger = Participant(9, 3, "node 9", problem="did not introduce itself in time")
    assert told([A, stranger], {"a"})["node 9"] == ("absent", "did not introduce itself in time")


def test_a_second_node_of_a_name_is_told_apart_by_its_id() -> None:
    twins = [A, Participant(5, 0, "a", problem="taken"), Participant(6, 0, "a", problem="taken")]
    lines = told(twins, {"a"})
    assert {"node 5", "node 6"} <= set(lines)
    two = [Participant(5, 0, "a", problem="no disk"), Participant(6, 0, "a", problem="no memory")]
    assert told(two, set())["a"] == ("absent", "no disk")
    assert told(two, set())["node 6"] == ("absent", "no memory")


def test_why_a_round_was_skipped_names_everybody_s_reason() -> None:
    line = {
        "reason": "0 good updates",
        "clients": [{"name": "a", "status": "refused", "reason": "NaN"}, {"name": "b", "status": "accepted"}],
    }
    assert why(line) == "because of 0 good updates (a: NaN)"


def test_a_summary_names_who_was_left_out_and_why() -> None:
    good = {"name": "a", "status": "accepted", "reason": ""}
    bad = {"name": "b", "status": "refused", "reason": "w holds NaN or infinity"}
    line = {"round": 2, "status": "aggregated", "reason": "", "clients": [good, bad], "seconds": 1.25, "accuracy": 0.5}
    assert summary(line, 3) == (
        "round 2 of 3: 1 good updates in 1.2 s, 50.0% of public images right; b refused: w holds NaN or infinity"
    )
    skipped = line | {"status": "skipped", "reason": "1 good updates; the quorum is 2"}
    assert summary(skipped, 3).startswith("round 2 of 3: skipped, 1 good updates; the quorum is 2, 1 good updates in")


def test_dice_is_told_by_its_name_with_its_interval() -> None:
    marks = Marks(np.array([0.5, 0.7]), structures=np.ones((2, 3)))
    told = told_score(marks)
    assert (told["accuracy"], told["accuracy_records"], told["score"]) == (0.6, 2, "dice")
    assert told["interval"] == list(marks.interval)
    assert spoken_score(told) == "a mean Dice of 60.0% on public images"
    assert told_score(Marks(np.array([1.0, 0]))) == {"accuracy": 0.5, "accuracy_records": 2}
    assert spoken_score({"accuracy": 0.5}) == "50.0% of public images right"
