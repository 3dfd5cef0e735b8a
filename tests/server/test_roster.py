"""Who is there, and waiting for who is not; time passes on a clock of its own, so nothing here sleeps."""

from collections.abc import Callable, Iterable, Sequence

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from common.config import Experiment, parse
from common.errors import UserError
from experiments.inprocess import InProcessGrid
from server.roster import ASK_AGAIN, Attendance
from tests.server import federation_fixture as fixture

NOBODY = ()


def app_of(abouts: Sequence[dict | Exception]) -> ClientApp:
    app = ClientApp()

    @app.query()
    def introduce(message: Message, context: Context) -> Message:
        about = abouts[int(context.node_config["partition-id"])]
        if isinstance(about, Exception):
            raise about
        return Message(RecordDict({"client": ConfigRecord(about)}), reply_to=message)

    return app


def grid(abouts: Sequence[dict | Exception]) -> InProcessGrid:
    return InProcessGrid(app_of(abouts), len(abouts))


def experiment(clients: int, **federation: object) -> Experiment:
    names = [{"name": f"c{number}"} for number in range(clients)]
    return parse({"clients": names, "federation": {"join_timeout": 60.0, **federation}}, "test")


def attendance(
    grid: InProcessGrid, made: Experiment, time: fixture.Time | None = None, identities: dict[int, str] | None = None
) -> Attendance:
    time = time or fixture.Time()
    return Attendance(grid, made, fixture.dataset(), "token", identities=identities, clock=time.clock, sleep=time.sleep)


def ward(names: Sequence[str], connected: Iterable[int]) -> fixture.Ward:
    return fixture.Ward([fixture.honest() for _ in names], names, connected)


def joins(grid: fixture.Ward, when: float, node: int) -> Callable[[float], None]:
    return lambda now: grid.connected.add(node) if now >= when else None


def test_clients_come_in_the_order_of_their_numbers() -> None:
    present = attendance(
        grid([fixture.about("c2"), fixture.about("c0"), fixture.about("c1")]), experiment(3)
    ).assemble()
    assert [participant.number for participant in present] == [0, 1, 2]


def test_a_whole_roster_is_not_waited_for() -> None:
    time = fixture.Time()
    attendance(ward(["c0", "c1"], [1, 2]), experiment(2), time).assemble()
    assert time.now == 0


def test_the_federation_starts_as_soon_as_the_last_one_comes() -> None:
    late = ward(["c0", "c1"], [1])
    time = fixture.Time(joins(late, 7.0, 2))
    present = attendance(late, experiment(2), time).assemble()
    assert [participant.name for participant in present] == ["c0", "c1"]
    assert 7.0 <= time.now < 7.5


def test_at_the_timeout_it_starts_with_those_who_are_there() -> None:
    time = fixture.Time()
    present = attendance(ward(["c0", "c1", "c2"], [1, 3]), experiment(3, quorum=2), time).assemble()
    assert [participant.name for participant in present] == ["c0", "c2"]
    assert 60.0 <= time.now < 60.5


def test_fewer_than_the_quorum_at_the_timeout_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"quorum = 2: only 1 of 3 clients can take part after 60 s; start the others"):
        attendance(ward(["c0", "c1", "c2"], [1]), experiment(3, quorum=2)).assemble()


def test_fewer_than_the_quorum_that_could_take_part_is_a_sentence_at_once() -> None:
    time = fixture.Time()
    with pytest.raises(UserError, match=r"quorum = 2: only 1 of 2 clients can take part .*no disk"):
        attendance(grid([fixture.about("c0"), RuntimeError("no disk")]), experiment(2, quorum=2), time).assemble()
    assert time.now == 0


def test_whoever_is_excluded_is_not_waited_for() -> None:
    time = fixture.Time()
    attendance(ward(["c0", "c1"], [1]), experiment(2), time).assemble(excluded=["c1"])
    assert time.now == 0


def test_a_quorum_that_exclusions_made_impossible_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"only 1 of 2 clients can take part \(c1: excluded\)"):
        attendance(ward(["c0", "c1"], [1, 2]), experiment(2, quorum=2)).assemble(excluded=["c1"])


def test_of_two_nodes_with_one_name_the_first_keeps_it() -> None:
    both = ward(["c0", "c1", "c1"], [1, 2])
    there = attendance(both, experiment(2))
    there.assemble()
    both.connected.add(3)
    for _ in range(2):
        nodes = {one.node: one.problem for one in there.present()}
        assert nodes == {1: "", 2: "", 3: "the name 'c1' is taken by a node that is connected"}


def test_when_the_first_is_gone_the_second_has_the_name_without_being_asked_again() -> None:
    both = ward(["c0", "c1", "c1"], [1, 2, 3])
    there = attendance(both, experiment(2))
    there.assemble()
    both.connected.remove(2)
    assert [(one.node, one.name, one.problem) for one in there.present()] == [(1, "c0", ""), (3, "c1", "")]
    assert both.asked.count(("query", 3)) == 1


def test_the_name_passes_on_while_a_round_waits_for_its_quorum() -> None:
    both = ward(["c0", "c1", "c1"], [1, 2, 3])

    def change(now: float) -> None:
        if now > 5:
            both.connected = {1, 3}

    time = fixture.Time(change)
    there = attendance(both, experiment(2, quorum=2), time)
    there.assemble()
    both.connected.remove(1)
    assert [one.node for one in there.present() if not one.problem] == [1, 3]
    assert 5 < time.now < 6


@pytest.mark.parametrize("node", [1, 3])
def test_a_lost_client_comes_back_with_its_old_node_or_with_a_new_one(node: int) -> None:
    there_is = ward(["c0", "c1", "c0"], [1, 2])
    there = attendance(there_is, experiment(2))
    there.assemble()
    there_is.connected = {2}
    assert [one.name for one in there.present()] == ["c1"]
    there_is.connected = {2, node}
    assert [(one.node, one.name) for one in there.present()] == [(node, "c0"), (2, "c1")]


def test_a_round_above_the_quorum_waits_for_nobody() -> None:
    lost, time = ward(["c0", "c1", "c2"], [1, 2, 3]), fixture.Time()
    there = attendance(lost, experiment(3, quorum=2), time)
    there.assemble()
    lost.connected.remove(1)
    assert [one.name for one in there.present()] == ["c1", "c2"]
    assert time.now == 0


def test_a_round_below_the_quorum_waits_until_enough_are_back() -> None:
    lost = ward(["c0", "c1"], [1, 2])
    time = fixture.Time(joins(lost, 20.0, 1))
    there = attendance(lost, experiment(2, quorum=2), time)
    there.assemble()
    lost.connected.remove(1)
    assert [one.name for one in there.present()] == ["c0", "c1"]
    assert 20.0 <= time.now < 20.5


def test_a_round_below_the_quorum_waits_no_longer_than_the_timeout() -> None:
    lost, time = ward(["c0", "c1"], [1, 2]), fixture.Time()
    there = attendance(lost, experiment(2, quorum=2), time)
    there.assemble()
    lost.connected.remove(1)
    assert [one.name for one in there.present()] == ["c1"]
    assert 60.0 <= time.now < 60.5


def test_a_round_that_exclusions_keep_below_the_quorum_is_not_waited_for() -> None:
    time = fixture.Time()
    there = attendance(ward(["c0", "c1"], [1, 2]), experiment(2, quorum=2), time)
    there.assemble()
    there.present(excluded=["c1"])
    assert time.now == 0


def test_a_node_that_is_asked_and_does_not_answer_holds_nobody_up() -> None:
    hangs, time = ward(["c0", "c1"], [1, 2]), fixture.Time()
    straight = hangs.pull_messages
    hangs.pull_messages = lambda ids: [reply for reply in straight(ids) if reply.metadata.src_node_id != 2]
    there = attendance(hangs, experiment(2, quorum=1), time)
    there.assemble()
    waited = time.now
    (_, silent) = there.present()
    assert (silent.name, silent.problem) == ("node 2", "did not introduce itself in time")
    assert time.now == waited
    assert hangs.asked.count(("query", 2)) == 1


def test_a_node_that_does_not_answer_is_asked_again_after_a_while() -> None:
    hangs = ward(["c0", "c1"], [1, 2])
    straight, deaf = hangs.pull_messages, {"now": True}
    hangs.pull_messages = lambda ids: [
        reply for reply in straight(ids) if reply.metadata.src_node_id != 2 or not deaf["now"]
    ]
    time = fixture.Time(lambda now: deaf.update(now=now < ASK_AGAIN - 1))
    present = attendance(hangs, experiment(2, join_timeout=2 * ASK_AGAIN), time).assemble()
    assert [one.name for one in present] == ["c0", "c1"]
    assert hangs.asked.count(("query", 2)) == 2


def test_a_message_that_the_link_lost_says_nothing_about_the_node() -> None:
    lost = ward(["c0", "c1"], [1, 2])
    time = fixture.Time(joins(lost, ASK_AGAIN - 1, 2))
    listed = lost.get_node_ids
    lost.get_node_ids = lambda: sorted({*listed(), 2})  # the link still lists a node that it cannot reach
    lost.connected = {1}
    present = attendance(lost, experiment(2, join_timeout=2 * ASK_AGAIN), time).assemble()
    assert [(one.name, one.problem) for one in present] == [("c0", ""), ("c1", "")]


def test_who_had_a_problem_is_asked_again_in_the_next_round() -> None:
    abouts: list[dict | Exception] = [fixture.about("c0"), RuntimeError("no disk")]
    there = attendance(grid(abouts), experiment(2))
    assert [one.problem for one in there.assemble()] == ["", "failed to introduce itself: RuntimeError: no disk"]
    abouts[1] = fixture.about("c1")
    assert [one.problem for one in there.present()] == ["", ""]


def test_a_key_cannot_take_another_s_name_even_while_that_one_is_away() -> None:
    thief = ward(["c0", "c0"], [2])
    there = attendance(thief, experiment(2, quorum=1), identities={1: "c0", 2: "c1"})
    with pytest.raises(UserError, match="its key belongs to 'c1', but it says it is 'c0'"):
        there.assemble()
    thief.connected.add(1)
    honest, caught = there.assemble()
    assert (honest.node, honest.name, honest.problem) == (1, "c0", "")
    assert (caught.node, caught.name) == (2, "c1")
    assert caught.problem == "its key belongs to 'c1', but it says it is 'c0'"


def test_what_nodes_are_told_comes_with_the_run_s_token() -> None:
    heard: list[dict] = []
    app = ClientApp()

    @app.query()
    def introduce(message: Message, context: Context) -> Message:
        heard.append(dict(message.content.config_records["config"].items()))
        return Message(RecordDict({"client": ConfigRecord(fixture.about("c0"))}), reply_to=message)

    attendance(InProcessGrid(app, 1), experiment(1)).assemble(4)
    assert (heard[0]["run"], heard[0]["server-round"]) == ("token", 4)
    assert heard[0]["classes"] == ["dark", "bright"]
