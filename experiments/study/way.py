"""A way to train together: with a server or without, among how many, who holds what, and who abuses the protocol."""

from dataclasses import dataclass
from pathlib import Path

from common.config import Experiment
from common.description import Client

POOLED, FEDAVG, BRAINTORRENT, ALONE = "pooled", "FedAvg", "BrainTorrent", "alone"
FRESH = f"{BRAINTORRENT}, fresh optimiser"
"""As a server's clients do it: each local update begins without the optimiser's state from last time."""
CAPS = "caps"
"""Short for both: no claimed count above a limit, and no model merged twice under a new version."""
NOBODY = "nobody"
_POISONER = "update-poisoner"
_HARMLESS = ("honest", "adversarial-training")
_SCALED = ("count-inflation", "sign-flip", "scaling")


@dataclass(frozen=True)
class Way:
    """How an experiment's models come about.

    Attributes:
        method: ``pooled`` (one client holds everything), ``FedAvg``, another rule of a server, ``BrainTorrent``, a
            hardened variant of it, or ``alone`` (peers that merge nothing).
        peers: how many clients there are.
        split: who holds what, in words; empty where one holds everything.
        updates: local updates of each client, planned; without a server on average.
        abuse: how one or more abuse the protocol, in words, the server among them; empty: nobody does.
    """

    method: str
    peers: int
    split: str
    updates: int
    abuse: str


def way_of(experiment: Experiment) -> Way:
    """Return how an experiment trains."""
    roster = experiment.roster()
    return Way(
        method=_method(experiment),
        peers=len(roster),
        split=_split(experiment) if len(roster) > 1 else "",
        updates=experiment.federation.rounds,
        abuse=" and ".join(told for told in (_abuse(roster), _of_server(experiment)) if told),
    )


def _method(experiment: Experiment) -> str:
    peers, rule = experiment.peers, experiment.federation.aggregation
    if experiment.protocol == "server":
        if len(experiment.roster()) == 1:
            return POOLED
        return FEDAVG if rule == "fedavg" else f"server, {rule}"
    if experiment.protocol == "secure":
        return f"secure, {experiment.secure.rule}"
    if peers.merge == "alone":
        return ALONE
    capped = (peers.records_limit is not None, peers.refuse_repeats)
    more = {
        (False, False): [],
        (True, False): ["counts capped"],
        (False, True): ["repeats refused"],
        (True, True): [CAPS],
    }[capped]
    more += ["of all records"] if peers.denominator == "all" else []
    more += [] if peers.keep_optimizer else ["fresh optimiser"]
    hardened = [] if peers.merge == "mean" else [peers.merge]
    return ", ".join([BRAINTORRENT, " + ".join([*hardened, *more])]) if hardened or more else BRAINTORRENT


def _split(experiment: Experiment) -> str:
    """Return ``uniform``, ``by age``, ``Dirichlet(0.5)``, ``2 classes each`` or ``sizes 7:3``."""
    spec = experiment.data.partition
    if not isinstance(spec, str):
        return "sizes " + ":".join(f"{size:g}" for size in spec)
    kind, _, value = spec.partition(":")
    if kind == "sorted":
        return "by age" if experiment.data.source == "brain" else "sorted"
    return {"iid": "uniform", "dirichlet": f"Dirichlet({value})", "by-label": f"{value} classes each"}.get(kind, spec)


def _abuse(roster: tuple[Client, ...]) -> str:
    """Return ``"sign-flip ×10"``, or ``"2 × garbage"`` where two do it; a server's client can do some of it, too.

    What a client does to its own records counts as well: ``"count-inflation ×10 + label-flipper"``.
    """
    told = [word for client in roster if (word := _abuse_of(client))]
    counts = {word: told.count(word) for word in dict.fromkeys(told)}
    return " and ".join(word if count == 1 else f"{count} × {word}" for word, count in counts.items())


def _of_server(experiment: Experiment) -> str:
    """Return ``"server: wrong-mean ×1"``; empty where an honest one, or none, is."""
    conduct = experiment.federation.server_misbehaviour
    if conduct is None:
        return ""
    return f"server: {conduct.kind}" + (f" ×{conduct.factor:g}" if conduct.kind == "wrong-mean" else "")


def _abuse_of(client: Client) -> str:
    words = []
    if client.misbehaviour is not None:
        kind = client.misbehaviour.kind
        words.append(f"{kind} ×{client.misbehaviour.factor:g}" if kind in _SCALED else kind)
    if client.strategy == _POISONER:
        factor = float(client.options.get("factor", -1.0))
        words.append(f"{'sign-flip' if factor < 0 else 'scaling'} ×{abs(factor):g}")
    elif client.strategy not in _HARMLESS:
        words.append(Path(client.strategy).name)
    return " + ".join(words)
