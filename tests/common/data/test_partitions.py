"""Laws of partitions."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.partitions import partition
from common.description import Data
from common.errors import UserError


def labels_of(records: int, classes: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, classes, records)


def assert_parts_everything(parts: list[np.ndarray], records: int) -> None:
    assert sorted(np.concatenate(parts).tolist()) == list(range(records))
    for part in parts:
        assert len(part) >= 1
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


@settings(deadline=None)
@given(
    clients=st.integers(1, 12),
    records=st.integers(12, 200),
    classes=st.integers(2, 5),
    spec=st.one_of(st.just("iid"), st.sampled_from([f"dirichlet:{a}" for a in (0.001, 0.1, 0.5, 10, 1e6)])),
    seed=st.integers(0, 3),
)
def test_a_partition_is_disjoint_and_covers(clients: int, records: int, classes: int, spec: str, seed: int) -> None:
    parts = partition(labels_of(records, classes), clients, Data(partition=spec, seed=seed))
    assert len(parts) == clients
    assert_parts_everything(parts, records)


def test_iid_is_even_and_depends_on_the_seed_alone() -> None:
    labels = labels_of(101, 3)
    first, again, other = (partition(labels, 4, Data(seed=seed)) for seed in (1, 1, 2))
    assert sorted(map(len, first)) == [25, 25, 25, 26]
    assert [part.tolist() for part in first] == [part.tolist() for part in again]
    assert [part.tolist() for part in first] != [part.tolist() for part in other]


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 50), min_size=1, max_size=6))
def test_explicit_sizes_are_kept_in_proportion(sizes: list[float]) -> None:
    parts = partition(labels_of(300, 3), len(sizes), Data(partition=tuple(sizes)))
    assert_parts_everything(parts, 300)
    for part, size in zip(parts, sizes, strict=True):
        assert abs(len(part) - 300 * size / sum(sizes)) <= len(sizes)


def test_a_small_alpha_concentrates_classes_and_a_large_one_spreads_them() -> None:
    labels = labels_of(3000, 3)

    def largest_share(spec: str) -> float:
        parts = partition(labels, 5, Data(partition=spec))
        return float(np.mean([max(np.mean(labels[part] == label) for label in range(3)) for part in parts]))

    assert largest_share("dirichlet:0.01") > 0.8
    assert largest_share("dirichlet:100000") < 0.4


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 3))
def test_by_label_gives_every_client_exactly_k_classes(each: int, clients: int, seed: int) -> None:
    labels = labels_of(400, 4)
    data = Data(partition=f"by-label:{each}", seed=seed)
    if each * clients < 4:
        with pytest.raises(UserError, match="leaves classes to nobody"):
            partition(labels, clients, data)
        return
    parts = partition(labels, clients, data)
    assert_parts_everything(parts, 400)
    assert [len(np.unique(labels[part])) for part in parts] == [each] * clients


@settings(deadline=None)
@given(clients=st.integers(1, 12), records=st.integers(12, 200), bands=st.integers(1, 9), seed=st.integers(0, 3))
def test_sorted_gives_every_client_an_equal_stretch(clients: int, records: int, bands: int, seed: int) -> None:
    strata = labels_of(records, bands)
    parts = partition(strata, clients, Data(partition="sorted", seed=seed))
    assert_parts_everything(parts, records)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for younger, older in pairwise(parts):
        assert strata[younger].max() <= strata[older].min()


def test_sorted_deals_equal_strata_by_seed() -> None:
    first, again, other = (partition(np.zeros(40, np.int64), 2, Data(partition="sorted", seed=s)) for s in (1, 1, 2))
    assert first[0].tolist() == again[0].tolist() != other[0].tolist()
    assert first[0].tolist() != list(range(20))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dirichlet:0", "dirichlet:ALPHA"),
        ("dirichlet:-1", "dirichlet:ALPHA"),
        ("dirichlet:nan", "dirichlet:ALPHA"),
        ("dirichlet:inf", "dirichlet:ALPHA"),
        ("dirichlet:", "dirichlet:ALPHA"),
        ("dirichlet", "is not known"),
        ("by-label:9", "only 3 classes"),
        ("by-label:0", "by-label:K"),
        ("by-label:1.5", "by-label:K"),
        ("by-label:1", "by-label:2"),
        ("idd", "did you mean 'iid'"),
        ("sorted:2", "did you mean 'sorted'"),
        ("", "is not known"),
        ((1.0, 2.0, 3.0), "3 sizes for 2 clients"),
    ],
)
def test_a_bad_partition_is_a_sentence(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        partition(labels_of(90, 3), 2, Data(partition=spec))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("clients", [0, 4])
def test_fewer_records_than_clients_is_a_sentence(clients: int) -> None:
    with pytest.raises(UserError, match="3 training records cannot be shared"):
        partition(labels_of(3, 2), clients, Data())


def test_a_class_smaller_than_its_holders_is_a_sentence() -> None:
    with pytest.raises(UserError, match="class 1 has 1 training records"):
        partition(np.array([0] * 20 + [1], dtype=np.int64), 4, Data(partition="by-label:2"))
