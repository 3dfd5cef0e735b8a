"""The words of each protocol: a server's stay as they were, and a peer's name no server."""

from types import SimpleNamespace
from typing import cast

import pytest

from common.config import Experiment
from experiments import wording
from experiments.parties import parties, protocol
from experiments.run_files import Run
from tests.peers.toy_fixture import toy


def test_a_servers_sentences_are_left_as_they_are() -> None:
    words = parties(Experiment())
    assert (words.peers, words.model) == (False, "global model")
    for _, detail in wording.HEADINGS.values():
        assert words.say(detail) == detail


@pytest.mark.parametrize("limit", [1, 3])
def test_nothing_that_is_said_of_peers_names_a_server(limit: int) -> None:
    words = parties(toy(federation__strikes_limit=limit))
    said = [str(value) for name, value in vars(words).items() if name != "sayings"]
    said += [words.say(detail) for _, detail in wording.HEADINGS.values()]
    said += [words.say("ε holds against the server too"), words.say("holds the fp32 global model")]
    said += [words.say("The clients trained on records of their own, which the server does not know.")]
    said += [words.say("the worst honest client's records"), words.say("Training records of each client by class.")]
    for text in said:
        assert "server" not in text
        assert "client" not in text
        assert "global" not in text
    assert f"{limit} such answer" in words.presence


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("random", "After a first training of all, the initiators are drawn by the seed"),
        ("shuffled", "After a first training of all, each peer begins once a round, in an order"),
        ("timers", "After a first training of all, each begins by a random timer of its own;"),
    ],
)
def test_who_begins_is_a_whole_sentence(order: str, said: str) -> None:
    run = cast(Run, SimpleNamespace(experiment=toy(peers__order=order), rounds=[]))
    assert said in protocol(run)[0]


@pytest.mark.parametrize(
    ("conduct", "said"),
    [
        ({"kind": "wrong-mean", "factor": 2.0}, "moved against its rule's step, times 2."),
        ({"kind": "stale"}, "returns the former global model, whatever its rule made."),
        ({"kind": "garbage"}, "returns noise, as wide as the global model"),
    ],
)
def test_a_report_says_that_the_server_cheated_and_that_no_client_could_know(
    conduct: dict[str, object], said: str
) -> None:
    experiment = Experiment().change({"federation.server_misbehaviour": conduct})
    (told,) = protocol(cast(Run, SimpleNamespace(experiment=experiment, rounds=[])))
    assert told.startswith("The server cheats")
    assert said in told
    assert "No client can prove it" in told


def test_nothing_is_said_of_an_honest_server() -> None:
    assert protocol(cast(Run, SimpleNamespace(experiment=Experiment(), rounds=[]))) == []
