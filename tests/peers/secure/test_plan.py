import pytest

from common.config import Experiment, parse
from common.errors import UserError
from peers.secure.plan import layout_of, rules_of
from peers.secure.rules.box import Box
from peers.secure.rules.signs import Signs


def described(peers: int, **secure: object) -> Experiment:
    return parse({"protocol": "secure", "clients": [{"count": peers}], "secure": secure}, "here")


@pytest.mark.parametrize(("peers", "faults", "packing"), [(3, 0, 1), (5, 1, 1), (9, 2, 1), (20, 4, 2), (100, 24, 2)])
def test_without_a_word_as_many_may_cheat_as_the_peers_withstand(peers: int, faults: int, packing: int) -> None:
    layout = layout_of(described(peers))
    assert (layout.faults, layout.coalition, layout.packing) == (faults, max(1, faults), packing)
    assert layout.liars(layout.product_degree) >= faults


def test_a_description_says_how_many_cheat_and_pool_what_they_see() -> None:
    layout = layout_of(described(100, faults=20, coalition=20))
    assert (layout.faults, layout.coalition, layout.packing) == (20, 20, 10)


@pytest.mark.parametrize(
    ("peers", "secure", "said"),
    [
        (2, {}, "with 2 peers"),
        (8, {"faults": 2}, "need at least 9 peers, not 8"),
        (8, {"faults": 2, "coalition": 1}, "secure.coalition = 1 is less than secure.faults = 2"),
    ],
)
def test_what_is_unsafe_is_refused(peers: int, secure: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        layout_of(described(peers, **secure))


def test_rules_have_their_names_and_their_sizes() -> None:
    assert rules_of(described(5, step_size=0.5)) == (Signs(0.5),)
    assert rules_of(described(5, rule="box-clipping", radius=0.25)) == (Box(0.25),)
