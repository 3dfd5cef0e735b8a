"""What reports call those who took part and what they made: clients of a server, or peers without one."""

from dataclasses import dataclass

from common.config import Experiment
from experiments.run_files import Run
from experiments.wording import size
from peers.secure.plan import layout_of, rules_of


@dataclass(frozen=True)
class Parties:
    """The words of one protocol.

    Attributes:
        peers: whether there is no server.
        model: what the evaluator scores.
        rounds: beginning and end of the rounds figure's caption, after the score's name.
        own: heading of the column with each one's own score.
        traffic: caption of the table of who moved how many bytes.
        presence: caption of the figure of what became of everyone, with the strikes that exclude.
        everyone: the sentence for where nothing went wrong.
        missing: caption of the table of where something did.
        sayings: what is said of a server's federation → what is true here.
    """

    peers: bool
    model: str
    rounds: str
    own: str
    traffic: str
    presence: str
    everyone: str
    missing: str
    sayings: tuple[tuple[str, str], ...] = ()

    def say(self, text: str) -> str:
        """Return a sentence that was written for a server's federation as it is true here."""
        if not self.peers:
            return text
        for server, here in (
            *self.sayings,
            ("the server too", "the other peers too"),
            ("and the server knows the seed", "and every peer knows the seed"),
            ("and the server cannot see it", "and no other peer can see it"),
            ("honest client", "honest peer"),
            ("of each client by", "of each peer by"),
            ("Each client decides", "Each peer decides"),
            ("each client's own noise", "each peer's own noise"),
            (
                "The clients trained on records of their own, which the server does not know.",
                "The peers trained on records of their own, which no other peer knows.",
            ),
            ("ε after each round, for each client", "ε after each of its own local updates, for each peer"),
            ("a client's ledger runs over all rounds", "a peer's ledger runs over all its local updates"),
            ("over all rounds.", "over all of a peer's local updates."),
            ("holds, after all rounds,", "holds, after all local updates,"),
        ):
            text = text.replace(server, here)
        return text


def parties(experiment: Experiment) -> Parties:
    """Return the words for a description's protocol."""
    limit = experiment.federation.strikes_limit
    if experiment.protocol == "server":
        excluded = "such updates exclude a client" if limit != 1 else "such update excludes a client"
        return Parties(
            peers=False,
            model="global model",
            rounds="the global model after each round with its 95 % interval, and each client's update before "
            "aggregation. Dashed with crosses: a malicious client.",
            own="Updates, each with its own",
            traffic="Clients, and the bytes that they sent to and received from the server over all rounds, as they "
            "were packed.",
            presence="Who took part: what became of every client in every round. Refused: its update was bad, and "
            f"{limit} {excluded} for the rest of the run. Failed: it sent a reason in place of an update. Silent: it "
            "was asked, and no reply came. Absent: it could not be asked.",
            everyone="Every client took part in every round, and every update was accepted.",
            missing="Rounds in which each client's update was not accepted.",
        )
    if experiment.protocol == "secure":
        return Parties(
            peers=True,
            model="model that all peers have",
            rounds="the model that all peers have after each round, with its 95 % interval.",
            own="Peers, each with its own model's",
            traffic="Peers, and the bytes that they sent to and received from each other over all rounds, as they were "
            "packed.",
            presence="What became of every peer in every round. Refused: it cheated, provably, or it had no update. "
            "Silent: it said nothing where it should have. Excluded: it was seen to cheat in an earlier round.",
            everyone="Every peer kept to the protocol in every round, and every update was accepted.",
            missing="Rounds in which a peer cheated, was silent, or had no update.",
        )
    excluded = "such answers exclude it with whoever got them" if limit != 1 else "such answer excludes it"
    near = ", unless its model was only beyond federation.norm_limit" if experiment.federation.norm_limit else ""
    return Parties(
        peers=True,
        model="aggregated model",
        rounds="the aggregated model after each round with its 95 % interval, and each peer's own model. Dashed with "
        "crosses: a malicious peer.",
        own="Peers, each with its own model's",
        traffic="Peers, and the bytes that they sent to and received from each other over all rounds, as they were "
        "packed.",
        presence="What became of every peer in every round. Refused: another peer could not use what it answered, and "
        f"{limit} {excluded} for the rest of the run{near}. Failed: its own training did. Silent: another peer could "
        "not reach it, and went on without it. Excluded: nobody asks it any more.",
        everyone="Every peer answered whenever it was asked, and every answer could be used.",
        missing="Rounds in which another peer did without a peer's answer, or its own training failed.",
        sayings=(
            ("fp32 global model", "fp32 aggregated model"),
            ("that it received", "that it made of all models"),
            ("that every participant received", "that every participant can make of all models"),
        ),
    )


def protocol(run: Run) -> list[str]:
    """Return sentences that say how peers worked together; none where an honest server says it all."""
    experiment, settings = run.experiment, run.experiment.peers
    if experiment.protocol == "server":
        return _server(experiment)
    if experiment.protocol == "secure":
        return _secure(run)
    order = {
        "random": "the initiators are drawn by the seed from all, as in the paper",
        "shuffled": "each peer begins once a round, in an order drawn by the seed",
        "timers": "each begins by a random timer of its own",
    }[settings.order]
    rule = {
        "mean": "by the mean weighted by records, over "
        + ("those that are merged" if settings.denominator == "participants" else "all peers"),
        "alone": "by nobody: each trains by itself",
    }.get(settings.merge, f"by {settings.merge} around the peer's own model")
    sentences = [
        "There is no server (BrainTorrent, Guha Roy et al. 2019): a peer that begins a local update asks all others "
        "for their versions, pulls the models that are newer than those it merged last, merges them with its own, and "
        f"trains. After a first training of all, {order}; models are merged {rule}.",
        "There is no global model either: what is evaluated here is the aggregated one, made at the end of all models "
        "that can be had, but for those implausibly far from the rest"
        + (
            ", as the mean weighted by the records that each peer claims."
            if settings.merge in ("mean", "alone")
            else f", by {settings.merge} around their coordinate-wise median."
        ),
    ]
    last = run.rounds[-1] if run.rounds else None
    if last is not None and last.local_updates is not None and last.bytes_moved is not None:
        sentences.append(f"{last.local_updates} local updates moved {size(last.bytes_moved)} in all.")
    return sentences


def _server(experiment: Experiment) -> list[str]:
    """Return what a cheating server did, and who could know; nothing of an honest one."""
    conduct = experiment.federation.server_misbehaviour
    if conduct is None:
        return []
    returned = {
        "wrong-mean": f"the former global model moved against its rule's step, times {conduct.factor:g}",
        "stale": "the former global model, whatever its rule made",
        "garbage": "noise, as wide as the global model that its rule made",
    }[conduct.kind]
    return [
        f"The server cheats, as the description asks ({conduct.kind}): in each round it returns {returned}. No client "
        "can prove it: each knows its own update and what comes back, and that might be the rule's result on other "
        "clients' updates. What is scored here is what the server returned."
    ]


def _secure(run: Run) -> list[str]:
    """Return how the secure protocol worked, against whom, and what it shows."""
    experiment, settings = run.experiment, run.experiment.secure
    layout, rule = layout_of(experiment), rules_of(experiment)[0]
    names = {
        "rsa": "RSA (the mean of all peers' votes)",
        "box-clipping": "centered box clipping",
        "norm-bounded-mean": "the mean of updates of bounded norm",
        "fltrust": "FLTrust (weighted by how far an update points where that of the public records points)",
        "multi-krum": "multi-Krum (the mean of the updates that are nearest together)",
        "median": f"the coordinate-wise median, by {settings.votes} votes",
    }
    drawn = f" A committee of {layout.members}, drawn anew in each round, holds the shares."
    holders = drawn if layout.members < layout.peers else ""
    return [
        "There is no server, and nobody sees another's update (after Franzese et al. 2023): in each round all peers "
        "train the same model, deal their updates to each other in shares, check on the shares that each is one that "
        f"the rule allows, and open nothing but the rule's result. The rule is {names[settings.rule]}.{holders}",
        f"Against whom: {layout.faults} of {layout.peers} peers may deal, compute or say anything, and change nothing "
        f"but by an update that is allowed (one that is silent counts half); {layout.coalition} may put together all "
        "that they see. A wrong result comes out with a probability below 2^-40 a round. Not covered: who corrupts "
        "peers during a round, side channels, a network that keeps honest peers apart, and what the result itself "
        "tells, which is differential privacy's affair.",
        f"What is shown beside the new model: {rule.leaks[0].lower()}{rule.leaks[1:]} What was said to all lies in "
        "transcripts/, signed; psreval verify-transcript recomputes each round from it, and who cheated.",
    ]
