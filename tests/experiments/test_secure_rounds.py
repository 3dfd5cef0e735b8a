"""What a round leaves: who is named, for what, and when a run that comes to nothing ends."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.config import Experiment
from common.errors import UserError
from common.local_update import Failed, Learned
from experiments.secure_rounds import (
    check_skipped,
    exclusions,
    own_part,
    peer_line,
    summary,
    with_names,
    write_transcripts,
)
from peers.secure.cheats import FalseComplainer, Liar, Silent, SumLiar
from peers.secure.party import Player
from peers.secure.rounds import RoundResult
from peers.secure.simulation import Traffic
from tests.peers.secure.rounds import a_round, agreed

NAMES = {peer: f"peer {peer}" for peer in range(9)}
CHEATS = {3: Silent, 5: Liar}


@pytest.fixture(scope="module")
def result() -> RoundResult:
    """A round in which peer 3 says nothing and peer 5 opens wrong numbers."""
    outcome = agreed(a_round(cheats=CHEATS), CHEATS)
    return RoundResult(np.zeros(3), (outcome,))


def test_each_is_named_for_what_it_did(result: RoundResult) -> None:
    lines = {peer: peer_line(NAMES, peer, result, {}) for peer in NAMES}
    assert {peer: line["status"] for peer, line in lines.items() if line["status"] != "accepted"} == {
        3: "silent",
        5: "refused",
    }
    assert lines[3]["reason"] == "it said nothing in the phase 'keys'"
    assert lines[5]["reason"].startswith("it opened another number")
    assert [peer for peer, line in lines.items() if line["strike"]] == [5]
    assert [line["counts"] for line in lines.values()] == [float(peer not in (3, 5)) for peer in lines]


@pytest.mark.parametrize(
    ("cheat", "reason"),
    [(SumLiar, "it gave a wrong share of the sum"), (FalseComplainer, "it complained of more peers")],
)
def test_whose_update_is_in_the_step_is_accepted_and_what_it_did_then_is_told(cheat: type[Player], reason: str) -> None:
    outcome = agreed(a_round(cheats={2: cheat}), {2: cheat})
    line = peer_line(NAMES, 2, RoundResult(np.zeros(3), (outcome,)), {})
    assert (line["status"], line["counts"], line["strike"]) == ("accepted", 1.0, cheat is SumLiar)
    assert line["reason"].startswith(reason)


def test_without_a_step_nothing_counts_and_what_a_rule_leaves_out_does_not(result: RoundResult) -> None:
    lines = [peer_line(NAMES, peer, RoundResult(None, result.outcomes), {}) for peer in NAMES]
    assert {line["counts"] for line in lines} == {0.0}
    assert "accepted" not in {line["status"] for line in lines}
    ruling = result.outcomes[0].ruling
    kept = ruling.weights.pop(1)
    try:
        left = peer_line(NAMES, 1, result, {})
    finally:
        ruling.weights[1] = kept
    assert (left["status"], left["reason"], left["strike"]) == ("refused", "the rule left it out", False)


def test_peers_are_told_by_name() -> None:
    names = {0: "anna", 1: "bert", 12: "carl"}
    assert with_names("peers 0, 12 were silent, and member 1 of 12 got no part of peer 1", names) == (
        "anna, carl were silent, and bert of 12 got no part of bert"
    )
    assert with_names("peer 7 lied", names) == "7 lied"


def test_who_was_caught_before_is_excluded_and_a_failed_training_is_told(result: RoundResult) -> None:
    before = {"peer 5": {"round": 2, "reason": "it lied"}}
    assert peer_line(NAMES, 5, result, before)["status"] == "excluded"
    failed = peer_line(NAMES, 1, result, {}, failure="no memory")
    assert failed["status"] == "refused"
    assert failed["reason"].endswith("it voted by lot: no memory")


def test_who_was_caught_takes_no_part_from_the_next_round_on(result: RoundResult) -> None:
    found = exclusions(4, result, NAMES)
    assert found.keys() == {"peer 5"}
    assert found["peer 5"]["round"] == 5
    assert "(round 4, evidence)" in found["peer 5"]["reason"]


def test_transcripts_are_numbered_by_round_and_aggregation(result: RoundResult, tmp_path: Path) -> None:
    write_transcripts(tmp_path, 2, result, NAMES)
    write_transcripts(tmp_path, 3, RoundResult(None, result.outcomes * 2), NAMES)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["round-2.jsonl", "round-3-1.jsonl", "round-3-2.jsonl"]


def test_what_a_peer_knows_of_itself() -> None:
    learned = Learned({}, {}, 24, {"train-loss": 0.5}, "")
    assert own_part(learned, Traffic(3, 4)) == {
        "local_updates": 1, "examples": 24, "accuracy": None, "metrics": {"train-loss": 0.5}, "norm": None,
        "bytes_up": 3, "bytes_down": 4,
    }  # fmt: skip
    assert own_part(Failed("no memory", ""), None)["examples"] == 0


def test_a_sentence_tells_of_a_round(result: RoundResult) -> None:
    line = {"round": 2, "status": "skipped", "reason": "too few", "clients": [peer_line(NAMES, 5, result, {})]}
    assert summary(line, 3).startswith("round 2 of 3: no result: too few; peer 5 refused: it opened another number")


def test_a_run_ends_after_too_many_rounds_in_a_row_without_a_result() -> None:
    described = Experiment.model_validate({"protocol": "secure", "clients": [{"count": 5}],
                                           "federation": {"skipped_rounds_limit": 2}})  # fmt: skip
    bad: dict[str, Any] = {"status": "skipped", "reason": "too few"}
    good = {"status": "aggregated", "reason": ""}
    check_skipped(described, [bad, bad])
    check_skipped(described, [bad, bad, good, bad, bad])
    with pytest.raises(UserError, match="3 rounds in a row had no result, the last: too few"):
        check_skipped(described, [good, bad, bad, bad])
