"""What a description's round looks like: its layout, its rule, and how many may cheat."""

from common.config import Experiment
from common.errors import UserError
from peers.secure.field import SMALL
from peers.secure.layout import Layout, packed
from peers.secure.rules.box import Box
from peers.secure.rules.rule import Rule
from peers.secure.rules.signs import Signs


def layout_of(experiment: Experiment) -> Layout:
    """Return the layout of a description's rounds. Raises UserError: too few peers for so many cheaters."""
    settings, peers = experiment.secure, len(experiment.roster())
    faults = (peers - 1) // 4 if settings.faults is None else settings.faults
    coalition = max(1, faults) if settings.coalition is None else settings.coalition
    if peers < 3:
        raise UserError(
            f"protocol = 'secure' with {peers} peers: each could tell the other's update from the sum; name at least 3"
        )
    return packed(peers, faults=faults, coalition=coalition, field=SMALL)


def rule_of(experiment: Experiment) -> Rule:
    """Return the aggregation rule of a description."""
    settings = experiment.secure
    return Signs(settings.step_size) if settings.rule == "rsa" else Box(settings.radius)
