from dataclasses import asdict, replace

import pytest

from common.accounting import epsilon_of
from common.privacy import Entry, Ledger
from server.introduction import Participant, Spending
from server.ledgers import facts, ledger_table, planned, problem_with
from server.progress import Progress

ONE = Entry(1, 1.0, 0.1, 10, "a")
TWO = Entry(2, 1.0, 0.1, 10, "b")


def text(*entries: Entry) -> str:
    return Ledger(entries).to_json()


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (text(ONE, TWO), text(ONE), ""),
        (text(ONE, TWO), "", ""),
        (text(TWO), text(ONE), "has lost entries"),
        ("", text(ONE), "has lost entries"),
        (text(ONE), text(ONE), "no entry for this round"),
        ("{", "", "ledger is damaged"),
    ],
)
def test_a_ledger_may_grow_and_never_shrink(now: str, before: str, words: str) -> None:
    problem = problem_with(now, before, private=True, last_round=2)
    assert words in problem if words else problem == ""


def test_an_entry_of_a_round_to_come_is_refused() -> None:
    assert problem_with(text(ONE, TWO), "", private=True, last_round=1) != ""


def test_who_does_not_claim_privacy_needs_no_ledger() -> None:
    assert problem_with("", "", private=False, last_round=3) == ""


def about(**changes: object) -> dict:
    good = {
        "name": "a", "strategy": "honest", "honest": True, "private": True, "records": 100,
        "accountant": "rdp", "delta": 1e-3,
    }  # fmt: skip
    return good | changes


def assumed(number: int) -> dict:
    return {"round": number, "noise_multiplier": 1.0, "sampling_rate": 0.1, "steps": 10, "release": ""}


def test_a_round_whose_reply_was_lost_counts_as_announced() -> None:
    told = {"a": text(ONE)}
    lost = ledger_table(Progress(2, {}, ledgers=told, participants={"a": about()}, unconfirmed={"a": [assumed(2)]}))
    (row,) = lost["clients"]
    both = ((1.0, 0.1, 20),)
    assert row["epsilon"] == pytest.approx(epsilon_of(both, "rdp", 1e-3))
    assert row["epsilon_by_round"] == [pytest.approx(epsilon_of(((1.0, 0.1, 10),), "rdp", 1e-3)), row["epsilon"]]
    assert [entry.get("assumed", False) for entry in row["entries"]] == [False, True]
    assert lost["worst_honest_epsilon"] == row["epsilon"]


def test_each_client_has_its_own_accountant_and_delta() -> None:
    people = {"a": about(), "b": about(name="b", accountant="prv", delta=1e-5)}
    table = ledger_table(Progress(1, {}, ledgers={"a": text(ONE), "b": text(ONE)}, participants=people))
    spent = ((1.0, 0.1, 10),)
    assert [row["epsilon"] for row in table["clients"]] == [
        epsilon_of(spent, "rdp", 1e-3),
        epsilon_of(spent, "prv", 1e-5),
    ]
    assert [(row["accountant"], row["delta"]) for row in table["clients"]] == [("rdp", 1e-3), ("prv", 1e-5)]


def test_the_worst_honest_client_counts_and_a_malicious_one_does_not() -> None:
    people = {
        "a": about(),
        "b": about(name="b", honest=False, private=False, accountant=None, delta=None),
        "c": about(name="c"),
    }
    ledgers = {"a": text(ONE), "b": "", "c": text(ONE, TWO)}
    table = ledger_table(Progress(2, {}, ledgers=ledgers, participants=people))
    epsilons = {row["name"]: row["epsilon"] for row in table["clients"]}
    assert epsilons["b"] is None
    assert table["worst_honest_epsilon"] == epsilons["c"] > epsilons["a"]
    people["b"]["honest"] = True
    assert ledger_table(Progress(2, {}, ledgers=ledgers, participants=people))["worst_honest_epsilon"] is None


PRIVATE = Participant(1, 0, "a", 100, "honest", True, True, Spending("prv", 1e-5, 1.1, 0.2, 7))
OPEN = replace(PRIVATE, private=False, spending=None)


def test_a_private_client_s_facts_are_its_own() -> None:
    assert facts(PRIVATE) == {
        "name": "a", "number": 0, "strategy": "honest", "honest": True, "private": True, "records": 100,
        "accountant": "prv", "delta": 1e-5,
    }  # fmt: skip


def test_what_was_released_without_noise_is_not_taken_back_later() -> None:
    before = facts(OPEN)
    assert facts(PRIVATE, before)["private"] is False
    assert facts(PRIVATE, facts(PRIVATE))["private"] is True
    assert facts(OPEN, facts(PRIVATE))["private"] is False


def test_a_lost_round_is_planned_as_announced_and_costs_a_non_private_client_nothing() -> None:
    assert planned(PRIVATE, 4) == asdict(Entry(4, 1.1, 0.2, 7))
    assert planned(OPEN, 4) is None
