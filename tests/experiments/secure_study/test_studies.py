"""The studies of poisoners and cheating aggregators: what is compared is comparable, by construction."""

import json
from collections import Counter
from functools import cache

import pytest

from common.config import Experiment
from common.description import Client
from experiments.secure_study.publish import HERE, STUDIES
from experiments.study.description import load_study
from experiments.study.grid import Cell, cells_of, count
from experiments.study.way import BRAINTORRENT, FEDAVG, way_of
from peers.secure.plan import layout_of

SCALES = ("small", "paper", "tiny")
ARMS = {
    FEDAVG, "server, multi-krum", BRAINTORRENT, f"{BRAINTORRENT}, median", "secure, rsa", "secure, box-clipping",
}  # fmt: skip
COUNTS = {"ten": 6 * 4 + 2 * 1 + 2 * 2 + 2 * 3, "twenty": 6 * 4 + 2 * 1 + 2 * 1 + 2 * 3}
"""Cells of a repeat: arms × shares of poisoners, then who cheats in aggregating."""


@cache
def cells(name: str, scale: str) -> tuple[Cell, ...]:
    return tuple(cells_of(load_study(HERE / f"{name}.toml", scale)))


def first(name: str, scale: str) -> list[Experiment]:
    return [cell.experiment for cell in cells(name, scale) if cell.repeat == 0]


def cheaters(experiment: Experiment) -> list[Client]:
    return [client for client in experiment.roster() if client.misbehaviour is not None]


def poisoners(experiment: Experiment) -> list[int]:
    return [place for place, client in enumerate(experiment.roster()) if client.strategy == "label-flipper"]


def test_all_studies_are_published() -> None:
    assert sorted(STUDIES) == sorted(path.stem for path in HERE.glob("*.toml"))


@pytest.mark.parametrize(("scale", "repeats"), [("small", 3), ("paper", 10), ("tiny", 2)])
def test_a_study_has_as_many_cells_as_its_arms_and_attacks_say(scale: str, repeats: int) -> None:
    for name, each in COUNTS.items():
        assert len(cells(name, scale)) == each * repeats
    assert count(load_study(HERE / "claims.toml", scale)) == sum(COUNTS.values()) * repeats


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", COUNTS)
def test_every_arm_meets_the_same_poisoners(name: str, scale: str) -> None:
    size = {"ten": 10, "twenty": 20}[name]
    found: dict[str, Counter[tuple[int, ...]]] = {}
    for one in first(name, scale):
        assert len(one.roster()) == size
        if not cheaters(one) and one.federation.server_misbehaviour is None:
            found.setdefault(way_of(one).method, Counter())[tuple(poisoners(one))] += 1
    assert set(found) == ARMS
    last = [tuple(range(size - round(share * size), size)) for share in (0.0, 0.1, 0.3, 0.5)]
    assert all(counts == Counter(last) for counts in found.values())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", COUNTS)
def test_all_but_the_protocol_and_the_attack_is_alike(name: str, scale: str) -> None:
    """The same records and who holds them, network, passes, batches, rounds, attacks at inference, and seeds."""
    alike = {
        json.dumps([one.model_dump(mode="json")[key] for key in ("seed", "data", "model", "training", "evaluation")])
        for one in first(name, scale)
    }
    assert len(alike) == 1
    assert len({one.federation.rounds for one in first(name, scale)}) == 1
    flippers = {json.dumps(one.roster()[place].options) for one in first(name, scale) for place in poisoners(one)}
    assert flippers == {'{"labels": "target:0"}'}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", COUNTS)
def test_cheaters_are_as_many_as_the_secure_protocol_withstands(name: str, scale: str) -> None:
    for one in first(name, scale):
        if cheaters(one):
            faults = {"ten": 2, "twenty": 4}[name]
            assert len(cheaters(one)) == faults
            if one.protocol == "secure":
                assert layout_of(one).faults == faults


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", COUNTS)
def test_every_protocol_meets_those_who_cheat_in_it_and_has_a_twin_without(name: str, scale: str) -> None:
    cheated: set[tuple[str, int]] = set()
    honest: set[tuple[str, int]] = set()
    for one in first(name, scale):
        cheats = bool(cheaters(one)) or one.federation.server_misbehaviour is not None
        (cheated if cheats else honest).add((way_of(one).method, len(poisoners(one))))
    assert {method for method, _ in cheated} == ARMS
    assert cheated <= honest


@pytest.mark.parametrize("scale", SCALES)
def test_no_cell_occurs_twice_in_a_study(scale: str) -> None:
    for name in COUNTS:
        digests = [cell.experiment.digest() for cell in cells(name, scale)]
        assert len(set(digests)) == len(digests)


def test_the_data_are_named_by_a_place_beside_the_description() -> None:
    """Which a user fills, or overrules; nothing on anyone's machine."""
    sources = {one.data.source for one in first("twenty", "small")}
    assert sources == {f"npz:{HERE / 'base' / 'pneumoniamnist.npz'}"}
    assert {one.data.source for one in first("ten", "small")} == {"phantom"}
