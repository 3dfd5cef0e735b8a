"""A round's binding: no two rounds of any two runs share one."""

from hypothesis import given
from hypothesis import strategies as st

from peers.secure.context import Context
from tests.peers.secure.rounds import context_of, keys_of

RUN = st.binary(min_size=32, max_size=32)
ROUND = st.one_of(st.integers(1, 3), st.integers(1, 2**64 - 1))


@given(runs=st.tuples(RUN, RUN), rounds=st.tuples(ROUND, ROUND))
def test_two_rounds_share_a_binding_only_if_they_are_the_same(
    runs: tuple[bytes, bytes], rounds: tuple[int, int]
) -> None:
    one, other = (Context(run, number, {}) for run, number in zip(runs, rounds, strict=True))
    assert (one.binding == other.binding) == (runs[0] == runs[1] and rounds[0] == rounds[1])


@given(run=RUN, number=ROUND)
def test_every_binding_has_the_same_length_and_tells_its_round(run: bytes, number: int) -> None:
    binding = Context(run, number, {}).binding
    assert binding[:32] == run
    assert int.from_bytes(binding[32:], "big") == number
    assert len(binding) == 40


def test_peers_are_numbered_in_order_whatever_order_their_keys_come_in() -> None:
    keys = {peer: key.public_key() for peer, key in keys_of(12).items()}
    shuffled = {peer: keys[peer] for peer in (11, 3, 7, 0)}
    assert Context(bytes(32), 1, shuffled).peers == (0, 3, 7, 11)
    assert context_of(5).peers == tuple(range(5))
