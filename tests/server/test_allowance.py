from hypothesis import given
from hypothesis import strategies as st

from server.allowance import Allowance


def test_a_node_that_was_sent_nothing_may_send_nothing() -> None:
    allowance = Allowance(100)
    assert not allowance.spend(7, 1)


@given(st.integers(1, 1000), st.lists(st.integers(0, 400), max_size=20))
def test_a_node_sends_as_much_as_the_limit_and_no_more(limit: int, sizes: list[int]) -> None:
    allowance = Allowance(limit)
    allowance.grant(1)
    sent = 0
    for size in sizes:
        passed = allowance.spend(1, size)
        sent += size
        assert passed == (sent <= limit)
        if not passed:
            assert allowance.is_exceeded(1)
            assert not allowance.spend(1, 0)  # what follows is of no use any more
            break
        assert not allowance.is_exceeded(1)


def test_the_next_message_grants_the_limit_anew_and_only_to_its_node() -> None:
    allowance = Allowance(10)
    allowance.grant(1)
    allowance.grant(2)
    assert not allowance.spend(1, 11)
    assert allowance.spend(2, 10)
    allowance.grant(1)
    assert not allowance.is_exceeded(1)
    assert allowance.spend(1, 10)
