"""Laws of draws and cuts."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.splits import cut, shares, stratified_draw

labels_lists = st.lists(st.integers(0, 3), min_size=1, max_size=80)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8), st.integers(0, 500))
def test_shares_sum_up_and_are_within_one_of_exact(weights: list[float], total: int) -> None:
    found = shares(weights, total)
    assert sum(found) == total
    assert all(abs(share - total * weight / sum(weights)) <= 1 for share, weight in zip(found, weights, strict=True))


def test_shares_keep_the_least() -> None:
    assert shares([1000.0, 1.0, 1.0], 5, at_least=1) == [3, 1, 1]


@settings(deadline=None)
@given(labels_lists, st.integers(1, 90), st.integers(0, 5))
def test_a_draw_is_sorted_without_repeats_and_stratified(values: list[int], count: int, seed: int) -> None:
    labels = np.array(values, dtype=np.int64)
    drawn = stratified_draw(labels, count, generator(seed))
    assert len(drawn) == min(count, len(labels))
    assert (np.diff(drawn) > 0).all()
    present, sizes = np.unique(labels, return_counts=True)
    for label, size in zip(present, sizes, strict=True):
        got = int((labels[drawn] == label).sum())
        if count >= len(present):
            assert got >= 1
            assert got <= max(1, int(np.ceil(count * size / len(labels)))) or count >= len(labels)


def test_a_draw_depends_on_its_seed_alone() -> None:
    labels = np.arange(100, dtype=np.int64) % 3
    first, again, other = (stratified_draw(labels, 30, generator(seed)).tolist() for seed in (1, 1, 2))
    assert first == again != other


@settings(deadline=None)
@given(labels_lists, st.floats(0.05, 0.6), st.integers(0, 5))
def test_a_cut_parts_everything_and_takes_the_fraction_of_each_class(
    values: list[int], fraction: float, seed: int
) -> None:
    labels = np.array(values, dtype=np.int64)
    kept, taken = cut(labels, None, fraction, generator(seed))
    assert sorted([*kept, *taken]) == list(range(len(labels)))
    for label in np.unique(labels):
        size = int((labels == label).sum())
        got = int((labels[taken] == label).sum())
        assert got == (min(max(1, round(fraction * size)), size - 1) if size > 1 else 0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=80), st.integers(0, 5))
def test_no_group_straddles_a_cut(records: list[tuple[int, int]], seed: int) -> None:
    labels = np.array([label for label, _ in records], dtype=np.int64)
    groups = [f"person {group}" for _, group in records]
    kept, taken = cut(labels, groups, 0.3, generator(seed))
    assert len(kept) + len(taken) == len(records)
    assert {groups[record] for record in kept} & {groups[record] for record in taken} == set()


def test_a_class_of_large_groups_still_gives_one() -> None:
    labels = np.array([0] * 40 + [1] * 20, dtype=np.int64)
    groups = [f"a{number}" for number in range(40)] + ["big"] * 12 + ["small"] * 8
    kept, taken = cut(labels, groups, 0.1, generator())
    assert (labels[taken] == 1).sum() == 8
    assert (labels[kept] == 1).sum() == 12
