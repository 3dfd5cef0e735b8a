from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.folder import RunFolder, append_line
from experiments.attendance import attendance, spans
from experiments.run_files import read_run

MakeRun = Callable[..., RunFolder]


def with_rounds(folder: RunFolder, *rounds: list[dict]) -> RunFolder:
    folder.rounds.unlink()
    for number, clients in enumerate(rounds, start=1):
        append_line(folder.rounds, {"round": number, "status": "aggregated", "clients": clients})
    return folder


def line(status: str, name: str = "north hospital", **more: object) -> dict:
    return {"name": name, "status": status, "reason": f"{status} for a reason", **more}


def test_outcomes_come_round_by_round_and_counted(finished_run: RunFolder) -> None:
    rounds = [
        [line("accepted")], [line("refused", strike=True)], [line("refused", strike=False)], [line("silent")],
        [line("absent")], [line("absent")], [line("excluded")], [line("excluded")], [],
    ]  # fmt: skip
    north = attendance(read_run(with_rounds(finished_run, *rounds)))[0]
    assert north.outcomes == (
        "accepted", "refused", "failed", "silent", "absent", "absent", "excluded", "excluded", None,
    )  # fmt: skip
    assert north.times["absent"] == "2 (rounds 5–6)"
    assert north.times["failed"] == "1 (round 3)"
    assert north.excluded == "since round 7: excluded for a reason"


def test_a_refusal_of_which_nothing_more_is_known_counts_as_one(finished_run: RunFolder) -> None:
    assert attendance(read_run(with_rounds(finished_run, [line("refused")])))[0].outcomes == ("refused",)


def test_a_name_claimed_twice_is_the_one_that_took_part(finished_run: RunFolder) -> None:
    twice = [line("absent"), line("accepted", ignored=2), line("refused")]
    north = attendance(read_run(with_rounds(finished_run, twice)))[0]
    assert (north.outcomes, north.ignored) == (("accepted",), 2)


def test_where_everybody_was_there_are_no_rows(finished_run: RunFolder) -> None:
    names = ("north hospital", "south hospital", "east hospital")
    everybody = [line("accepted", name) for name in names]
    assert attendance(read_run(with_rounds(finished_run, everybody, everybody))) == []
    assert len(attendance(read_run(with_rounds(finished_run, everybody, everybody[:2])))) == 3


@pytest.mark.parametrize(
    ("numbers", "told"), [([], ""), ([4], "4"), ([1, 2], "1–2"), ([7, 5, 2, 6], "2, 5–7"), ([3, 3, 1], "1, 3")]
)
def test_spans_by_hand(numbers: list[int], told: str) -> None:
    assert spans(numbers) == told


@given(st.lists(st.integers(1, 50)))
def test_spans_name_these_numbers_and_no_others(numbers: list[int]) -> None:
    named: list[int] = []
    for span in filter(None, spans(numbers).split(", ")):
        low, _, high = span.partition("–")
        named += range(int(low), int(high or low) + 1)
    assert named == sorted(set(numbers))
