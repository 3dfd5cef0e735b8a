"""What came of a trial: for the sum, for the culprits, and for what a listener reads."""

from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from experiments.secure_ablation import weakened
from experiments.secure_ablation.trial import ATTACKER, SIZE, Trial, honest_of, layout_in
from peers.secure.columns import Columns
from peers.secure.envelope import SealError, unseal
from peers.secure.field import SMALL, Elements
from peers.secure.party import Outcome
from peers.secure.ruling import Ruling
from peers.secure.sharing import interpolation, member_points, pack, slots, unpack


def ended(trial: Trial, outcomes: Mapping[int, Outcome]) -> str:
    """Say how a round ended for those who do not attack."""
    honest = honest_of(outcomes)
    first = honest[0]
    sums = {None if one.sum is None else one.sum.tobytes() for one in honest}
    named = sorted({culprit.peer for culprit in first.ruling.culprits})
    framed = [peer for peer in named if peer != ATTACKER]
    if len(sums) > 1 or len({one.ruling.head for one in honest}) > 1:
        return "**honest peers end the round with different results**"
    if first.sum is None:
        who = "the attacker is named" if ATTACKER in named and not framed else "**nobody is named**"
        return f"**no result** ({first.aborted}); {who}"
    field, told = first.ruling.layout.field, trial.told().astype(object)
    right = sum(told[peer] for peer in first.ruling.weights if peer != ATTACKER)
    own = told[ATTACKER] if ATTACKER in first.ruling.weights else 0
    off = np.abs(field.signed(first.sum).astype(object) - right - own)
    parts = ["the sum is right" if not off.any() else f"**the sum is wrong by up to {_size(max(off))}**"]
    parts += ["the attacker is named"] if ATTACKER in named else []
    parts += [f"**honest peer {framed[0]} is taken for a cheater**"] if framed else []
    return ", ".join(parts)


def weighed(trial: Trial, outcomes: Mapping[int, Outcome]) -> str:
    """Say what the attacker's update weighs, among all."""
    ruling = honest_of(outcomes)[0].ruling
    share = ruling.weights.get(ATTACKER, 0) / sum(ruling.weights.values())
    if ATTACKER in {culprit.peer for culprit in ruling.culprits}:
        return "the attacker is named, and its update counts for nothing"
    return f"**the attacker's update is {share:.0%} of the result**" if share else "its update counts for nothing"


def read_on_the_wire(trial: Trial, outcomes: Mapping[int, Outcome]) -> str:
    """Say how much of peer 0's update somebody reads who sees everything that travels."""
    layout = layout_in(SMALL)
    columns, shares = Columns(layout, SIZE), {}
    for _, sender, outgoing in trial.wire:
        for receiver, raw in outgoing.items() if sender == 0 else ():
            with suppress(SealError, ValueError):
                shares[receiver] = layout.field.from_bytes(unseal(weakened.KNOWN, 1, raw), columns.update)
    if len(shares) <= layout.degree:
        return "nothing of it can be opened"
    found = layout.field.signed(unpack(_secrets(outcomes[1].ruling, shares), SIZE))
    return f"**{int((found == trial.told()[0]).sum())} of {SIZE} numbers of an honest peer's update are read**"


def told_apart(trial: Trial, outcomes: Mapping[int, Outcome]) -> str:
    """Say which of a thousand updates fit what is opened of peer 0's for the check of the degree."""
    ruling, boards = outcomes[1].ruling, dict(outcomes[1].boards)
    field, layout, columns = ruling.layout.field, ruling.layout, ruling.columns
    challenge = ruling.challenge
    assert challenge is not None

    def said(phase: str, each: int, first: int) -> Elements:
        """Return the secrets of the first numbers of peer 0 that were opened in a phase."""
        told = {place: field.from_bytes(message.body, len(ruling.dealers) * each)[:first]
                for place, message in boards[phase].said.items()}  # fmt: skip
        return _secrets(ruling, told)

    opened = said("checks", columns.scalars, layout.repetitions)
    beacon = field.product(challenge.beacon, said("beacon 2", columns.beacon, columns.beacon).T).T
    guesses = [trial.told()[0], *np.random.default_rng(1).choice(np.array([-1, 1]), (999, SIZE))]
    fits = 0
    for guess in guesses:
        secrets = pack(field, field.elements(guess), layout.packing, filler=1)
        fits += np.array_equal(field.add(field.product(secrets, challenge.degree.T), beacon), opened)
    if not fits:
        return "none of 1,000 candidates for an honest peer's update fits, not even the right one"
    return f"**of 1,000 candidates for an honest peer's update {fits} fits: the right one**"


def _secrets(ruling: Ruling, shares: Mapping[int, Elements]) -> Elements:
    """Return the secrets [k, columns] of polynomials of which enough members' shares are known, all of them right."""
    field, layout = ruling.layout.field, ruling.layout
    places = sorted(shares)[: layout.degree + 1]
    points = tuple(member_points(layout.members)[place] for place in places)
    matrix = interpolation(field, points, slots(field, layout.packing))
    return field.product(matrix, np.stack([shares[place] for place in places]))


def _size(number: int) -> str:
    return f"{number:,}" if number < 10**6 else f"2^{int(number).bit_length() - 1}"
