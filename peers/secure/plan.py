"""What a description's round looks like: its layout, its rule, who holds shares, and how many may cheat."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from common.config import Experiment
from common.errors import UserError
from peers.secure.columns import Columns
from peers.secure.context import Context
from peers.secure.field import LARGE, SMALL
from peers.secure.labels import COMMITTEE
from peers.secure.layout import Layout, committee, packed
from peers.secure.rules.box import Box
from peers.secure.rules.norm import MultiKrum, NormBounded
from peers.secure.rules.rule import Rule
from peers.secure.rules.signs import Signs
from peers.secure.rules.trust import FLTrust
from peers.secure.rules.vote import median

_OF_LENGTHS = ("norm-bounded-mean", "fltrust", "multi-krum")
_LEAST_FOR_KRUM = 5
"""Updates; of fewer, ``peers.secure.terms.selected`` takes all."""


def layout_of(experiment: Experiment) -> Layout:
    """Return the layout of a description's rounds.

    Raises:
        UserError: too few peers for so many cheaters, or for the rule, or a committee that is not safe.
    """
    settings, peers = experiment.secure, len(experiment.roster())
    faults = (peers - 1) // 4 if settings.faults is None else settings.faults
    coalition = max(1, faults) if settings.coalition is None else settings.coalition
    if peers < 3:
        raise UserError(
            f"protocol = 'secure' with {peers} peers: each could tell the other's update from the sum; name at least 3"
        )
    if settings.rule == "multi-krum":
        _check_krum(settings.num_malicious_nodes, peers)
    field = LARGE if settings.rule in _OF_LENGTHS else SMALL
    if settings.members is None or settings.members == peers:
        return packed(peers, faults=faults, coalition=coalition, field=field)
    return committee(peers, settings.members, faults=faults, coalition=coalition, field=field)


def check_size(experiment: Experiment, size: int) -> None:
    """Refuse a rule that cannot be computed on updates of ``size`` numbers, before hours are spent: UserError."""
    for rule in rules_of(experiment, np.ones(size)):
        rule.terms(layout_of(experiment), size)


def longest_letter(experiment: Experiment, size: int, reference: NDArray[np.float64] | None = None) -> int:
    """Return the bytes that one peer says to another in one exchange, at most; the rest as for ``rules_of``."""
    layout = layout_of(experiment)
    return max(
        Columns(layout, size, rule.terms(layout, size)).longest_letter for rule in rules_of(experiment, reference)
    )


def members_of(context: Context, layout: Layout, peers: int) -> tuple[int, ...]:
    """Return who holds shares in a round: all, or a committee that is drawn anew in each round of each run.

    The draw follows from the run and the round alone. Who may cheat was fixed before, so that nobody can choose it.
    """
    lots = {peer: hashlib.sha256(COMMITTEE + context.binding + peer.to_bytes(4, "big")).digest()
            for peer in range(peers)}  # fmt: skip
    return tuple(sorted(sorted(lots, key=lots.__getitem__)[: layout.members]))


def rules_of(experiment: Experiment, reference: NDArray[np.float64] | None = None) -> tuple[Rule, ...]:
    """Return the aggregations of a description's round, in order; most rules have one.

    Args:
        experiment: the description.
        reference: [d], the update of the public records, for ``fltrust``.
    """
    settings = experiment.secure
    if settings.rule == "median":
        return median(settings.radius, settings.votes)
    if settings.rule == "norm-bounded-mean":
        return (NormBounded(settings.norm),)
    if settings.rule == "multi-krum":
        return (MultiKrum(settings.norm, num_malicious_nodes=settings.num_malicious_nodes),)
    if settings.rule == "fltrust":
        return (FLTrust(np.zeros(0) if reference is None else reference),)
    return (Signs(settings.step_size) if settings.rule == "rsa" else Box(settings.radius),)


def _check_krum(malicious: int | None, peers: int) -> None:
    least = max(_LEAST_FOR_KRUM, 2 * (malicious or 0) + 3)
    if peers < least:
        told = "" if malicious is None else f" and secure.num_malicious_nodes = {malicious}"
        raise UserError(
            f"secure.rule = 'multi-krum'{told} needs at least {least} peers, not {peers}; name more, or take "
            "rule = 'norm-bounded-mean'"
        )
