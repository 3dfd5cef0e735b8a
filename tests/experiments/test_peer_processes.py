"""The runner of real processes: its arithmetic; whole runs are in tests/integration/peers."""

import socket

from hypothesis import given
from hypothesis import strategies as st

from experiments.peer_processes import _turns_after, free_addresses
from peers.order import planned
from tests.peers.toy_fixture import toy


def test_free_addresses_are_free_and_differ() -> None:
    found = free_addresses(20)
    assert len(set(found)) == 20
    for address in found:
        host, _, port = address.rpartition(":")
        assert host == "127.0.0.1"
        socket.create_server((host, int(port))).close()


@given(
    peers=st.integers(2, 6),
    rounds=st.integers(1, 5),
    initiators=st.integers(1, 3),
    order=st.sampled_from(["random", "shuffled", "timers"]),
)
def test_each_round_has_as_many_turns_as_there_are_peers(peers: int, rounds: int, initiators: int, order: str) -> None:
    experiment = toy(peers, rounds, peers__order=order, peers__initiators=min(initiators, peers))
    before = [0] * peers
    for number in range(1, rounds + 1):
        after = _turns_after(number, experiment)
        assert sum(after) == number * peers
        assert all(one <= other for one, other in zip(before, after, strict=True))
        before = after
    assert before == planned(experiment)
