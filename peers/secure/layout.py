"""Who holds shares of what degree, and how much cheating that withstands.

One function for each layout computes it, and refuses what is unsafe.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from common.errors import UserError
from peers.secure.field import Field

SECURITY = 40
"""Bits: the chance that cheating goes unnoticed in a round is below 2^−40."""
_CHECKS = 4
"""Kinds of random checks that an update goes through, at most."""


@dataclass(frozen=True)
class Layout:
    """The sizes of a round.

    Attributes:
        peers: n; all of them deal.
        members: m; those who hold shares, and aggregate.
        coalition: t; so many members together learn nothing from their shares.
        faults: f; so many of the peers may cheat in any way; one that is silent, or was caught, counts half.
        packing: k; secrets on one polynomial.
        field: of the shares.
        repetitions: of each random check.
        failure: the chance that a committee holds more cheaters and silent ones than it corrects; 0 where all peers
            are members.
    """

    peers: int
    members: int
    coalition: int
    faults: int
    packing: int
    field: Field
    repetitions: int
    failure: float = 0.0

    @property
    def degree(self) -> int:
        """Of a polynomial that carries an update: D = t + k − 1."""
        return self.coalition + self.packing - 1

    @property
    def product_degree(self) -> int:
        """Of a product of two of them: 2 D."""
        return 2 * self.degree

    def slack(self, degree: int) -> int:
        """Return s such that all is well while 2 · liars + silent members ≤ s."""
        return self.members - degree - 1

    def liars(self, degree: int) -> int:
        """Return how many lying members are corrected where nobody is silent."""
        return self.slack(degree) // 2

    @property
    def borne(self) -> int:
        """How many of the members may cheat: f, where all peers are members."""
        return max(0, min(self.faults, self.coalition, self.liars(self.product_degree)))

    @property
    def stages(self) -> int:
        """Stages in which what was said to some reaches all: one more than peers may be silent or cheat."""
        return max(2, min(self.peers - 2, 2 * self.faults) + 1)


def packed(peers: int, *, faults: int, coalition: int, field: Field, security: int = SECURITY) -> Layout:
    """Return the layout in which all peers are members, with as many secrets on a polynomial as they allow.

    Raises:
        UserError: too few peers for so many faults and so large a coalition.
    """
    _sane(peers, faults, coalition)
    if coalition < faults:
        raise UserError(
            f"secure.coalition = {coalition} is less than secure.faults = {faults}: who cheats also puts together what "
            "it sees; raise coalition, or lower faults"
        )
    packing = (peers + 1 - 2 * faults - 2 * coalition) // 2
    if packing < 1:
        raise UserError(
            f"secure.faults = {faults} and secure.coalition = {coalition} need at least "
            f"{2 * faults + 2 * coalition + 1} peers, not {peers}; take fewer of either"
        )
    return Layout(peers, peers, coalition, faults, packing, field, _repetitions(peers, faults, field, security))


def committee(
    peers: int, members: int, *, faults: int, coalition: int, field: Field, security: int = SECURITY
) -> Layout:
    """Return the layout in which ``members`` peers are drawn at random to hold the shares of all.

    Raises:
        UserError: the draw would too often hit more cheaters than the committee corrects, or than may learn nothing.
    """
    _sane(peers, faults, coalition)
    if not 1 <= members <= peers:
        raise UserError(f"secure.members = {members}: a committee has between 1 and all {peers} peers")
    corrected = (members - 2 * coalition - 1) // 2
    if corrected < 0:
        raise UserError(
            f"secure.members = {members} is too few for secure.coalition = {coalition}, which needs at least "
            f"{2 * coalition + 1} members; take more, or a smaller coalition"
        )
    borne = min(coalition, corrected, faults)
    limit = Fraction(1, 2**security)
    failure = chance_of_more(borne, peers=peers, faults=faults, members=members)
    if failure <= limit:
        failure = chance_of_failure(borne, peers=peers, faults=faults, members=members)
    if failure > limit:
        raise UserError(
            f"secure.members = {members} of {peers} peers: more than {borne} of the {faults} that may cheat "
            f"are drawn with probability {float(failure):.2g}, and a round needs that below {2.0**-security:.2g}; "
            "leave secure.members out, so that all peers hold shares"
        )
    packing = (members + 1 - 2 * borne - 2 * coalition) // 2
    repetitions = _repetitions(peers, faults, field, security)
    return Layout(peers, members, coalition, faults, packing, field, repetitions, float(failure))


def chance_of_more(borne: int, *, peers: int, faults: int, members: int) -> Fraction:
    """Return the chance that a draw of ``members`` among ``peers`` holds more than ``borne`` of ``faults``: exact."""
    if borne < 0:
        return Fraction(1)
    ways = sum(
        math.comb(faults, bad) * math.comb(peers - faults, members - bad)
        for bad in range(borne + 1, min(faults, members) + 1)
        if members - bad <= peers - faults
    )
    return Fraction(ways, math.comb(peers, members))


@lru_cache(maxsize=64)
def chance_of_failure(borne: int, *, peers: int, faults: int, members: int) -> Fraction:
    """Return the chance that 2 · liars + silent > 2 · ``borne`` in a draw: exact, for the worst mix of the two.

    Of all peers they are 2 · liars + silent ≤ 2 · ``faults``. Fewer liars and more silent ones can be worse than liars
    alone: with ``borne`` liars in a draw, one silent peer is one too many.
    """
    if borne >= faults:
        return Fraction(0)
    worst = 0
    for liars in range(faults + 1):
        silent = min(2 * (faults - liars), peers - liars)
        others = [math.comb(peers - liars - silent, good) for good in range(members + 1)]
        some = [math.comb(silent, count) for count in range(min(silent, members) + 1)]
        ways = 0
        for lying in range(min(liars, members) + 1):
            least, most = max(0, 2 * (borne - lying) + 1), min(silent, members - lying)
            beside = sum(some[count] * others[members - lying - count] for count in range(least, most + 1))
            ways += math.comb(liars, lying) * beside
        worst = max(worst, ways)
    return Fraction(worst, math.comb(peers, members))


def _repetitions(peers: int, faults: int, field: Field, security: int) -> int:
    """Return how often a check is repeated.

    A false value passes one with probability 1/p. Each cheater may decide, knowing the others' parts of the beacon,
    whether its own counts, and so try 2 beacons: f bits. Every check of every dealer may fail: log₂ of their number.
    """
    times = 1
    while field.modulus**times < (_CHECKS * peers) << (security + faults):
        times += 1
    return times


def _sane(peers: int, faults: int, coalition: int) -> None:
    if peers < 2:
        raise UserError(f"protocol = 'secure' needs at least two peers, not {peers}")
    if faults < 0:
        raise UserError(f"secure.faults = {faults} must be at least 0")
    if faults > peers:
        raise UserError(f"secure.faults = {faults} is more than the {peers} peers")
    if coalition < 1:
        raise UserError(f"secure.coalition = {coalition} must be at least 1: else every single share is the secret")
