"""BrainTorrent's studies: what is compared is comparable, by construction."""

import random
from collections import Counter
from collections.abc import Iterable
from functools import cache

import pytest

from experiments.braintorrent.publish import HERE, STUDIES
from experiments.study.description import load_study
from experiments.study.grid import Cell, cells_of
from experiments.study.outcome import as_many
from experiments.study.way import ALONE, BRAINTORRENT, FEDAVG, FRESH, POOLED, way_of
from peers.order import waves

SCALES = ("small", "paper", "tiny")


@cache
def cells(name: str, scale: str) -> tuple[Cell, ...]:
    return tuple(cells_of(load_study(HERE / f"{name}.toml", scale)))


def first(name: str, scale: str) -> list[Cell]:
    return [cell for cell in cells(name, scale) if cell.repeat == 0]


def test_all_studies_are_published() -> None:
    assert sorted(STUDIES) == sorted(path.stem for path in HERE.glob("*.toml"))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["dice", "accuracy"])
def test_every_method_is_compared_in_every_setting(name: str, scale: str) -> None:
    found: dict[tuple[int, str], Counter[str]] = {}
    for cell in first(name, scale):
        way = way_of(cell.experiment)
        if way.method != POOLED:
            found.setdefault((way.peers, way.split), Counter())[way.method] += 1
    assert len({way_of(cell.experiment).split for cell in first(name, scale)} - {""}) == 2
    for (peers, _), counts in found.items():
        fedavg = 1 if peers == 5 else 2  # among five, equal local updates move about equal bytes
        assert counts == {FEDAVG: fedavg, BRAINTORRENT: 1, FRESH: 1, f"{BRAINTORRENT}, median": 1, ALONE: 1}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["dice", "accuracy"])
def test_all_but_the_method_is_alike(name: str, scale: str) -> None:
    """The same records, network, passes, batches and seeds: what a fair comparison has in common."""
    alike = {
        (
            cell.experiment.data.model_copy(update={"partition": ""}),
            cell.experiment.model,
            cell.experiment.training,
            cell.experiment.privacy,
            cell.experiment.evaluation,
        )
        for cell in first(name, scale)
    }
    assert len(alike) == 1
    rounds = {cell.experiment.federation.rounds for cell in first(name, scale) if "equal bytes" not in cell.coordinates}
    assert len(rounds) == 1


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["dice", "accuracy"])
def test_fedavg_moves_braintorrents_bytes_in_the_rounds_that_it_gets(name: str, scale: str) -> None:
    """Of R updates each, a pair of peers moves (2 R - 1) / 4 models each way on average; a FedAvg round 2 N."""
    (updates,) = {c.experiment.federation.rounds for c in first(name, scale) if "equal bytes" not in c.coordinates}
    for cell in first(name, scale):
        if "equal bytes" in cell.coordinates:
            peers = way_of(cell.experiment).peers
            moved = peers * (peers - 1) * (2 * updates - 1) / 4
            assert cell.experiment.federation.rounds == pytest.approx(moved / (2 * peers), abs=0.51)


def pulled_in(turns: Iterable[int], peers: int) -> int:
    """Return the models pulled in one order of initiators: each merges what is newer than what it merged last."""
    version = [1] * peers
    merged = [[0] * peers for _ in range(peers)]
    pulled = 0
    for one in turns:
        for other in range(peers):
            if other != one and version[other] > merged[one][other]:
                merged[one][other] = version[other]
                pulled += 1
        version[one] += 1
    return pulled


@pytest.mark.parametrize(("peers", "updates"), [(4, 12), (10, 5), (20, 3)])
def test_the_formula_for_braintorrents_bytes(peers: int, updates: int) -> None:
    counts = []
    for seed in range(200):
        chance = random.Random(seed)
        counts.append(pulled_in([chance.randrange(peers) for _ in range((updates - 1) * peers)], peers))
    assert sum(counts) / len(counts) == pytest.approx(peers * (peers - 1) * (2 * updates - 1) / 4, rel=0.03)


def ratios(name: str, scale: str) -> dict[tuple[int, str], list[list[float]]]:
    """Return how many times BrainTorrent's bytes each FedAvg of a setting moves, repeat by repeat, from the orders.

    A model is as long on either way; what else is said is left out.
    """
    moved: dict[tuple[int, str], dict[int, int]] = {}
    servers: dict[tuple[int, str], dict[int, list[int]]] = {}
    for cell in cells(name, scale):
        way = way_of(cell.experiment)
        place = way.peers, way.split
        if way.method == BRAINTORRENT:
            turns = [one for wave in waves(cell.experiment)[1:] for one in wave]
            moved.setdefault(place, {})[cell.repeat] = pulled_in(turns, way.peers)
        elif way.method == FEDAVG:
            servers.setdefault(place, {}).setdefault(way.updates, []).append(cell.repeat)
    return {
        place: [[2 * place[0] * updates / moved[place][one] for one in repeats] for updates, repeats in found.items()]
        for place, found in servers.items()
    }


@pytest.mark.parametrize(("name", "settings"), [("dice", 4), ("accuracy", 2)])
def test_every_setting_has_a_fedavg_that_moved_as_many_bytes_by_the_orders_of_its_seeds(
    name: str, settings: int
) -> None:
    found = ratios(name, "small")
    assert len(found) == settings
    assert all(len(one) == 5 for lengths in found.values() for one in lengths)
    for place, lengths in found.items():
        assert sum(as_many(one) for one in lengths) == 1, (place, lengths)


def test_among_four_peers_single_repeats_differ_by_more_than_15_per_cent() -> None:
    """Why the mean over repeats decides."""
    (one,) = [one for one in ratios("dice", "small")[4, "uniform"] if as_many(one)]
    assert max(one) > 1.15


@pytest.mark.parametrize("scale", SCALES)
def test_one_of_eight_misbehaves_and_every_abused_cell_has_its_honest_twin(scale: str) -> None:
    ways = [way_of(cell.experiment) for cell in first("attacks", scale)]
    assert {way.peers for way in ways} == {8}
    honest = {way.method for way in ways if not way.abuse}
    assert {way.method for way in ways} == honest
    assert all(not way.abuse.startswith("2 ×") for way in ways)


def test_the_largest_share_is_what_caps_believe() -> None:
    for scale in ("small", "paper"):
        for cell in first("attacks", scale):
            if cell.experiment.peers.records_limit is not None:
                records = cell.experiment.data.train_records or 1400
                assert cell.experiment.peers.records_limit == -(-records // 8)


@pytest.mark.parametrize("scale", SCALES)
def test_no_cell_occurs_twice_in_a_study(scale: str) -> None:
    for name in ("dice", "accuracy", "attacks"):
        digests = [cell.experiment.digest() for cell in cells(name, scale)]
        assert len(set(digests)) == len(digests)
