"""What the log says of those who are refused, and how often."""

from peers.refusals import AT_MOST, MINUTE, REMEMBERED, Refusals


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_who_knocks_again_and_again_is_told_of_once_a_minute() -> None:
    said: list[str] = []
    clock = Clock()
    refusals = Refusals(said.append, clock)
    for _ in range(50):
        refusals.tell("192.0.2.1", "it showed no certificate")
    assert said == ["refused 192.0.2.1: it showed no certificate"]
    clock.now = MINUTE
    refusals.tell("192.0.2.1", "it showed no certificate")
    assert said[1:] == ["refused 192.0.2.1: it showed no certificate (49 times more since this was last said)"]


def test_another_reason_or_address_is_told_of_at_once() -> None:
    said: list[str] = []
    refusals = Refusals(said.append, Clock())
    for who in ("192.0.2.1", "192.0.2.2"):
        for why in ("one", "two"):
            refusals.tell(who, why)
    assert len(said) == 4


def test_a_flood_from_many_addresses_fills_neither_the_log_nor_the_memory() -> None:
    said: list[str] = []
    clock = Clock()
    refusals = Refusals(said.append, clock)
    for number in range(5 * REMEMBERED):
        refusals.tell(f"address {number}", "why")
    assert len(said) == AT_MOST
    assert len(vars(refusals)["_last"]) == REMEMBERED
    clock.now = MINUTE
    refusals.tell("somebody else", "why")
    assert said[-1] == "refused somebody else: why"
