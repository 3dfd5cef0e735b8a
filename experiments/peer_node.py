"""``psreval peer``: one peer of a federation without a server, as its own file says, from joining to the report."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from clients.holding import hospital_holding
from clients.image_facts import ImageFacts
from clients.learner import Learner
from clients.memory import InFolder, run_key
from clients.place import Place
from clients.rehearsal import rehearse_client
from common.config import Experiment
from common.errors import UserError
from common.exchange import arrays_of, load_arrays
from common.folder import RunFolder, write_arrays
from common.lock import locked
from common.models import build
from common.seeds import derive
from experiments.peer_account import Account, account_limit, decode_account, encode_account
from experiments.peer_federation import facts_of
from experiments.peer_file import AgreementFile, PeerFile, host_and_port, load_agreement, load_peer
from experiments.peer_report import Place as EvaluationPlace
from experiments.peer_report import evaluate_place, evaluation_place, write_federation
from experiments.peer_split import updates_of
from peers.agreement import Agreement, Images, agreement, digest_of
from peers.credentials import Credentials
from peers.dial import Dialler
from peers.merge import check_merge
from peers.neighbours import Unreachable
from peers.peer import STATE, Peer
from peers.process import Contact, take_part
from peers.simulation import collect_from
from peers.wire import Parcel, RefusedError

HISTORY = "history"
"""Folder of a peer's states after each turn, ``NUMBER.safetensors``, where they are kept."""
OWN_MODEL = "model.safetensors"
"""A peer's own model at the end, in its folder of the run."""


@dataclass(frozen=True)
class Node:
    """One peer, ready to take part; ``open_node`` makes one.

    Attributes:
        file: its own.
        agreed: what all have agreed on.
        experiment: the description as it carries it out.
        parts: of the agreement, as peers compare them.
        peer: with its state.
        learner: who trains.
        home: the run's folder in its state.
    """

    file: PeerFile
    agreed: AgreementFile
    experiment: Experiment
    parts: Agreement
    peer: Peer
    learner: Learner
    home: Path


def run_peer(config: Path, *, report: Callable[[str], None], over: threading.Event | None = None) -> RunFolder | None:
    """Take part in a run until it has ended and nobody needs this peer any more; evaluate it, if the file says so.

    Args:
        config: the peer's own file.
        report: called with one sentence for each thing that a person may want to know.
        over: set by whoever wants it to end early.

    Returns:
        The run's folder if this peer has evaluated it, else None.

    Raises:
        UserError: a mistake in its file, the agreement, its certificates or its data; a second process with its
            identity or its state; a state that cannot be written; or what the evaluation raises.
    """
    with open_node(config) as node:
        place = evaluation_place(node.file, node.agreed)
        if not _take_part(node, place, report, over):
            report(f"{node.peer.name}: ended early")
            return None
        report(f"{node.peer.name}: the run is over")
        return None if place is None else evaluate_place(place)


def _take_part(
    node: Node, place: EvaluationPlace | None, report: Callable[[str], None], over: threading.Event | None
) -> bool:
    contacts, peer = node.file.peer, node.peer
    host, port = host_and_port(contacts.listen, least=0)
    contact = Contact(credentials_of(node.file), host, port, contacts.addresses)
    report(f"{peer.name}: run {peer.run}, {len(node.learner.place.holding)} records")
    facts = facts_of(node.learner)

    def account() -> bytes:
        return encode_account(facts, peer.state)

    def at_the_end(dialler: Dialler) -> None:
        if place is not None and not written:
            limit, timeout = account_limit(node.experiment), node.experiment.peers.pull_timeout
            told = dialler.accounts(limit=limit, timeout=timeout)
            accounts = _accounts(node, told | {peer.name: account()}, report)
            write_federation(place, _models(node, dialler, report), accounts, peer.run)
        write_own_model(node)  # last: it says that this peer needs the others no more

    # Its model is there, and its turns were over before: an earlier process has written the federation, and those who
    # gave it their models may be gone. With turns left, the model is of a run whose state was lost.
    written = place is None or (peer.done and place.folder.model.exists())
    ended = peer.done and written and (node.home / OWN_MODEL).exists()
    return take_part(
        peer,
        contact,
        node.parts,
        report=report,
        over=over,
        account=account,
        after_turn=lambda: _keep_history(node),
        at_the_end=None if ended else at_the_end,
    )


@contextlib.contextmanager
def open_node(config: Path) -> Iterator[Node]:
    """Read a peer's file and all that it names, and hold its state for this process alone.

    Raises:
        UserError: a mistake in any of them, or another process works with this state.
    """
    file = load_peer(config)
    agreed = load_agreement(file.peer.agreement)
    file.check_fits(agreed.names())
    check_merge(agreed.experiment)
    experiment = agreed.of(file)
    parts = agreement(experiment, agreed.images)
    run = digest_of(parts)
    home = run_home(file.state, experiment.name, run)
    with training(file, agreed, updates_of(experiment)) as (learner, model):
        number = learner.place.number
        peer = Peer(experiment, number, initial=arrays_of(model), run=run, folder=home, learn=learner.learn)
        node = Node(file, agreed, experiment, parts, peer, learner, home)
        _keep_history(node)
        yield node


@contextlib.contextmanager
def training(file: PeerFile, agreed: AgreementFile, updates: Sequence[int]) -> Iterator[tuple[Learner, nn.Module]]:
    """Hold a peer's state for this process alone; yield who trains for it, and the model that all start from.

    Args:
        file: the peer's, which fits the agreement.
        agreed: what all have agreed on.
        updates: how many local updates each peer makes.

    Raises:
        UserError: another process works with this state, or a mistake in the peer's data, strategy or privacy.
    """
    number, experiment = agreed.names().index(file.name), agreed.of(file)
    with contextlib.ExitStack() as stack:
        try:
            alone = stack.enter_context(locked(file.state / "peer.lock", wait=False))
        except OSError as error:
            raise UserError(f"state = '{file.state}' cannot be written: {error.strerror}") from None
        if not alone:
            raise UserError(
                f"state = '{file.state}': another process works with it; only one may be {file.name} at a time"
            )
        holding = hospital_holding(file)
        if problem := agreed.images.problem_with(holding.dataset):
            raise UserError(f"{file.name}: {problem}; change its data, or agree anew")
        memory = InFolder(file.state, run_key(agreed.experiment, hospital=True))
        place = Place(experiment, experiment.clients[number], number, holding, memory, file)
        learner = Learner(place, _facts(agreed.images), updates[number])
        introduction = learner.introduce()
        model = initial(experiment, agreed.images)
        rehearse_client(experiment, place.client, number, holding, model, introduction.plan)
        yield learner, model


def run_home(state: Path, name: str, run: str) -> Path:
    """Return the folder in a peer's ``state`` that keeps what belongs to a run."""
    return state / f"{name}-{run}"


def initial(experiment: Experiment, images: Images) -> nn.Module:
    """Return the model that all peers start from; the one of a simulation on the same data."""
    return build(
        experiment.model,
        images.channels,
        len(images.classes),
        images.mean,
        images.std,
        seed=derive(experiment.seed, "initial weights"),
        image_size=images.image_size,
        task=images.task,
    )


def write_own_model(node: Node) -> None:
    """Write a peer's own model, whole, as ``model.safetensors`` of its folder. Raises UserError: a full disk."""
    model = initial(node.experiment, node.agreed.images)
    load_arrays(model, node.peer.state.arrays)
    write_arrays(node.home / OWN_MODEL, model.state_dict(), mode=0o600)


def credentials_of(file: PeerFile) -> Credentials:
    """Return who a peer is and whom it knows. Raises UserError: a folder that is another's, or lacks somebody."""
    credentials = Credentials.load(file.peer.certificates)
    if credentials.name != file.name:
        raise UserError(
            f"peer.certificates: {file.peer.certificates} belongs to '{credentials.name}', not to '{file.name}'; name "
            "this peer's own folder"
        )
    if missing := [name for name in file.peer.addresses if name not in credentials.known]:
        raise UserError(
            f"peer.certificates: {file.peer.certificates / 'peers'} has no {missing[0]}.crt, so {missing[0]} could "
            "not be told from a stranger; put its certificate there"
        )
    return credentials


def _models(node: Node, dialler: Dialler, report: Callable[[str], None]) -> dict[str, Parcel]:
    """Return the models that can be had at the end, this peer's own as it gives it to others."""
    peer, offer = node.peer, node.peer.state.offer
    had = collect_from(node.experiment, peer.run, peer.state.arrays, dialler, peer.others)
    for name in peer.others:
        if name not in had:
            report(f"{name}'s model cannot be had; the aggregated model is made without it")
    if offer.version:
        had[peer.name] = Parcel(peer.name, offer.version, offer.records, offer.arrays)
    return had


def _accounts(node: Node, told: Mapping[str, bytes | Unreachable], report: Callable[[str], None]) -> dict[str, Account]:
    """Return what peers told of their turns, as far as it can be read."""
    accounts = {}
    for number, name in enumerate(node.agreed.names()):
        try:
            answer = told.get(name, Unreachable("it was not asked"))
            if isinstance(answer, Unreachable):
                raise RefusedError(answer.reason)
            accounts[name] = decode_account(answer, name, number, node.experiment)
        except RefusedError as refused:
            report(f"{name} tells nothing of its turns: {refused}")
    return accounts


def _keep_history(node: Node) -> None:
    """Keep the state after the last turn, if the peer's file says so."""
    if node.file.peer.history and node.peer.state.turns:
        keep_copy(node.home, node.peer.state.turns)


def keep_copy(home: Path, number: int) -> None:
    """Keep the state under a number; its file is linked, not copied, since states are replaced as a whole."""
    place = home / HISTORY / f"{number}.safetensors"
    place.parent.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.link(home / STATE, place)


def _facts(images: Images) -> ImageFacts:
    return ImageFacts(images.classes, images.channels, images.image_size, images.mean, images.std)
