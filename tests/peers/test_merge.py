"""Merge rules: coefficients, closed forms, and what a liar can do under each."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from common.description import Peers
from common.errors import UserError
from common.rules.krum import krum
from common.rules.trimmed_mean import trimmed_mean
from peers.merge import MERGE, Own, aggregated, check_merge, least, merge
from peers.wire import Parcel
from tests.peers.toy_fixture import toy


def of(*values: float) -> dict[str, Tensor]:
    """A model of two tensors, of which each number is one of the values."""
    return {"b": torch.tensor(values), "a": torch.tensor([values[0] * 2])}


def parcels(*models: tuple[int, dict[str, Tensor]]) -> list[Parcel]:
    return [Parcel(f"peer {place}", 1, records, arrays) for place, (records, arrays) in enumerate(models)]


def own(value: float = 0.0, records: int = 10, step: float = 0.0) -> Own:
    return Own(of(value, value), records, step)


COUNTS = st.lists(st.integers(1, 10**6), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(
    counts=COUNTS,
    mine=st.integers(0, 10**6),
    denominator=st.sampled_from(["participants", "all"]),
    limit=st.none() | st.integers(1, 1000),
    absent=st.lists(st.integers(0, 10**6), max_size=4),
)
def test_the_coefficients_of_the_mean_sum_to_one(counts, mine, denominator, limit, absent) -> None:
    come = parcels(*((count, of(float(count), 1.0)) for count in counts))
    others = {parcel.sender: parcel.records for parcel in come} | {f"away {i}": n for i, n in enumerate(absent)}
    told = merge(own(records=mine), come, Peers(denominator=denominator, records_limit=limit), others)
    shares = [told.own, *told.coefficients.values()]
    assert all(share is not None and 0 <= share <= 1 for share in shares)
    assert sum(share for share in shares if share is not None) == pytest.approx(1, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(counts=COUNTS, seed=st.integers(0, 1000))
def test_the_mean_is_numpys_weighted_average(counts, seed) -> None:
    values = np.random.default_rng(seed).normal(size=(len(counts) + 1, 2)).astype(np.float32)
    come = parcels(*((count, of(*row)) for count, row in zip(counts, values[1:], strict=True)))
    told = merge(Own(of(*values[0]), 7, 0.0), come, Peers(), {})
    expected = np.average(values.astype(np.float64), axis=0, weights=[7, *counts])
    np.testing.assert_allclose(told.arrays["b"].numpy(), expected, rtol=1e-6, atol=1e-7)


def test_without_anybody_the_own_model_stays_as_it_is() -> None:
    for rule in MERGE:
        told = merge(own(0.3), [], Peers(merge=rule), {"peer 1": 10})
        assert (told.own, told.coefficients) == (1.0, {})
        assert torch.equal(told.arrays["b"], of(0.3, 0.3)["b"])


def test_over_all_peers_the_own_model_stands_in_for_those_that_have_nothing_new() -> None:
    come = parcels((10, of(1.0, 1.0)))
    told = merge(own(records=10), come, Peers(denominator="all"), {"peer 0": 10, "peer 1": 20})
    assert told.own == pytest.approx(0.75)
    assert told.arrays["b"].tolist() == pytest.approx([0.25, 0.25])
    assert merge(own(records=10), come, Peers(), {"peer 0": 10, "peer 1": 20}).own == 0.5
    lies = parcels((30, of(1.0, 1.0)))  # its model claims other records than it told before
    assert merge(own(records=10), lies, Peers(denominator="all"), {"peer 0": 0, "peer 1": 20}).own == pytest.approx(0.5)


def test_one_that_inflates_its_count_dominates_the_mean_unless_counts_are_capped() -> None:
    come = parcels((10, of(0.0, 0.0)), (10_000, of(100.0, 100.0)))
    assert merge(own(), come, Peers(), {}).arrays["b"][0] > 99
    capped = merge(own(), come, Peers(records_limit=10), {})
    assert capped.arrays["b"][0] == pytest.approx(100 / 3)
    assert capped.own == pytest.approx(1 / 3)


def test_the_own_count_is_capped_as_everybody_elses() -> None:
    """Else a cap would leave those with few records nothing to say to one that has many."""
    come = parcels((10_000, of(1.0, 1.0)))
    for rule in ("mean", "norm-clipping"):
        told = merge(own(records=10_000), come, Peers(merge=rule, records_limit=1), {})
        assert told.own == told.coefficients["peer 0"] == pytest.approx(0.5)
        assert merge(own(records=10**6), come, Peers(merge=rule, records_limit=1), {}).own == pytest.approx(0.5)


def test_one_that_has_nothing_new_counts_for_no_more_than_the_cap_either() -> None:
    settings_ = Peers(denominator="all", records_limit=10)
    told = merge(own(records=10), parcels((10, of(1.0, 1.0))), settings_, {"peer 0": 10, "away": 10**6, "small": 2})
    assert told.own == pytest.approx((10 + 10 + 2) / 32)
    assert told.coefficients == {"peer 0": pytest.approx(10 / 32)}


def test_the_median_and_the_trimmed_mean_are_coordinate_wise_with_the_own_model_among_the_values() -> None:
    come = parcels((1, of(1.0, -9.0)), (10**9, of(50.0, 1.0)))
    assert merge(own(), come, Peers(merge="median"), {}).arrays["b"].tolist() == [1.0, 0.0]
    come = parcels(*((1, of(value, value)) for value in (1.0, 2.0, 3.0, 1e6)))
    told = merge(own(), come, Peers(merge="trimmed-mean"), {})
    assert told.arrays["b"].tolist() == [2.0, 2.0]
    assert told.own is None
    assert set(told.coefficients.values()) == {None}


@pytest.mark.parametrize(("name", "rule"), [("trimmed-mean", trimmed_mean), ("krum", krum)])
def test_hardened_rules_see_differences_from_the_own_model_with_a_row_of_zeros_first(name, rule) -> None:
    generator = torch.Generator().manual_seed(3)
    models = [{"b": torch.randn(4, generator=generator), "a": torch.randn(2, 2, generator=generator)} for _ in range(6)]
    told = merge(Own(models[0], 5, 1.0), parcels(*((1, one) for one in models[1:])), Peers(merge=name), {})
    flat = np.stack([np.concatenate([one["a"].flatten().numpy(), one["b"].numpy()]) for one in models]).astype(float)
    expected = flat[0] + rule(flat - flat[0])
    found = np.concatenate([told.arrays["a"].flatten().numpy(), told.arrays["b"].numpy()])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_norm_clipping_moves_no_farther_than_its_norm_whoever_sends_whatever() -> None:
    settings_ = Peers(merge="norm-clipping", merge_options={"clip_norm": 3.0})
    far = parcels((10**9, of(1e6, 0.0)))
    told = merge(own(), far, settings_, {})
    assert sum(float(array.square().sum()) for array in told.arrays.values()) ** 0.5 == pytest.approx(3.0, rel=1e-5)
    near = parcels((10, of(0.1, 0.1)))
    assert merge(own(), near, settings_, {}).arrays["b"].tolist() == pytest.approx([0.05, 0.05])
    share = merge(own(), near, settings_, {})
    assert share.own is not None
    assert share.own + float(share.coefficients["peer 0"] or 0) == pytest.approx(1)


@pytest.mark.parametrize("rule", ["norm-clipping", "centered-clipping"])
def test_without_a_norm_the_last_own_training_is_the_measure(rule: str) -> None:
    far = parcels((10, of(1e6, 0.0)), (10, of(1e6, 0.0)))
    told = merge(own(step=0.5), far, Peers(merge=rule), {})
    moved = sum(float(array.square().sum()) for array in told.arrays.values()) ** 0.5
    assert 0 < moved <= 3 * 0.5 + 1e-6


def test_the_order_in_which_arrays_were_read_changes_no_bit() -> None:
    generator = torch.Generator().manual_seed(5)
    models = [{f"w{i}": torch.randn(50, generator=generator) for i in range(4)} for _ in range(6)]
    for rule in ("median", "trimmed-mean", "krum", "norm-clipping", "centered-clipping"):
        results = []
        for turned in (False, True):
            mine = dict(reversed(models[0].items())) if turned else models[0]
            told = merge(Own(mine, 5, 2.0), parcels(*((3, one) for one in models[1:])), Peers(merge=rule), {})
            results.append(told.arrays)
        assert all(torch.equal(results[0][name], results[1][name]) for name in models[0]), rule


def test_how_many_models_a_rule_waits_for() -> None:
    assert [least(Peers(merge=rule)) for rule in ("mean", "alone", "median", "trimmed-mean", "krum")] == [2, 2, 3, 5, 5]
    assert least(Peers(merge="trimmed-mean", merge_options={"beta": 0.34})) == 3
    assert least(Peers(merge="krum", merge_options={"num_malicious_nodes": 2})) == 7
    assert least(Peers(merge="norm-clipping")) == least(Peers(merge="centered-clipping")) == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"peers__merge": "medain"}, "peers.merge = 'medain' is unknown; did you mean 'median'"),
        ({"peers__merge": "krum"}, "needs 5 models, the own one among them, and there are 4"),
        ({"peers__merge": "mean", "peers__merge_options": {"beta": 0.1}}, "peers.merge_options.beta: 'mean' has no"),
        (
            {"peers__merge": "trimmed-mean", "peers__merge_options": {"beta": 0.7}},
            "peers.merge_options.beta = 0.7 must",
        ),
        ({"peers__merge": "norm-clipping", "peers__merge_options": {"clip_norm": -1}}, "merge_options.clip_norm = -1"),
        ({"peers__merge": "norm-clipping", "peers__merge_options": {"iterations": 1}}, "no such option"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_in_a_sentence(changes, sentence) -> None:
    with pytest.raises(UserError, match=r"peers\.merge") as told:
        check_merge(toy(4, **changes))
    assert sentence in str(told.value)


def test_every_rule_that_can_be_named_can_work() -> None:
    for rule in MERGE:
        check_merge(toy(5, peers__merge=rule))


def test_the_aggregated_model_is_the_weighted_mean_of_all() -> None:
    come = parcels((10, of(0.0, 4.0)), (30, of(4.0, 0.0)))
    for rule in ("mean", "alone"):
        assert aggregated(come, toy(peers__merge=rule))["b"].tolist() == pytest.approx([3.0, 1.0])
    assert aggregated(come, toy(peers__records_limit=10))["b"].tolist() == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize("rule", ["median", "trimmed-mean", "krum", "norm-clipping", "centered-clipping"])
def test_a_hardened_aggregated_model_stays_near_the_honest_ones_whoever_comes_first(rule: str) -> None:
    honest = [(10, of(1.0 + 0.01 * place, 1.0)) for place in range(6)]
    for models in ([(10**9, of(-1e4, 1e4)), *honest], [*honest, (10**9, of(-1e4, 1e4))]):
        found = aggregated(parcels(*models), toy(peers__merge=rule))
        assert 0.9 < float(found["b"][0]) < 1.2
        assert 0.9 < float(found["b"][1]) < 1.2


@pytest.mark.parametrize(("rule", "options"), [("norm-clipping", {}), ("centered-clipping", {"iterations": 1})])
def test_without_a_norm_an_aggregated_model_moves_by_steps_of_the_median_distance_from_the_median(
    rule: str, options: dict[str, int]
) -> None:
    values = [0.0, 1.5, 2.0, 3.0, 100.0]  # from the median: -2, -0.5, 0, 1, 98, so no step is longer than 1
    come = parcels(*((10, of(value, 1.0)) for value in values))
    found = aggregated(come, toy(peers__merge=rule, peers__merge_options=options))
    step = (-1 - 0.5 + 0 + 1 + 1) / 5
    assert found["b"].tolist() == pytest.approx([2 + step, 1.0])
    assert found["a"].tolist() == pytest.approx([2 * (2 + step)])


def test_with_fewer_models_than_the_rule_needs_the_aggregated_one_is_the_median() -> None:
    come = parcels((1, of(0.0, 0.0)), (1, of(1.0, 1.0)), (1, of(50.0, 50.0)))
    assert aggregated(come, toy(peers__merge="krum"))["b"].tolist() == [1.0, 1.0]
    assert aggregated(come[:1], toy(peers__merge="median"))["b"].tolist() == [0.0, 0.0]


def test_a_model_that_no_peer_would_merge_for_its_distance_is_not_in_the_aggregated_one() -> None:
    near = [(10, of(1.0, 1.0)), (30, of(3.0, 3.0))]
    for far, limit in ((1e9, None), (30.0, 20.0)):
        come = parcels((10**9, of(far, far)), *near)
        for rule in ("mean", "alone"):
            changes = {"peers__merge": rule, "federation__norm_limit": limit}
            assert aggregated(come, toy(**changes))["b"].tolist() == pytest.approx([2.5, 2.5])
    apart = parcels(*near)  # too far from each other: nobody can say who is not to be believed
    assert aggregated(apart, toy(federation__norm_limit=0.1))["b"].tolist() == pytest.approx([2.5, 2.5])


@pytest.mark.parametrize("rule", ["norm-clipping", "centered-clipping"])
def test_where_more_than_half_are_one_model_the_aggregated_one_is_that(rule: str) -> None:
    come = parcels(*((10, of(value, 1.0)) for value in (1.0, 1.0, 1.0, 1.1, 900.0)))
    assert aggregated(come, toy(peers__merge=rule))["b"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("rule", ["norm-clipping", "centered-clipping"])
def test_a_peer_that_has_not_trained_yet_clips_at_the_others_median_distance(rule: str) -> None:
    """Without a step of its own: else one that scales its update could drag it anywhere."""
    come = parcels((10, of(1.0, 1.0)), (10, of(1.1, 1.0)), (10, of(1000.0, 1000.0)))
    moved = merge(own(step=0.0), come, Peers(merge=rule), {})
    assert float(moved.arrays["b"].abs().max()) < 2
