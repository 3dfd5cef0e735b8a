from pathlib import Path

import pytest
import torch

from common.privacy import Entry, Ledger
from server.ledgers import ledger_table, problem_with
from server.progress import Progress
from tests.server import federation_fixture as fixture

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
    return {"name": "a", "strategy": "honest", "honest": True, "private": True, "records": 100} | changes


def test_a_round_whose_reply_was_lost_counts_as_planned(tmp_path: Path) -> None:
    experiment = fixture.experiment(
        tmp_path, 2, privacy__enabled=True, privacy__accountant="rdp", privacy__delta=1e-3, federation__rounds=3
    )
    told = {"a": text(ONE)}
    confirmed = Progress(2, {"w": torch.zeros(1)}, ledgers=told, participants={"a": about()})
    lost = Progress(2, {"w": torch.zeros(1)}, ledgers=told, participants={"a": about()}, unconfirmed={"a": [2]})
    without, with_loss = ledger_table(experiment, confirmed), ledger_table(experiment, lost)
    assert with_loss["worst_honest_epsilon"] > without["worst_honest_epsilon"]
    assert [entry.get("assumed", False) for entry in with_loss["clients"][0]["entries"]] == [False, True]


def test_the_worst_honest_client_counts_and_a_malicious_one_does_not(tmp_path: Path) -> None:
    experiment = fixture.experiment(tmp_path, 2)
    people = {
        "a": about(),
        "b": about(name="b", honest=False, private=False),
        "c": about(name="c"),
    }
    ledgers = {"a": text(ONE), "b": "", "c": text(ONE, TWO)}
    table = ledger_table(experiment, Progress(2, {}, ledgers=ledgers, participants=people))
    epsilons = {row["name"]: row["epsilon"] for row in table["clients"]}
    assert epsilons["b"] is None
    assert table["worst_honest_epsilon"] == epsilons["c"] > epsilons["a"]
    people["b"]["honest"] = True
    assert (
        ledger_table(experiment, Progress(2, {}, ledgers=ledgers, participants=people))["worst_honest_epsilon"] is None
    )
