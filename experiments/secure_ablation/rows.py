"""Each check of the secure protocol, the attack that it stops, and how to try both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.secure_ablation import attackers, weakened
from experiments.secure_ablation.outcomes import ended, read_on_the_wire, told_apart, weighed
from experiments.secure_ablation.trial import ATTACKER, FAULTS, PEERS, SIZE, Trial, layout_in
from peers.secure.ball import ball, bound_for
from peers.secure.cheats import Liar, OutOfRange, SumLiar, TwoTongues
from peers.secure.field import LARGE
from peers.secure.party import Outcome, Player
from peers.secure.terms import SIGNS, Terms

Told = Callable[[Trial, Mapping[int, Outcome]], str]
BOUND = bound_for(SIZE)
LENGTHS = Terms(ball(layout_in(LARGE), SIZE, BOUND))


@dataclass(frozen=True, eq=False)
class Row:
    """A check, and who gets the better of those who leave it out.

    Attributes:
        check: what it is, and what it says.
        attack: what the attacker does.
        weakened: how those play that leave it out.
        attacker: how the attacker plays; None: it only listens.
        terms: what is asked of updates.
        updates: [peers, size]; None: votes.
        told: what came of it, as a clause.
    """

    check: str
    attack: str
    weakened: type[Player]
    attacker: type[Player] | None
    terms: Terms = SIGNS
    updates: NDArray[np.int64] | None = None
    told: Told | None = None

    def tried(self, *, check: bool) -> str:
        """Return what comes of the attack, with the check or without it."""
        trial = Trial(None if check else self.weakened, self.attacker, self.terms, self.updates)
        return (self.told or ended)(trial, trial.play())


def rows() -> list[Row]:
    """Return all rows."""
    generator = np.random.default_rng(2)
    short = np.rint(generator.normal(size=(PEERS, SIZE)) * BOUND / 2 / np.sqrt(SIZE)).astype(np.int64)
    reference = np.rint(generator.normal(size=SIZE) * BOUND / 2 / np.sqrt(SIZE)).astype(np.int64)
    near = reference // 2 + short // 16
    far = short.copy()
    far[ATTACKER] = np.rint(generator.normal(size=SIZE) * BOUND * 0.95 / np.sqrt(SIZE))
    apart = min(int(((far[ATTACKER] - far[peer]) ** 2).sum()) for peer in range(PEERS) if peer != ATTACKER)
    close = type("NearToAll", (attackers.NearToAll,), {"less": apart})
    scored = Terms(LENGTHS.ball, reference=LARGE.elements(reference))
    return [
        Row(
            "sealed parts",
            "listens to all that travels",
            weakened.NoEncryption,
            None,
            told=read_on_the_wire,
        ),
        Row(
            "masks under what is opened",
            "listens to what is said to all",
            weakened.NoMasks,
            None,
            told=told_apart,
        ),
        Row(
            "complaints, and answers to all",
            "sends one member nothing of its part",
            weakened.NoComplaints,
            attackers.Withholder,
        ),
        Row(
            "a beacon for the checks, opened after all have dealt",
            "deals numbers whose faults cancel out under known coefficients",
            weakened.NoBeacon,
            attackers.Foreseer,
        ),
        Row(
            "zeros: every number is 1 or −1",
            "deals its votes a thousand times",
            weakened.NoZeroCheck,
            OutOfRange,
        ),
        Row(
            "degree: shares are on polynomials",
            "deals a part of the second beacon that nobody can read",
            weakened.NoDegreeCheck,
            attackers.SpoiltBeacon,
        ),
        Row(
            "evidence, when a member's number does not fit",
            "opens a wrong number of an honest dealer",
            weakened.NoEvidence,
            Liar,
        ),
        Row(
            "agreement on what was said",
            "says different things to different peers",
            weakened.NoAgreement,
            TwoTongues,
        ),
        Row(
            "fingerprints of shares of the sum",
            "shows a wrong share of the sum",
            weakened.NoFingerprints,
            SumLiar,
        ),
        Row(
            "a second beacon for them, after shares are committed to",
            "commits to a wrong share whose fingerprint is right under known coefficients",
            weakened.NoSecondBeacon,
            attackers.WrongSum,
        ),
        Row(
            "sums: the squared norm and the slack make B²",
            "deals its update a thousand times too long",
            weakened.NoSumCheck,
            attackers.TooLong,
            LENGTHS,
            short,
        ),
        Row(
            "zeros: the slack is in bits",
            "makes up for it in what should be a bit",
            weakened.NoZeroCheck,
            attackers.NoBits,
            LENGTHS,
            short,
        ),
        Row(
            "projections: no number is so large that squares wrap around",
            "deals two numbers near to the modulus whose squares add up to 1",
            weakened.NoProjections,
            attackers.FarTooLong,
            LENGTHS,
            short,
        ),
        Row(
            "sums: the inner product is what the dealer says (FLTrust)",
            "deals the opposite of the reference, and says that it is near to it",
            weakened.NoSumCheck,
            attackers.Trusted,
            scored,
            near,
            weighed,
        ),
        Row(
            "sums: masks of distances add up to zero (multi-Krum)",
            "deals an update far from all, and masks that take the distance away",
            weakened.NoSumCheck,
            close,
            Terms(LENGTHS.ball, distances=True, malicious=FAULTS),
            far,
            weighed,
        ),
    ]
