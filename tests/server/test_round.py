"""Who took part in which round: lines of rounds.jsonl while nodes are lost, come back, are replaced or pretend."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, RecordDict

from common.accounting import epsilon_of
from common.errors import UserError
from common.folder import RunFolder, read_arrays, read_json, read_lines
from common.privacy import Entry, Ledger
from server.federation import initial_model, run_federation
from server.progress import Progress
from server.round import most_examples
from tests.server import federation_fixture as fixture

Arrays = dict[str, np.ndarray]
NAMES = ("client-1", "client-2", "client-3")


def run(
    folder: Path, ward: fixture.Ward, clients: int = 3, identities: dict[int, str] | None = None, **changes: object
) -> list[dict[str, dict]]:
    """Return each round's lines, by name."""
    made, time = RunFolder(folder / "run"), fixture.Time()
    experiment = fixture.experiment(folder, clients, **({"federation__rounds": 4} | changes))
    run_federation(ward, experiment, fixture.dataset(), made, identities=identities, clock=time.clock, sleep=time.sleep)
    return [{client["name"]: client for client in line["clients"]} for line in read_lines(made.rounds)]


def statuses(rounds: list[dict[str, dict]], name: str) -> list[str]:
    return [clients[name]["status"] for clients in rounds]


def test_a_late_joiner_is_absent_until_it_comes(tmp_path: Path) -> None:
    def first(number: int, received: Arrays) -> RecordDict:
        if number == 2:
            ward.connected.add(3)
        return fixture.honest()(number, received)

    ward = fixture.Ward([first, fixture.honest(), fixture.honest()], NAMES, [1, 2])
    rounds = run(tmp_path, ward)
    assert statuses(rounds, "client-3") == ["absent", "absent", "accepted", "accepted"]
    assert rounds[0]["client-3"]["reason"] == "not connected"
    assert statuses(rounds, "client-1") == ["accepted"] * 4


def lost_in_the_first_round(node: int, back_as: int) -> fixture.Ward:
    """A ward whose ``node`` is lost while round 1 is trained; ``back_as`` is there from round 3 on."""

    def first(number: int, received: Arrays) -> RecordDict:
        if number == 1:
            ward.connected.discard(node)
        if number == 2:
            ward.connected.add(back_as)
        return fixture.honest()(number, received)

    ward = fixture.Ward([first, *[fixture.honest()] * 3], (*NAMES, "client-2"), [1, 2, 3])
    return ward


@pytest.mark.parametrize("node", [2, 4], ids=["the same node", "another node of the same name"])
def test_a_lost_client_is_silent_then_absent_and_takes_part_again_when_it_is_back(tmp_path: Path, node: int) -> None:
    rounds = run(tmp_path, lost_in_the_first_round(2, node))
    assert statuses(rounds, "client-2") == ["silent", "absent", "accepted", "accepted"]
    assert rounds[0]["client-2"]["reason"] == "its node was lost before its reply was whole: Node Unavailable"
    assert rounds[1]["client-2"]["reason"] == "not connected"
    assert all(set(clients) == set(NAMES) for clients in rounds)


def test_loss_is_no_strike(tmp_path: Path) -> None:
    ward = lost_in_the_first_round(2, 2)
    assert statuses(run(tmp_path, ward, federation__strikes_limit=1), "client-2")[-1] == "accepted"


def test_a_second_node_of_a_name_has_a_line_of_its_own_while_the_first_is_there(tmp_path: Path) -> None:
    ward = fixture.Ward([fixture.honest()] * 4, (*NAMES, "client-2"), [1, 2, 3, 4])
    for clients in run(tmp_path, ward):
        assert {name: client["status"] for name, client in clients.items()} == {
            **dict.fromkeys(NAMES, "accepted"),
            "node 4": "absent",
        }
        assert clients["node 4"]["reason"] == "the name 'client-2' is taken by a node that is connected"


def test_a_thief_of_a_name_takes_no_part_and_is_called_by_its_key_s_name(tmp_path: Path) -> None:
    ward = fixture.Ward([fixture.honest(), fixture.honest(9.0)], ("client-1", "client-1"), [1, 2])
    rounds = run(tmp_path, ward, 2, identities={1: "client-1", 2: "client-2"})
    assert statuses(rounds, "client-1") == ["accepted"] * 4
    assert statuses(rounds, "client-2") == ["absent"] * 4
    assert rounds[0]["client-2"]["reason"] == "its key belongs to 'client-2', but it says it is 'client-1'"
    start = initial_model(fixture.experiment(tmp_path, 2), fixture.dataset())
    final = read_arrays(RunFolder(tmp_path / "run").model)
    for name, parameter in start.named_parameters():
        torch.testing.assert_close(final[name], parameter.detach() + 0.4)


def test_rejoining_as_another_node_does_not_help_who_is_excluded(tmp_path: Path) -> None:
    def move(_: int, received: Arrays) -> RecordDict:
        ward.connected ^= {3, 4}
        return fixture.content({name: array * np.float32("nan") for name, array in received.items()})

    ward = fixture.Ward([fixture.honest(), fixture.honest(), move, move], (*NAMES, "client-3"), [1, 2, 3])
    rounds = run(tmp_path, ward, federation__strikes_limit=2)
    assert statuses(rounds, "client-3") == ["refused", "refused", "excluded", "excluded"]


def test_below_the_quorum_a_round_waits_and_then_everybody_is_there(tmp_path: Path) -> None:
    def first(number: int, received: Arrays) -> RecordDict:
        if number == 1:
            ward.connected = {1}
        return fixture.honest()(number, received)

    ward = fixture.Ward([first, fixture.honest(), fixture.honest()], NAMES, [1, 2, 3])
    made = RunFolder(tmp_path / "run")
    time = fixture.Time(lambda now: ward.connected.update({2, 3}) if now > 30 else None)
    experiment = fixture.experiment(tmp_path, 3, federation__rounds=2, federation__quorum=3)
    run_federation(ward, experiment, fixture.dataset(), made, clock=time.clock, sleep=time.sleep)
    first_line, second_line = read_lines(made.rounds)
    assert first_line["status"] == "skipped"
    assert second_line["status"] == "aggregated"
    assert 30 < time.now < 31


def test_a_federation_that_everybody_has_left_ends_with_a_sentence_in_bounded_time(tmp_path: Path) -> None:
    def leave(number: int, received: Arrays) -> RecordDict:
        ward.connected = set()
        return fixture.honest()(number, received)

    ward = fixture.Ward([fixture.honest(), fixture.honest(), leave], NAMES, [1, 2, 3])
    made, time = RunFolder(tmp_path / "run"), fixture.Time()
    experiment = fixture.experiment(
        tmp_path, 3, federation__rounds=9, federation__join_timeout=100, federation__skipped_rounds_limit=2
    )
    with pytest.raises(UserError, match=r"skipped_rounds_limit = 2.*no client can take part .*client-1: not connected"):
        run_federation(ward, experiment, fixture.dataset(), made, clock=time.clock, sleep=time.sleep)
    assert 300 <= time.now < 302
    assert [line["status"] for line in read_lines(made.rounds)] == ["aggregated", "skipped", "skipped", "skipped"]


ANNOUNCED = {
    "private": True, "accountant": "rdp", "delta": 1e-4, "noise_multiplier": 1.0, "sampling_rate": 0.1,
    "steps_per_round": 10,
}  # fmt: skip


def private(spoilt: int | None = None, killed: int | None = None) -> Callable[[int, Arrays], RecordDict]:
    """A private client that keeps its ledger; in round ``spoilt`` it sends NaN, in ``killed`` the server dies."""
    entries: list[Entry] = []

    def reply(number: int, received: Arrays) -> RecordDict:
        if number == killed:
            raise KeyboardInterrupt
        entries.append(Entry(number, 1.0, 0.1, 10, f"release {len(entries)}"))
        bad = np.float32("nan" if number == spoilt else 0.1)
        content = fixture.content({name: array + bad for name, array in received.items()})
        content["client"] = ConfigRecord({"ledger": Ledger(tuple(entries)).to_json()})
        return content

    return reply


def federate(folder: Path, behaviours: list, rounds: int) -> RunFolder:
    made = RunFolder(folder / "run")
    experiment = fixture.experiment(folder, len(behaviours), federation__rounds=rounds)
    run_federation(fixture.grid(behaviours, **ANNOUNCED), experiment, fixture.dataset(), made)
    return made


def test_epsilon_is_that_of_the_announced_accountant_and_a_refused_round_counts_as_announced(tmp_path: Path) -> None:
    table = read_json(federate(tmp_path, [private(), private(spoilt=2)], 2).ledger)
    first, second = table["clients"]
    spent = epsilon_of(((1.0, 0.1, 20),), "rdp", 1e-4)
    assert first["epsilon"] == second["epsilon"] == pytest.approx(spent)
    assert [entry.get("assumed", False) for entry in second["entries"]] == [False, True]
    assert [entry.get("assumed", False) for entry in first["entries"]] == [False, False]


def test_a_round_that_a_dying_server_had_asked_for_is_counted_until_the_client_tells(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path, [private(), private(killed=2)], 3)
    kept = Progress.load(RunFolder(tmp_path / "run"))
    assert kept is not None
    assert (kept.round, len(kept.rounds)) == (1, 1)
    assert {name: [entry["round"] for entry in entries] for name, entries in kept.unconfirmed.items()} == {
        "client-1": [2], "client-2": [2],
    }  # fmt: skip


def test_a_client_whose_ledger_was_lost_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path, [private(), private(killed=2)], 2)
    folder = federate(tmp_path, [private(), private()], 2)  # new clients, new ledgers
    (_, line) = read_lines(folder.rounds)
    assert {client["reason"] for client in line["clients"]} == {
        "its privacy ledger has lost entries that it had before"
    }


def test_a_count_that_nothing_else_bounds_is_at_most_ten_times_the_median() -> None:
    assert most_examples(None, 0, [100, 10, 10_000_000]) == 1000
    assert most_examples(50, 0, [100, 10]) == 50
    assert most_examples(None, 2000, [100, 10]) == 2000
    assert most_examples(None, 0, []) == 0
