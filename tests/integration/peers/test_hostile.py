"""Messages that no honest peer sends, from one that has a certificate: refused before they cost memory."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from torch import Tensor

from common.exchange import arrays_of
from experiments.peer_node import initial
from peers.agreement import agreement, digest_of, encode_greeting
from peers.credentials import Credentials
from peers.dial import Dialler, open_dialler
from peers.doorstep import open_doorstep
from peers.listen import Answering, listen
from peers.members import Members
from peers.neighbours import Unreachable
from peers.refusals import Refusals
from peers.speech import ASK, INSTANCE
from peers.wire import Parcel, Status, encode_parcel, encode_status
from tests.integration.peers.peers_fixture import PeerSite, peer_site, tiny

NAMES = ("a", "b", "rogue")
HUGE = 300 * 2**20
"""Bytes that a rogue sends; what an honest peer may grow by is a fraction of that."""
ALLOWANCE = 150 * 2**20


class Rogue:
    """Answers pings as an honest peer with ever new versions, and pulls with whatever comes next."""

    def __init__(self, here: PeerSite, answers: list[Callable[[dict[str, Tensor]], bytes]]) -> None:
        self.run = digest_of(agreement(here.experiment, here.images))
        self.template = arrays_of(initial(here.experiment, here.images))
        self._answers = answers
        self._version = 0
        self._lock = threading.Lock()
        self.gave: dict[str, int] = {}

    def answer(self, asker: str, question: bytes) -> bytes:
        asked = json.loads(question)
        with self._lock:
            self._version += 1
            if asked["ask"] == "ping":
                return encode_status(Status(self._version, 24, 10**6, True), self.run)
            turn = self.gave.get(asker, 0)
            self.gave[asker] = turn + 1
        return self._answers[turn % len(self._answers)](self.template)

    def parcel(self, arrays: dict[str, Tensor], sender: str = "rogue") -> bytes:
        return encode_parcel(Parcel(sender, self._version, 24, arrays), self.run)


@contextmanager
def joined(here: PeerSite, answering: Answering) -> Iterator[Dialler]:
    """Take part as the peer ``rogue`` from this process."""
    host, _, port = here.addresses["rogue"].rpartition(":")
    refusals = Refusals(lambda sentence: None)
    others = {name: here.addresses[name] for name in NAMES if name != "rogue"}
    with open_doorstep(Credentials.load(here.keys / "rogue"), refusals) as doorstep:
        members = Members(doorstep.is_open)
        with (
            listen(doorstep, host, int(port), answering, members, refusals, 2),
            open_dialler(doorstep, members, others) as dialler,
        ):
            yield dialler


def memory(pid: int) -> int:
    """Bytes that a process has held at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.processes
def test_answers_that_cannot_be_merged_are_refused_and_end_in_exclusion(tmp_path: Path) -> None:
    experiment = tiny(NAMES, federation__rounds=8, federation__strikes_limit=5, peers__order="shuffled")
    with peer_site(tmp_path / "site", experiment) as here:
        rogue: Rogue
        answers: list[Callable[[dict[str, Tensor]], bytes]] = [
            lambda _: b"\x00" * HUGE,
            lambda arrays: rogue.parcel(arrays)[:-8],
            lambda arrays: rogue.parcel({name: array.flatten() for name, array in arrays.items()}),
            lambda arrays: rogue.parcel({name: torch.full_like(array, float("nan")) for name, array in arrays.items()}),
            lambda _: np.random.default_rng(0).bytes(10_000),
        ]
        rogue = Rogue(here, answers)
        greeting = encode_greeting(agreement(here.experiment, here.images), True)
        with joined(here, Answering(rogue.answer, greet=lambda *_: greeting)):
            honest = {name: here.peer(name) for name in ("a", "b")}
            here.took("a", 1)
            before = {name: memory(program.pid) for name, program in honest.items()}
            for name in honest:
                here.took(name, 7)
                assert memory(honest[name].pid) - before[name] < ALLOWANCE
            here.finished(honest)
        for name in honest:
            lines = here.lines_of(name)
            refused = [line["refused"]["rogue"] for line in lines if "rogue" in line["refused"]]
            assert len(refused) == 5
            for told, expected in zip(
                refused, ("has more than", "bytes instead of", "bytes instead of", "", ""), strict=True
            ):
                assert expected in told
            assert "not finite" in refused[3]
            assert not any("rogue" in line["merged"] for line in lines)
            assert lines[-1]["excluded"] == ["rogue"]


@pytest.mark.processes
def test_questions_that_nobody_asks_cost_nothing_and_stop_nobody(tmp_path: Path) -> None:
    experiment = tiny(NAMES, peers__turn_timeout=3.0, peers__order="shuffled")
    with peer_site(tmp_path / "site", experiment) as here:
        here.hold("train-a-2", "train-b-2")
        honest = {name: here.peer(name) for name in ("a", "b")}
        here.took("a", 1)
        before = memory(honest["a"].pid)
        with joined(here, Answering(lambda *_: b"")) as dialler:
            for question in (
                b"",
                b"{",
                b"[]" * 100,
                b"\xff" * 500,
                b'{"run": 1, "ask": "ping", "before": null}',
                bytes(HUGE),
            ):
                for _ in range(3):
                    assert isinstance(dialler.ask_all({"a": question}, limit=10**9, timeout=30)["a"], Unreachable)
            flood(dialler)
        assert memory(honest["a"].pid) - before < ALLOWANCE
        assert "refused 'rogue' at 127.0.0.1:" in honest["a"].said()
        assert honest["a"].said().count("\n") < 100
        here.release("train-a-2", "train-b-2")
        here.finished(honest)
        assert {"a", "b"} <= {name for name in NAMES if here.turns(name) == 3}


def flood(dialler: Dialler) -> None:
    """Ask far more questions at once than are answered, of a method that there is and of one that there is not."""
    channel = vars(dialler)["_channels"]["a"]
    calls = [
        channel.unary_stream(method)(bytes(100), timeout=20, metadata=((INSTANCE, "x" * 32),))
        for _ in range(100)
        for method in (ASK, "/psreval.Peers/Shutdown")
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError):
            list(call)
