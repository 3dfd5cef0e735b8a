"""A network of peers that is cut in two, and healed."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.peers.peers_fixture import peer_site, planned_of, tiny
from tests.integration.peers.relay import relays

NAMES = ("a", "b", "c", "d")
HALVES = (("a", "b"), ("c", "d"))


@pytest.mark.processes
def test_both_halves_go_on_by_themselves_and_are_one_again_when_healed(tmp_path: Path) -> None:
    experiment = tiny(
        NAMES, federation__rounds=5, peers__order="shuffled", peers__turn_timeout=4.0, peers__ping_timeout=1.0
    )
    with ExitStack() as stack:
        here = stack.enter_context(peer_site(tmp_path / "site", experiment))
        # Each peer reaches those of the other half over cables of their own.
        cables = {
            name: stack.enter_context(
                relays({o: here.addresses[o] for half in HALVES if name not in half for o in half})
            )
            for name in NAMES
        }
        here.hold(*(f"train-{name}-2" for name in NAMES), *(f"train-{name}-4" for name in NAMES))
        peers = {
            name: here.peer(name, reached={other: cable.address for other, cable in cables[name].items()})
            for name in NAMES
        }
        for name in NAMES:
            here.took(name, 1)
        for cable in (cable for of_one in cables.values() for cable in of_one.values()):
            cable.cut()
        here.release(*(f"train-{name}-2" for name in NAMES))
        for name in NAMES:
            here.took(name, 3)  # each half has given the other up and gone on
        for cable in (cable for of_one in cables.values() for cable in of_one.values()):
            cable.mend()
        here.release(*(f"train-{name}-4" for name in NAMES))
        here.finished(peers)
        assert {name: here.turns(name) for name in NAMES} == planned_of(experiment)
        for half, other_half in (HALVES, HALVES[::-1]):
            for name in half:
                assert "has not answered for 4 s" in peers[name].said()
                assert "is waited for again" in peers[name].said()
                in_between = here.lines_of(name)[2]
                assert set(other_half) <= set(in_between["skipped"]) | set(in_between["refused"])
                assert set(in_between["merged"]) <= set(half)
        merged = {(name, other) for name in NAMES for other in here.lines_of(name)[-1]["merged"]}
        assert any((one, other) in merged for one in HALVES[0] for other in HALVES[1])
