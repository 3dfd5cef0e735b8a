"""Order, queue and time left, against hand-made examples, every path of random graphs, and a bound of Graham's."""

import heapq
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from experiments.study.tasks import Outcome, Queue, Room, Task, order, time_left


def task(key: str, *needs: str, seconds: float = 1.0, memory: int = 0, gpus: float = 0.0) -> Task:
    return Task(key, f"task {key}", needs, None, seconds, gpus, memory)


def ended(key: str, seconds: float = 1.0, failure: str | None = None) -> Outcome:
    return Outcome(key, seconds, seconds, 0, failure, skipped=False)


def keys(tasks: Sequence[Task]) -> str:
    return "".join(one.key for one in tasks)


def test_the_longest_chain_comes_first_then_what_most_wait_for_then_what_was_given_first() -> None:
    tasks = [
        task("a", seconds=2),
        task("b", seconds=2),
        task("c", seconds=1),
        task("d", "c", seconds=4),  # c and d: 5
        task("e", seconds=1),
        task("f", "e", seconds=1),
        task("g", "e", seconds=1),  # e: 2, two wait
        task("h", seconds=9),
    ]
    assert keys(order(tasks)) == "hcdeabfg"


def test_needs_come_first_also_where_nothing_takes_time() -> None:
    tasks = [task("c", "b", seconds=0), task("b", "a", seconds=0), task("a", seconds=0)]
    assert keys(order(tasks)) == "abc"


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        ([task("a"), task("a")], "the key 'a' is there twice"),
        ([task("a", "zebra"), task("zebras")], "'task a' needs 'zebra', which is not there; did you mean 'zebras'"),
        ([task("a", "c"), task("b", "a"), task("c", "b")], "task [abc]' needs 'task [abc]' needs 'task [abc]' needs"),
        ([task("a", "a")], "'task a' needs 'task a'"),
    ],
)
def test_tasks_without_an_order_are_a_mistake(tasks: list[Task], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        order(tasks)


def test_a_cycle_is_told_in_the_direction_of_its_needs() -> None:
    with pytest.raises(UserError) as told:
        order([task("x"), task("a", "b", "x"), task("b", "c"), task("c", "a")])
    names = str(told.value).removeprefix("tasks: '").partition("';")[0].split("' needs '")
    assert names[0] == names[-1]
    assert set(pairwise(names)) == {
        ("task a", "task b"),
        ("task b", "task c"),
        ("task c", "task a"),
    }


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_an_estimate_is_a_number_of_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        order([task("a", seconds=seconds)])


@st.composite
def graphs(draw: st.DrawFn) -> list[Task]:
    size = draw(st.integers(1, 9))
    tasks = []
    for number in range(size):
        needs = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        seconds, memory = draw(st.sampled_from([0.0, 0.5, 1.0, 3.0])), draw(st.integers(0, 6))
        tasks.append(task(str(number), *map(str, sorted(needs)), seconds=seconds, memory=memory))
    return draw(st.permutations(tasks))


def paths(tasks: Sequence[Task], start: str) -> list[float]:
    """Return the seconds of every path of needs that begins at a task; the slow, obvious way."""
    own = next(one.seconds for one in tasks if one.key == start)
    after = [one.key for one in tasks if start in one.needs]
    return [own + rest for key in after for rest in paths(tasks, key)] or [own]


@given(graphs())
def test_every_need_comes_before_and_every_chain_in_order_of_its_length(tasks: list[Task]) -> None:
    ordered = order(tasks)
    place = {one.key: number for number, one in enumerate(ordered)}
    assert sorted(place) == sorted(one.key for one in tasks)
    assert all(place[need] < place[one.key] for one in tasks for need in one.needs)
    lengths = [max(paths(tasks, one.key)) for one in ordered]
    assert lengths == sorted(lengths, reverse=True)


@given(graphs(), st.sets(st.integers(0, 8)), st.integers(1, 4), st.integers(3, 12))
def test_a_queue_keeps_to_its_room_idles_never_and_ends_everything(
    tasks: list[Task], failing: set[int], cores: int, memory: int
) -> None:
    queue, room, clock = Queue(list(tasks)), Room(cores, memory), 0.0
    by_key = {one.key: one for one in tasks}
    events: list[tuple[float, str]] = []
    told: list[Outcome] = []
    while not queue.over():
        while (started := queue.start(room)) is not None:
            assert all(queue.outcomes[need].failure is None for need in started.needs)
            heapq.heappush(events, (clock + started.seconds, started.key))
            running = list(queue.running.values())
            assert len(running) == 1 or (len(running) <= cores and sum(one.memory for one in running) <= memory)
        ready = [
            one
            for one in tasks
            if one.key not in queue.outcomes
            and one.key not in queue.running
            and all(need in queue.outcomes and queue.outcomes[need].failure is None for need in one.needs)
        ]
        used = sum(one.memory for one in queue.running.values())
        assert all(len(queue.running) == cores or used + one.memory > memory for one in ready)
        clock, key = heapq.heappop(events)
        told += queue.end(ended(key, failure="broken" if int(key) in failing else None))
    assert queue.in_order() == [queue.outcomes[one.key] for one in order(tasks)]
    assert sorted(outcome.key for outcome in told) == sorted(by_key)

    def fails(key: str) -> bool:
        return int(key) in failing or any(map(fails, by_key[key].needs))

    assert {outcome.key for outcome in told if outcome.failure is not None} == set(filter(fails, by_key))
    skipped = {key for key in by_key if any(map(fails, by_key[key].needs))}
    assert {outcome.key for outcome in told if outcome.skipped} == skipped
    if not failing and memory >= sum(one.memory for one in tasks):
        longest = max(max(paths(tasks, one.key)) for one in tasks)
        total = sum(one.seconds for one in tasks)
        assert clock <= total / cores + (1 - 1 / cores) * longest + 1e-9  # Graham 1966: of any list, if nobody idles


def test_a_gpu_is_shared_and_not_promised_twice() -> None:
    queue = Queue([task(key, gpus=0.3) for key in "abcd"])
    room = Room(cores=9, gpus=0.9)
    assert [queue.start(room), queue.start(room), queue.start(room)] == queue.tasks[:3]
    assert queue.start(room) is None


def test_a_task_too_large_for_the_room_waits_until_it_is_alone() -> None:
    queue = Queue([task("large", seconds=9, memory=11), task("small", seconds=2, memory=1), task("next", memory=1)])
    room = Room(cores=2, memory=10)
    first = queue.start(room)
    assert first is not None
    assert first.key == "large"
    assert queue.start(room) is None
    queue.end(ended("large"))
    assert {one.key for one in (queue.start(room), queue.start(room)) if one} == {"small", "next"}


def test_a_lost_task_waits_again_in_its_place() -> None:
    queue = Queue([task("a", seconds=3), task("b", seconds=2), task("c")])
    assert queue.start(Room(1)) == queue.tasks[0]
    queue.again("a")
    assert queue.running == {}
    assert queue.start(Room(1)) == queue.tasks[0]


def test_the_failure_that_is_named_is_the_first_one() -> None:
    queue = Queue([task("a"), task("b", "a"), task("c", "b")])
    queue.start(Room(1))
    told = queue.end(ended("a", failure="broken"))
    assert [(one.key, one.failure) for one in told[1:]] == [(key, "not tried, since 'task a' failed") for key in "bc"]


def test_time_left_is_the_estimate_shared_by_the_cores() -> None:
    tasks = [task(key, seconds=10) for key in "abcd"]
    assert time_left(tasks, [], 1) == 40
    assert time_left(tasks, [], 2) == 20
    assert time_left(tasks, [ended(key, 10) for key in "abcd"], 2) == 0
    assert time_left([], [], 2) == 0


def test_time_left_learns_how_wrong_the_estimates_were() -> None:
    tasks = [task(key, seconds=10) for key in "abcd"]
    assert time_left(tasks, [ended("a", 30)], 3) == 30  # three times 30 s on three cores
    assert time_left(tasks, [ended("a", 5)], 1) == 15
    assert time_left(tasks, [ended("a", 1, failure="broken")], 1) == 30  # what failed early says nothing of the rest


def test_time_left_counts_what_running_tasks_have_done_and_never_below_nothing() -> None:
    tasks = [task(key, seconds=10) for key in "abcd"]
    assert time_left(tasks, [], 4, {"a": 4}) == 10
    assert time_left(tasks, [ended("b", 10), ended("c", 10)], 1, {"a": 4, "d": 99}) == 6


def test_time_left_is_no_less_than_the_longest_chain() -> None:
    tasks = [task("a", seconds=10), task("b", "a", seconds=10), task("c", seconds=1)]
    assert time_left(tasks, [], 100) == 20
    assert time_left(tasks, [ended("a", 20)], 100) == 20  # b, twice as long as estimated


def test_a_task_of_two_cores_leaves_no_room_beside_it_on_two() -> None:
    wide, narrow = (Task(name, name, (), None, 1.0, cores=cores) for name, cores in (("wide", 2), ("narrow", 1)))
    queue = Queue([wide, narrow])
    assert queue.start(Room(cores=2)) == wide
    assert queue.start(Room(cores=2)) is None
    assert queue.start(Room(cores=3)) == narrow
