"""Whole peers over the network in one process, with toy training: the models are a simulation's, bit for bit."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from experiments.peer_certificates import make_peer_certificates
from experiments.peer_processes import free_addresses
from peers.agreement import agreement
from peers.credentials import Credentials
from peers.dial import Dialler
from peers.peer import Peer
from peers.process import Contact, take_part, told
from peers.simulation import InProcess
from tests.peers.test_agreement import IMAGES
from tests.peers.toy_fixture import gathered, played, toy

NAMES = [f"peer {number}" for number in range(4)]


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of the toy peers."""
    folder = tmp_path_factory.mktemp("toys")
    make_peer_certificates(folder, NAMES)
    return folder


def together(
    peers: list[Peer], keys: Path, at_the_end: Callable[[Peer, Dialler], None] = lambda peer, dialler: None
) -> dict[str, list[str]]:
    """Let peers take part, each in its thread; return what each reported."""
    addresses = dict(zip([peer.name for peer in peers], free_addresses(len(peers)), strict=True))
    said: dict[str, list[str]] = {peer.name: [] for peer in peers}
    problems: list[BaseException] = []

    def live(peer: Peer) -> None:
        host, _, port = addresses[peer.name].rpartition(":")
        others = {name: address for name, address in addresses.items() if name != peer.name}
        contact = Contact(Credentials.load(keys / peer.name), host, int(port), others)
        parts = agreement(peer.experiment, IMAGES)
        try:
            assert take_part(
                peer,
                contact,
                parts,
                report=said[peer.name].append,
                account=peer.name.encode,
                at_the_end=lambda dialler: at_the_end(peer, dialler),
            )
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=live, args=(peer,)) for peer in peers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), said
    assert problems == []
    return said


def same(one: Peer, other: Peer) -> bool:
    return all(torch.equal(array, other.state.arrays[name]) for name, array in one.state.arrays.items())


@pytest.mark.parametrize(("order", "initiators"), [("random", 1), ("shuffled", 3)])
def test_peers_on_the_network_come_to_a_simulations_models(
    tmp_path: Path, toys: Path, order: str, initiators: int
) -> None:
    experiment = toy(4, 4, peers__order=order, peers__initiators=initiators, misbehaviour={3: {"kind": "sign-flip"}})
    expected = played(experiment, tmp_path / "simulated")
    peers = gathered(experiment, tmp_path / "real")
    said = together(peers, toys)
    for one, other in zip(expected, peers, strict=True):
        assert same(one, other)
        mine, theirs = ([{**line, "seconds": 0} for line in peer.state.lines] for peer in (one, other))
        assert mine == theirs
        turns = [line for line in said[one.name] if line.startswith("turn ")]
        assert turns == [told(line, other) for line in other.state.lines]


def test_all_models_and_accounts_can_be_had_at_the_end(tmp_path: Path, toys: Path) -> None:
    found: dict[str, dict[str, object]] = {}

    def ask(peer: Peer, dialler: Dialler) -> None:
        found[peer.name] = dict(dialler.accounts(limit=100, timeout=30))

    together(gathered(toy(4, 2), tmp_path), toys, ask)
    assert found == {name: {other: other.encode() for other in NAMES if other != name} for name in NAMES}


def test_timers_take_every_turn_without_an_order(tmp_path: Path, toys: Path) -> None:
    experiment = toy(4, 3, peers__order="timers", peers__timer_seconds=0.2)
    peers = gathered(experiment, tmp_path)
    together(peers, toys)
    assert [peer.state.version for peer in peers] == [3, 3, 3, 3]
    assert any(line["merged"] for peer in peers for line in peer.state.lines)


def test_peers_that_have_ended_before_end_again(tmp_path: Path, toys: Path) -> None:
    experiment = toy(4, 2)
    together(gathered(experiment, tmp_path), toys)
    again = gathered(experiment, tmp_path)
    said = together(again, toys)
    assert not any(line.startswith("turn ") for lines in said.values() for line in lines)


def test_a_peer_that_is_to_end_early_leaves_its_turns_for_later(tmp_path: Path, toys: Path) -> None:
    over = threading.Event()
    peer = gathered(toy(4, 3, peers__turn_timeout=600.0), tmp_path)[0]
    contact = Contact(Credentials.load(toys / peer.name), "127.0.0.1", 0, {})
    over.set()
    assert not take_part(peer, contact, agreement(peer.experiment, IMAGES), report=lambda _: None, over=over)
    assert peer.state.turns == 1


def test_the_log_says_last_why_nothing_was_merged(tmp_path: Path) -> None:
    peers = gathered(toy(3, 3, peers__merge="median", peers__order="shuffled"), tmp_path)
    for peer in peers[:2]:
        peer.update(InProcess(peers, peer.name), 0)
    line = peers[0].update(InProcess(peers, "peer 0"), peers[0].next_wave())
    assert told(line, peers[0]) == (
        "turn 2 of 3: version 2, merged nobody; "
        "nothing was merged: 'median' needs 2 other models that are new, and 1 can be had; they count at the next turn"
    )
    failed = told({**line, "failed": "out of memory"}, peers[0])
    assert failed.endswith(f"the training failed: out of memory; {line['note']}")
    assert told(peers[1].state.lines[0], peers[1]) == "turn 1 of 3: version 1, merged nobody"
