"""Which of two processes with one identity takes part."""

import pytest

from peers.members import LEASE, Members
from peers.wire import RefusedError

FIRST, SECOND = "1" * 32, "2" * 32


class World:
    """Connections and time, as a test wants them."""

    def __init__(self) -> None:
        self.open = {"one", "two"}
        self.now = 0.0
        self.members = Members(self.open.__contains__, lambda: self.now)


def test_a_second_process_is_refused_while_the_first_is_there() -> None:
    world = World()
    world.members.admit("b", FIRST, "one")
    with pytest.raises(RefusedError, match="another process with the identity 'b' is connected"):
        world.members.admit("b", SECOND, "two")
    world.members.admit("b", FIRST, "two")
    world.members.admit("c", SECOND, "two")
    assert world.members.is_there("b")


def test_a_process_that_is_started_again_takes_its_place_as_soon_as_the_connection_is_gone() -> None:
    world = World()
    world.members.admit("b", FIRST, "one")
    world.open.remove("one")
    assert not world.members.is_there("b")
    world.members.admit("b", SECOND, "two")
    with pytest.raises(RefusedError):
        world.members.admit("b", FIRST, "one")


def test_a_process_that_is_not_heard_any_more_loses_its_place() -> None:
    world = World()
    world.members.admit("b", FIRST, "one")
    world.now = LEASE - 0.1
    with pytest.raises(RefusedError):
        world.members.admit("b", SECOND, "two")
    world.now = LEASE
    world.members.admit("b", SECOND, "two")


@pytest.mark.parametrize("instance", ["", "short", "x" * 65, "with space " * 2, "ä" * 20])
def test_one_that_does_not_say_which_process_it_is_is_refused(instance: str) -> None:
    with pytest.raises(RefusedError, match="does not say which process"):
        World().members.admit("b", instance, "one")


def test_two_processes_tell_themselves_apart() -> None:
    assert World().members.instance != World().members.instance
