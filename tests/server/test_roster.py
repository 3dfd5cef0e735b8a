import random

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from common.config import parse
from common.errors import UserError
from experiments.inprocess import InProcessGrid
from server.roster import Attendance, seeded_sampling


def grid(abouts: list[dict | Exception]) -> InProcessGrid:
    app = ClientApp()

    @app.query()
    def introduce(message: Message, context: Context) -> Message:
        about = abouts[int(context.node_config["partition-id"])]
        if isinstance(about, Exception):
            raise about
        return Message(RecordDict({"client": ConfigRecord(about)}), reply_to=message)

    return InProcessGrid(app, len(abouts))


def about(number: int, **changes: object) -> dict:
    good = {
        "name": f"c{number}",
        "number": number,
        "records": 5,
        "strategy": "honest",
        "honest": True,
        "private": False,
    }
    return good | changes


def experiment(clients: int, **federation: object):
    return parse({"clients": [{"count": clients}], "federation": federation}, "test")


def test_clients_come_in_the_order_of_their_numbers() -> None:
    present = Attendance(grid([about(2), about(0), about(1)]), experiment(3)).wait(1)
    assert [participant.number for participant in present] == [0, 1, 2]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (RuntimeError("no disk"), "no disk"),
        (about(7), "number 7"),
        (about(0), "already taken"),
        (about(1, records=0), "with 0 records"),
        (about(1, records=-3), "with -3 records"),
        ({"refusal": "data.path = '/x': there is no such folder"}, "no such folder"),
        ({"name": "c1"}, "malformed introduction"),
    ],
)
def test_who_cannot_introduce_itself_takes_no_part(bad: dict | Exception, reason: str) -> None:
    present = Attendance(grid([about(0), bad, about(2)]), experiment(3)).wait(1)
    problems = [participant.problem for participant in present if participant.problem]
    assert len(problems) == 1
    assert reason in problems[0]


def test_fewer_than_the_quorum_is_a_sentence_with_the_reasons() -> None:
    with pytest.raises(UserError, match=r"quorum = 2: only 1 of 2 clients can take part .*no disk"):
        Attendance(grid([about(0), RuntimeError("no disk")]), experiment(2, quorum=2)).wait(1)


def test_sampling_is_seeded_and_leaves_the_global_state_alone() -> None:
    before = random.getstate()
    with seeded_sampling(3):
        first = random.sample(range(100), 5)
    with seeded_sampling(3):
        assert random.sample(range(100), 5) == first
    assert random.getstate() == before
