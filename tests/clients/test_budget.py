"""A hospital's budget: no sequence of a server's requests spends more."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.budget import Budget, BudgetSpentError, KeptLedger
from clients.hospital import HospitalPrivacy
from clients.memory import LEDGER, InFolder, Introduction, read_ledger, write_introduction
from common.config import Experiment
from common.exchange import from_record
from common.privacy import Entry, Ledger, calibrate
from tests.clients.client_fixture import PRIVATE, ask, hospitals, join, own_log, refusal, tiny
from tests.clients.test_place import file_of

ROUNDS = 4
NO_ROOM = "a: its privacy budget does not allow this round; its own log says why"
PRIVACY = HospitalPrivacy(enabled=True, epsilon=3.0, delta=1e-3, accountant="rdp")


def introduced(memory: InFolder, privacy: HospitalPrivacy = PRIVACY) -> Introduction:
    introduction = Introduction(calibrate(privacy, records=40, batch_size=8, local_epochs=1, rounds=ROUNDS), ROUNDS)
    write_introduction(memory, introduction)
    return introduction


def kept(memory: InFolder, privacy: HospitalPrivacy = PRIVACY) -> KeptLedger:
    return KeptLedger(memory, Budget("a", privacy, introduced(memory, privacy)))


def planned(number: int, release: str = "") -> Entry:
    plan = calibrate(PRIVACY, records=40, batch_size=8, local_epochs=1, rounds=ROUNDS)
    return Entry(number, plan.noise_multiplier, plan.sampling_rate, plan.steps_per_round, release)


ENTRIES = st.builds(
    Entry,
    round=st.integers(1, 6),
    noise_multiplier=st.floats(0.3, 50),
    sampling_rate=st.floats(0.01, 1),
    steps=st.integers(0, 40),
    release=st.sampled_from(["", "x", "y"]),
)
REQUESTS = st.lists(ENTRIES | st.builds(planned, st.integers(1, 6), st.sampled_from(["", "x", "y"])), max_size=12)


@settings(max_examples=60, deadline=None)
@given(requests=REQUESTS, lifetime=st.sampled_from([None, 3.0, 4.0]))
def test_the_ledger_never_exceeds_the_budget(
    tmp_path_factory: pytest.TempPathFactory, requests: list[Entry], lifetime: float | None
) -> None:
    state = tmp_path_factory.mktemp("state")
    privacy = PRIVACY.model_copy(update={"lifetime_epsilon": lifetime})
    first, second = (kept(InFolder(state, run), privacy) for run in ("first", "second"))
    for place, entry in enumerate(requests):
        ledger = (first, second)[place % 2]
        before = ledger.entries
        try:
            ledger.spend(entry)
        except BudgetSpentError:
            assert ledger.entries == before
    written = [read_ledger(InFolder(state, run)) for run in ("first", "second")]
    assert [ledger.entries for ledger in written] == [first.entries, second.entries]
    for ledger in written:
        assert ledger.epsilon("rdp", 1e-3) <= 3.0 * (1 + 1e-6)
    if lifetime is not None:
        both = Ledger((*first.entries, *second.entries))
        assert both.epsilon("rdp", 1e-3) <= lifetime * (1 + 1e-6)


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_the_planned_rounds_are_allowed_and_not_one_more(tmp_path: Path, accountant: str) -> None:
    privacy = PRIVACY.model_copy(update={"accountant": accountant})
    memory = InFolder(tmp_path, "run")
    ledger = kept(memory, privacy)
    plan = calibrate(privacy, records=40, batch_size=8, local_epochs=1, rounds=ROUNDS)
    for number in range(1, ROUNDS + 1):
        ledger.check_room(number)
        ledger.spend(Entry(number, plan.noise_multiplier, plan.sampling_rate, plan.steps_per_round))
    with pytest.raises(BudgetSpentError, match=r"a: this round would bring the run's ε to 3\.\d+, above its budget"):
        ledger.check_room(ROUNDS + 1)
    with pytest.raises(BudgetSpentError):
        ledger.spend(Entry(ROUNDS + 1, plan.noise_multiplier, plan.sampling_rate, plan.steps_per_round))
    assert len(read_ledger(memory).entries) == ROUNDS


def test_a_repeated_release_is_free_where_another_one_is_not(tmp_path: Path) -> None:
    ledger = kept(InFolder(tmp_path, "run"))
    for number in range(1, ROUNDS + 1):
        ledger.spend(planned(number, "x"))
    ledger.check_room(2)
    ledger.spend(planned(2, "x"))
    assert len(ledger.entries) == ROUNDS
    with pytest.raises(BudgetSpentError):
        ledger.spend(planned(2, "y"))


def test_an_entry_is_on_the_disk_before_spend_returns(tmp_path: Path) -> None:
    memory = InFolder(tmp_path, "run")
    ledger = kept(memory)
    ledger.spend(planned(1))
    assert read_ledger(memory).entries == (planned(1),)
    assert KeptLedger(memory).entries == (planned(1),)


def test_without_a_budget_everything_is_written_down(tmp_path: Path) -> None:
    memory = InFolder(tmp_path, "run")
    introduced(memory)
    ledger = KeptLedger(memory)
    for number in range(20):
        ledger.check_room(number)
        ledger.spend(planned(number + 1))
    assert len(read_ledger(memory).entries) == 20


def test_a_plan_above_the_budget_is_refused_before_the_first_round(tmp_path: Path) -> None:
    loud = PRIVACY.model_copy(update={"noise_multiplier": 0.5})
    budget = Budget("a", loud, introduced(InFolder(tmp_path, "run"), loud))
    with pytest.raises(
        BudgetSpentError, match=r"a: noise of 0\.5 times the clip norm spends ε = .* over the announced 4"
    ):
        budget.check_plan([])
    thrifty = PRIVACY.model_copy(update={"lifetime_epsilon": 3.5})
    budget = Budget("a", thrifty, introduced(InFolder(tmp_path, "other"), thrifty))
    budget.check_plan([])
    earlier = Ledger(tuple(planned(number) for number in (1, 2, 3)))
    with pytest.raises(
        BudgetSpentError, match=r"with its earlier runs this run would bring its ε to .*lifetime_epsilon"
    ):
        budget.check_plan([earlier])


def test_a_budget_that_the_hospital_lowers_during_the_run_holds_from_then_on(tmp_path: Path) -> None:
    memory = InFolder(tmp_path, "run")
    introduction = introduced(memory)
    spent = [Ledger(tuple(planned(n) for n in range(1, last + 1))).epsilon("rdp", 1e-3) for last in (1, 2, 3)]
    lower = PRIVACY.model_copy(update={"epsilon": (spent[1] + spent[2]) / 2})
    ledger = KeptLedger(memory, Budget("a", lower, introduction))
    for number in (1, 2):
        ledger.spend(planned(number))
    for refuse in (lambda: ledger.check_room(3), lambda: ledger.spend(planned(3))):
        with pytest.raises(BudgetSpentError):
            refuse()


def test_planned_rounds_are_not_denied_by_an_accountant_that_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = kept(InFolder(tmp_path, "run"))
    monkeypatch.setattr(Ledger, "epsilon", lambda *_: 3.001)
    for number in range(1, ROUNDS + 1):
        ledger.spend(planned(number))
    with pytest.raises(BudgetSpentError):
        ledger.spend(planned(ROUNDS + 1))


def test_what_is_spent_is_read_and_written_alone(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Watched(InFolder):
        steps: list[str] = field(default_factory=list)

        def read(self, name: str) -> str | None:
            self.steps.append("read")
            return super().read(name)

        def write(self, name: str, text: str) -> None:
            self.steps.append("write")
            super().write(name, text)

        @contextmanager
        def alone(self) -> Iterator[None]:
            with super().alone():
                self.steps.append("begin")
                yield
                self.steps.append("end")

    memory = Watched(tmp_path, "run")
    ledger = kept(memory)
    memory.steps.clear()
    ledger.spend(planned(1))
    assert memory.steps == ["begin", "read", "write", "end"]


def _spend(state: Path, start: object, numbers: range) -> None:
    introduction = Introduction(calibrate(PRIVACY, records=40, batch_size=8, local_epochs=1, rounds=ROUNDS), ROUNDS)
    ledger = KeptLedger(InFolder(state, "run"), Budget("a", PRIVACY, introduction))
    start.wait()  # type: ignore[attr-defined]
    for number in numbers:
        try:
            ledger.spend(planned(number))
        except BudgetSpentError:
            return


def test_two_processes_with_one_state_cannot_spend_it_twice(tmp_path: Path) -> None:
    introduced(InFolder(tmp_path, "run"))
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)
    ways = (range(1, 5), range(5, 9))
    processes = [context.Process(target=_spend, args=(tmp_path, start, numbers)) for numbers in ways]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert len(read_ledger(InFolder(tmp_path, "run")).entries) == ROUNDS


def private(tmp_path: Path, **changes: object) -> tuple[Experiment, Path]:
    """A description of two rounds, and hospital a's file with this state folder."""
    made = tiny(**PRIVATE, federation__rounds=2, **changes)
    return made, file_of(tmp_path, made, 0)


def test_a_server_that_asks_for_more_rounds_than_it_announced_gets_nothing(tmp_path: Path) -> None:
    made, file = private(tmp_path)
    replies = join(hospitals(file), made, [1, 2])
    assert all("arrays" in reply for reply in replies[1:])
    longer = made.change({"federation.rounds": 9})
    for kind, number in (("train", 3), ("query", 2), ("train", 3)):
        with own_log() as lines:
            reply = ask(hospitals(file), longer, kind, round_number=number)
        if kind == "train":
            assert refusal(reply) == NO_ROOM
            assert any("this round would bring the run's ε to" in line for line in lines)
        else:
            assert reply["client"]["noise_multiplier"] == replies[0]["client"]["noise_multiplier"]
    assert len(read_ledger(_memory(tmp_path)).entries) == 2


def test_announcing_fewer_rounds_later_changes_nothing_either(tmp_path: Path) -> None:
    made, file = private(tmp_path)
    about = ask(hospitals(file), made, "query", round_number=0)["client"]
    again = ask(hospitals(file), made.change({"federation.rounds": 1}), "query", round_number=0)["client"]
    assert dict(about) == dict(again)


def test_a_round_replayed_with_other_weights_spends_the_budget_of_a_later_one(tmp_path: Path) -> None:
    made, file = private(tmp_path)
    grid = hospitals(file)
    _, first = join(grid, made, [1])
    moved = {name: array + 0.1 for name, array in from_record(first["arrays"]).items()}
    assert "arrays" in ask(grid, made, "train", round_number=1, arrays=moved)
    with own_log() as lines:
        assert refusal(ask(grid, made, "train", round_number=2)) == NO_ROOM
        again = {name: array + 0.1 for name, array in moved.items()}
        assert refusal(ask(grid, made, "train", round_number=1, arrays=again)) == NO_ROOM
    assert sum("above its budget privacy.epsilon = 7" in line for line in lines) == 2
    assert "arrays" in ask(grid, made, "train", round_number=1), "a bit-for-bit repetition costs nothing"


def test_a_run_that_is_resumed_finds_its_ledger_wherever_the_server_s_data_lie(tmp_path: Path) -> None:
    made, file = private(tmp_path)
    join(hospitals(file), made, [1])
    moved = made.change({"description": "moved", "evaluation.steps": 3, "privacy.epsilon": 1.0})
    assert len(read_ledger(_memory(tmp_path)).entries) == 1
    _, second = join(hospitals(file), moved, [2])
    assert [entry.round for entry in Ledger.from_json(str(second["client"]["ledger"])).entries] == [1, 2]


def test_another_run_has_a_budget_of_its_own_but_not_beyond_the_lifetime_s(tmp_path: Path) -> None:
    made, file = private(tmp_path)
    join(hospitals(file), made, [1, 2])
    other = made.change({"name": "other"})
    assert "arrays" in join(hospitals(file), other, [1])[-1]
    text = file.read_text()
    assert "[privacy]" in text
    file.write_text(text.replace("[privacy]", "[privacy]\nlifetime_epsilon = 9.0"))
    with own_log() as lines:
        third = refusal(ask(hospitals(file), made.change({"name": "third"}), "query"))
        assert third == "a: its privacy budget does not allow this run; its own log says why"
        assert refusal(ask(hospitals(file), other, "train", round_number=2)) == NO_ROOM
    assert sum("above privacy.lifetime_epsilon = 9" in line for line in lines) == 2
    (damaged, *_) = (tmp_path / "state").glob("tiny-*/ledger.json")
    damaged.write_text("{")
    sentence = refusal(ask(hospitals(file), made.change({"name": "third"}), "query"))
    assert sentence == "a: the ledgers of its other runs cannot be read; its own log says why"
    assert refusal(ask(hospitals(file), other, "train", round_number=2)) == NO_ROOM


def test_a_server_is_not_told_the_epsilon_of_a_budget_that_a_given_noise_exceeds(tmp_path: Path) -> None:
    made = tiny(**PRIVATE, federation__rounds=2)
    file = file_of(tmp_path, made, 0)
    file.write_text(file.read_text().replace("[privacy]", "[privacy]\nnoise_multiplier = 0.5"))
    with own_log() as lines:
        sentence = refusal(ask(hospitals(file), made, "query", round_number=0))
    assert sentence == "a: its privacy budget does not allow this run; its own log says why"
    assert any("more than its budget privacy.epsilon = 7" in line for line in lines)


def test_a_hospital_stays_private_or_not_to_the_run_s_end(tmp_path: Path) -> None:
    made, file = private(tmp_path)
    join(hospitals(file), made, [1])
    file.write_text(file.read_text().replace("enabled = true", "enabled = false"))
    for kind in ("query", "train"):
        assert "it joined this run with privacy" in refusal(ask(hospitals(file), made, kind))


def _memory(folder: Path) -> InFolder:
    (file,) = (folder / "state").glob(f"*/{LEDGER}")
    return InFolder(folder / "state", file.parent.name)
