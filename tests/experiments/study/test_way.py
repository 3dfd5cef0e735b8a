from typing import Any

import pytest

from common.config import Experiment, parse
from experiments.study.way import Way, way_of


def experiment(**tree: Any) -> Experiment:
    return parse({"clients": [{"count": 4}], "federation": {"rounds": 5}, **tree}, "made up")


def peers(merge: str = "mean", **more: Any) -> Experiment:
    return experiment(protocol="braintorrent", peers={"merge": merge, **more})


def test_one_client_of_a_server_is_pooled_training_whatever_the_partition() -> None:
    one = experiment(clients=[{}], data={"partition": "sorted"})
    assert way_of(one) == Way("pooled", 1, "", 5, "")


@pytest.mark.parametrize(
    ("description", "method"),
    [
        (experiment(), "FedAvg"),
        (experiment(federation={"rounds": 5, "aggregation": "median"}), "server, median"),
        (experiment(protocol="secure", clients=[{"count": 5}]), "secure, rsa"),
        (peers(), "BrainTorrent"),
        (peers("alone"), "alone"),
        (peers("krum"), "BrainTorrent, krum"),
        (peers(records_limit=50, refuse_repeats=True), "BrainTorrent, caps"),
        (peers("median", records_limit=50), "BrainTorrent, median + counts capped"),
        (peers(refuse_repeats=True), "BrainTorrent, repeats refused"),
        (peers(keep_optimizer=False), "BrainTorrent, fresh optimiser"),
        (peers(denominator="all"), "BrainTorrent, of all records"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_method_is_named_by_what_is_not_as_published(description: Experiment, method: str) -> None:
    assert way_of(description).method == method


@pytest.mark.parametrize(
    ("source", "partition", "split"),
    [
        ("phantom", "iid", "uniform"),
        ("brain", "sorted", "by age"),
        ("phantom", "sorted", "sorted"),
        ("phantom", "dirichlet:0.5", "Dirichlet(0.5)"),
        ("phantom", "by-label:2", "2 classes each"),
        ("phantom", [3.0, 1.0, 1.0, 1.0], "sizes 3:1:1:1"),
    ],
)
def test_a_split_is_said_in_words(source: str, partition: Any, split: str) -> None:
    assert way_of(experiment(data={"source": source, "partition": partition})).split == split


@pytest.mark.parametrize(
    ("client", "abuse"),
    [
        ({}, ""),
        ({"strategy": "adversarial-training"}, ""),
        ({"misbehaviour": {"kind": "garbage"}}, "garbage"),
        ({"misbehaviour": {"kind": "count-inflation", "factor": 100}}, "count-inflation ×100"),
        ({"misbehaviour": {"kind": "silent"}, "count": 2}, "2 × silent"),
        ({"strategy": "label-flipper"}, "label-flipper"),
        ({"strategy": "label-flipper", "misbehaviour": {"kind": "count-inflation"}},
         "count-inflation ×10 + label-flipper"),
    ],
)  # fmt: skip
def test_an_abuse_is_said_in_words(client: dict[str, Any], abuse: str) -> None:
    described = experiment(protocol="braintorrent", clients=[{"count": 3}, client])
    assert way_of(described).abuse == abuse


@pytest.mark.parametrize(("factor", "abuse"), [(-10, "sign-flip ×10"), (10, "scaling ×10")])
def test_a_server_has_a_counterpart_of_two_abuses(factor: float, abuse: str) -> None:
    client = {"strategy": "update-poisoner", "options": {"factor": factor}}
    assert way_of(experiment(clients=[{"count": 3}, client])).abuse == abuse


@pytest.mark.parametrize(
    ("conduct", "abuse"),
    [
        ({"kind": "wrong-mean", "factor": 2}, "server: wrong-mean ×2"),
        ({"kind": "stale"}, "server: stale"),
    ],
)
def test_a_server_that_cheats_is_an_abuse_beside_that_of_its_clients(conduct: dict[str, Any], abuse: str) -> None:
    federation = {"rounds": 5, "server_misbehaviour": conduct}
    assert way_of(experiment(federation=federation)).abuse == abuse
    clients = [{"count": 3}, {"strategy": "label-flipper"}]
    assert way_of(experiment(federation=federation, clients=clients)).abuse == f"label-flipper and {abuse}"
