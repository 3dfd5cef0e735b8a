"""Answers while a round runs: each is checked and scored once, as it comes, and no weights are held twice."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from torch import Tensor

import server.round
from common.exchange import arrays_of
from common.folder import RunFolder, read_lines
from server import hall
from server.answers import NO_ANSWERS, Answer, _spare_all
from server.checks import Update
from server.federation import initial_model, run_federation
from server.marks import Marks
from server.progress import Progress
from server.refusal import Refusal
from tests.server import federation_fixture as fixture


def counted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What every scoring of weights on the public split found, from now on."""
    found: list[float] = []
    straight = hall.Hall.score

    def score(self, arrays):  # type: ignore[no-untyped-def]
        marks = straight(self, arrays)
        found.append(marks.mean)
        return marks

    monkeypatch.setattr(hall.Hall, "score", score)
    return found


def run(folder: Path, grid: fixture.InProcessGrid, clients: int, **changes: object) -> list[dict]:
    made = RunFolder(folder / "run")
    run_federation(grid, fixture.experiment(folder, clients, **changes), fixture.dataset(), made)
    return list(read_lines(made.rounds))


def test_each_update_and_each_aggregate_is_scored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = counted(monkeypatch)
    lines = run(tmp_path, fixture.grid([fixture.honest(), fixture.honest(0.2)]), 2, federation__rounds=2)
    told = [one for line in lines for one in (*(client["accuracy"] for client in line["clients"]), line["accuracy"])]
    assert found == told
    assert len(found) == 2 * 3


def test_a_cheating_server_s_model_is_scored_as_the_clients_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = counted(monkeypatch)
    cheat = {"kind": "wrong-mean", "factor": 5.0}
    (line,) = run(
        tmp_path, fixture.grid([fixture.honest()] * 2), 2, federation__rounds=1, federation__server_misbehaviour=cheat
    )
    assert len(found) == 2 + 2
    assert line["accuracy"] == found[-1]


def test_a_skipped_round_s_model_is_scored_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = counted(monkeypatch)
    lines = run(
        tmp_path,
        fixture.grid([lambda number, received: fixture.honest(0.1 if number == 2 else float("nan"))(number, received)]),
        1,
        federation__rounds=2,
    )
    assert [line["status"] for line in lines] == ["skipped", "aggregated"]
    assert len(found) == 1 + 2
    assert lines[0]["accuracy"] == found[0]


def test_an_answer_is_examined_before_the_next_client_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    grid = fixture.grid([fixture.honest()] * 3)
    straight, examine = grid._deliver, hall.Hall.score

    def deliver(message: Message) -> Message:
        events.append(message.metadata.message_type)
        return straight(message)

    def score(self, arrays):  # type: ignore[no-untyped-def]
        events.append("score")
        return examine(self, arrays)

    monkeypatch.setattr(grid, "_deliver", deliver)
    monkeypatch.setattr(hall.Hall, "score", score)
    run(tmp_path, grid, 3, federation__rounds=1)
    assert events == ["query"] * 3 + ["train", "score"] * 3 + ["score"]


def test_of_a_reply_that_was_examined_nothing_is_held_but_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = fixture.grid([fixture.honest()] * 2)
    straight, seen = grid.send_and_receive, []

    def watched(messages: list[Message], timeout: float | None = None) -> Iterator[Message]:
        for reply in straight(messages, timeout=timeout):
            yield reply
            seen.append(dict(reply.content))

    monkeypatch.setattr(grid, "send_and_receive", watched)
    run(tmp_path, grid, 2, federation__rounds=1)
    assert seen == [{}, {}]


def test_a_good_update_is_scored_with_its_own_weights_which_are_then_held_packed_and_only_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[dict[int, Answer]] = []
    scored: list[dict[str, np.ndarray]] = []
    collect, score = server.round.answers_of, hall.Hall.score

    def watched(*arguments: object) -> dict[int, Answer]:
        kept.append(collect(*arguments))  # type: ignore[arg-type]
        return kept[-1]

    def scoring(self: hall.Hall, arrays: dict[str, Tensor]) -> Marks:
        scored.append({name: array.numpy().copy() for name, array in arrays.items()})
        return score(self, arrays)

    monkeypatch.setattr(server.round, "answers_of", watched)
    monkeypatch.setattr(hall.Hall, "score", scoring)
    started = arrays_of(initial_model(fixture.experiment(tmp_path, 2), fixture.dataset()))
    run(tmp_path, fixture.grid([fixture.honest(0.1), fixture.honest(0.3)]), 2, federation__rounds=1)
    (answers,) = kept
    for node, shift in ((1, 0.1), (2, 0.3)):
        sent = {name: array.numpy() + np.float32(shift) for name, array in started.items()}
        result, weights = answers[node].result, answers[node].weights
        assert isinstance(result, Update)
        assert result.arrays == {}
        assert result.examples == 10
        assert weights is not None
        for found in (scored[node - 1], {name: array.numpy() for name, array in weights.items()}):
            assert found.keys() == sent.keys()
            assert all(np.array_equal(found[name], sent[name]) for name in sent)


def test_what_is_known_is_written_before_a_round_only_where_it_is_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    straight = Progress.save

    def save(self: Progress, folder: RunFolder) -> None:
        saved.append(self.round)
        straight(self, folder)

    monkeypatch.setattr(Progress, "save", save)
    run(tmp_path, fixture.grid([fixture.honest()] * 2), 2, federation__rounds=3)
    assert saved == [0, 1, 2, 3]


@pytest.mark.parametrize(("without_answers", "strike"), [(1, True), (2, True), (3, False)])
def test_weights_without_answers_are_a_strike_unless_most_updates_have_none(without_answers: int, strike: bool) -> None:
    good = [Answer(Update({}, 1, {}, "", 0.0, 0)) for _ in range(2)]
    failed = [Answer(Refusal(NO_ANSWERS, 5)) for _ in range(without_answers)]
    other = Answer(Refusal("its arrays are no arrays", 5))
    _spare_all([*good, *failed, other, Answer()])
    assert [answer.result for answer in failed] == [Refusal(NO_ANSWERS, 5, strike=strike)] * without_answers
    assert other.result == Refusal("its arrays are no arrays", 5, strike=True)
