"""Claims about who withstands poisoners and cheating aggregators: what finished cells say of each protocol.

After Franzese et al. 2023, "Robust and Actively Secure Serverless Collaborative Learning" (arXiv 2310.16678): robust to
malicious clients and to malicious servers at once. Their tables are not available to us, so that no number of theirs is
tested; what counts as harm is ours. Every comparison is paired by repeat, which shares data, partition and initial
weights.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from common.config import Experiment
from experiments.study.claims import Claim
from experiments.study.deciding import Band, average
from experiments.study.evidence import (
    Evidence,
    Finding,
    Numbers,
    Part,
    finding,
    largest_of,
    minus,
    smallest_of,
)
from experiments.study.outcome import Trained, same_place, score, trained
from experiments.study.results import Estimate, Result, values
from experiments.study.way import BRAINTORRENT, FEDAVG

CLOSE, HARM = 0.02, 0.05
"""What "costs little" asserts of a distance, and from where on a loss is called harm: two points, five points."""
STUDY = "claims"
SERVER, SECURE = "server, ", "secure, "
"""What the names of a server's other rules, and of the secure protocol's, begin with."""
_ABUSED = ", under "
Summary = Callable[[Sequence[Numbers]], Estimate | None]
Kind = Callable[[Trained], bool]


def poisoned(one: Trained) -> float:
    """Return the share of the clients that follow another strategy than the honest one, in [0, 1]."""
    roster = _described(one).roster()
    return sum(client.strategy != "honest" for client in roster) / len(roster)


def cheated(one: Trained) -> bool:
    """Tell whether the server cheats, or any peer cheats in the protocol itself."""
    experiment = _described(one)
    return experiment.federation.server_misbehaviour is not None or any(
        client.misbehaviour is not None for client in experiment.roster()
    )


def cheaters_poison(one: Trained) -> bool:
    """Tell whether those who cheat in the protocol poison their data, too."""
    roster = _described(one).roster()
    return any(client.misbehaviour is not None and client.strategy != "honest" for client in roster)


def of_server(one: Trained) -> bool:
    """Tell whether a server aggregates, by whatever rule."""
    return one.way.method == FEDAVG or one.way.method.startswith(SERVER)


def of_secure(one: Trained) -> bool:
    """Tell whether the secure protocol aggregates, by whatever rule."""
    return one.way.method.startswith(SECURE)


def of_braintorrent(one: Trained) -> bool:
    """Tell whether it is BrainTorrent as published."""
    return one.way.method == BRAINTORRENT


def of_hardened(one: Trained) -> bool:
    """Tell whether it is BrainTorrent with a hardened rule."""
    return one.way.method.startswith(f"{BRAINTORRENT}, ")


def loss_to_cheaters(
    evidence: Evidence, *, methods: Kind, poisoners: Literal["none", "others", "cheaters"], overall: Summary
) -> Finding:
    """Return what cheating in aggregation takes: the score without it minus the score with it, attack by attack.

    Args:
        evidence: all finished cells.
        methods: which cells count.
        poisoners: who poisons, in as large a number with and without those who cheat: nobody; others than those who
            cheat; or also those who cheat.
        overall: parts → the quantity.
    """
    cells = [one for one in trained(evidence.results) if methods(one)]
    parts = []
    for abused in cells:
        if not cheated(abused) or _poisoners(abused) != poisoners:
            continue
        for before in cells:
            if not cheated(before) and poisoned(before) == poisoned(abused) and _alike(before, abused):
                parts.append(_part(abused, before, "without", "with"))
    return finding(parts, overall)


def loss_to_poisoners(evidence: Evidence, *, methods: Kind, share: float, overall: Summary) -> Finding:
    """Return what label flippers take: the score without them minus the score with a share of them."""
    cells = [one for one in trained(evidence.results) if methods(one) and not cheated(one)]
    parts = []
    for abused in cells:
        if abs(poisoned(abused) - share) > 1e-9:
            continue
        for before in cells:
            if poisoned(before) == 0 and _alike(before, abused):
                parts.append(_part(abused, before, "without", "with"))
    return finding(parts, overall)


def above_fedavg(evidence: Evidence, *, share: float, overall: Summary, sign: int = 1) -> Finding:
    """Return by how much the secure protocol's score exceeds FedAvg's where a share of the clients flip labels.

    ``sign`` = -1: by how much it stays below.
    """
    cells = [one for one in trained(evidence.results) if not cheated(one) and abs(poisoned(one) - share) <= 1e-9]
    parts = []
    for ours in filter(of_secure, cells):
        for theirs in cells:
            if theirs.way.method == FEDAVG and same_place(ours, theirs) and ours.way.updates == theirs.way.updates:
                first, second = (ours, theirs) if sign > 0 else (theirs, ours)
                beside = {"secure": _scores(ours), FEDAVG: _scores(theirs)}
                numbers = minus(_scores(first), _scores(second))
                parts.append(Part(label_of(ours), numbers, beside, (*ours.results, *theirs.results)))
    return finding(parts, overall)


def label_of(one: Trained) -> str:
    """Return ``"Phantom X-rays, 10 peers, secure, rsa, under 3 × label-flipper"``."""
    place = ", ".join([one.data, f"{one.way.peers} peers", one.name])
    return place + (_ABUSED + one.way.abuse if one.way.abuse else "")


def _poisoners(one: Trained) -> str:
    if poisoned(one) == 0:
        return "none"
    return "cheaters" if cheaters_poison(one) else "others"


def _described(one: Trained) -> Experiment:
    return one.results[0].cell.experiment


def _alike(one: Trained, other: Trained) -> bool:
    return same_place(one, other) and (one.way.method, one.way.updates) == (other.way.method, other.way.updates)


def _part(abused: Trained, before: Trained, without: str, having: str) -> Part:
    beside = {without: _scores(before), having: _scores(abused)}
    numbers = minus(beside[without], beside[having])
    return Part(label_of(abused), numbers, beside, (*abused.results, *before.results))


def _scores(one: Trained) -> Numbers:
    def value(result: Result) -> float | None:
        found = score(result)
        return None if found is None else found[0]

    return values(one.results, value)


_OURS = "not tried (our question)"
_CLAIMED = "claimed"
_TRIED = "10 of 20 malicious; by which attacks is not known to us"
_TAKEN = "clean test accuracy (fp32) without {who} minus that with {who}; {overall}"
_IS_HARM = "“Harm” is read as: more than five points"
_HOLDS = "“Withstands” is read as: loses at most five points"


def _quantity(who: str, overall: str) -> str:
    return _TAKEN.format(who=who, overall=overall)


def _of_poisoners(share: float, words: str) -> tuple[Claim, ...]:
    """Return the claims about a share of poisoners: every protocol by itself."""
    who = f"{words} of the clients flipping labels"
    claims = []
    for key, name, methods, paper in (
        ("server", "FedAvg and multi-Krum withstand", of_server, _OURS),
        ("braintorrent", "BrainTorrent withstands", of_braintorrent, _OURS),
        ("secure", "Every secure rule withstands", of_secure, _TRIED if share == 0.5 else _OURS),
    ):
        claims.append(
            Claim(
                f"{key}-poisoners-{round(100 * share)}", f"{name} {words} poisoners", paper,
                _quantity(who, "largest over rules and data"), _HOLDS, Band(None, HARM), "points", STUDY,
                partial(loss_to_poisoners, methods=methods, share=share, overall=largest_of),
            )
        )  # fmt: skip
    return tuple(claims)


SECURE_CLAIMS: tuple[Claim, ...] = (
    Claim(
        "server-ruins", "A server that cheats harms every federation that it serves, whatever rule it says it follows",
        _OURS, _quantity("a server that flips the sign of each step", "smallest over rules and data"), _IS_HARM,
        Band(HARM, None, strict=True), "points", STUDY,
        partial(loss_to_cheaters, methods=of_server, poisoners="none", overall=smallest_of),
    ),
    Claim(
        "peers-ruin-braintorrent", "A fifth of the peers, cheating, harms BrainTorrent as published", _OURS,
        _quantity("peers that give away a wrong model", "largest over abuses and data"), _IS_HARM,
        Band(HARM, None, strict=True), "points", STUDY,
        partial(loss_to_cheaters, methods=of_braintorrent, poisoners="none", overall=largest_of),
    ),
    Claim(
        "hardened-withstands", "Hardened BrainTorrent withstands them", _OURS,
        _quantity("peers that give away a wrong model", "largest over abuses and data"), _HOLDS, Band(None, HARM),
        "points", STUDY, partial(loss_to_cheaters, methods=of_hardened, poisoners="none", overall=largest_of),
    ),
    Claim(
        "secure-withstands", "The secure protocol withstands as many cheating aggregators as it is set for", _CLAIMED,
        _quantity("f peers that cheat in dealing and aggregating", "largest over rules, ways to cheat and data"),
        _HOLDS, Band(None, HARM), "points", STUDY,
        partial(loss_to_cheaters, methods=of_secure, poisoners="none", overall=largest_of),
    ),
    Claim(
        "secure-at-once", "The same where those who cheat are among 30 % poisoners", _CLAIMED,
        _quantity("f of the poisoners cheating, too, 30 % of all poisoning in both cases",
                  "largest over rules and data"),
        _HOLDS, Band(None, HARM), "points", STUDY,
        partial(loss_to_cheaters, methods=of_secure, poisoners="cheaters", overall=largest_of),
    ),
    Claim(
        "secure-beside", "The same where those who cheat had honest records, beside 30 % poisoners", _OURS,
        _quantity("f others that cheat, 30 % of all poisoning in both cases", "largest over rules and data")
        + "; once they are excluded, the poisoners are 37.5 % of the rest",
        _HOLDS, Band(None, HARM), "points", STUDY,
        partial(loss_to_cheaters, methods=of_secure, poisoners="others", overall=largest_of),
    ),
    *_of_poisoners(0.3, "30 %"),
    *_of_poisoners(0.5, "50 %"),
    Claim(
        "secure-above-fedavg-50", "With half of the clients poisoners, secure rules keep more than FedAvg, on average",
        _OURS, "clean test accuracy (fp32) of the secure protocol minus FedAvg's, with 50 % of the clients flipping "
        "labels in both; mean over rules and data",
        "It is above 0", Band(0.0, None, strict=True), "points", STUDY,
        partial(above_fedavg, share=0.5, overall=average),
    ),
    Claim(
        "secure-cost", "The secure protocol's rules cost little where nobody cheats", _OURS,
        "clean test accuracy (fp32) of FedAvg minus the secure protocol's, nobody cheating or poisoning; largest over "
        "rules and data",
        "“Little” is read as: at most two points", Band(None, CLOSE), "points", STUDY,
        partial(above_fedavg, share=0.0, overall=largest_of, sign=-1),
    ),
)  # fmt: skip
