from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from experiments.study.claims import CLAIMS, Verdict, judge
from experiments.study.deciding import CONFIRMED, OPEN, REFUTED
from experiments.study.results import Result
from tests.experiments.study.made_up import experiment, result

WOBBLE = (-0.001, 0.0, 0.001)
"""What repeats add to a value: an interval of ± 0.25 points for a mean, 0.001·4.303/√3."""


def cells(
    measures: Mapping[tuple[str, ...], float], wobble: tuple[float, ...] = WOBBLE, **described: Any
) -> list[Result]:
    """Return repeats of one setting whose fp32 values are as given and whose int8 values wobble."""
    return [
        result(
            experiment(seed=1 + repeat, **described),
            repeat,
            {key: value + (more if key[0] == "int8" else 0) for key, value in measures.items()},
        )
        for repeat, more in enumerate(wobble)
    ]


def wobbling(measures: Mapping[tuple[str, ...], float], **described: Any) -> list[Result]:
    """Return three repeats in which every value wobbles."""
    return [
        result(experiment(seed=1 + repeat, **described), repeat, {key: value + more for key, value in measures.items()})
        for repeat, more in enumerate(WOBBLE)
    ]


def verdict(key: str, results: list[Result], facts: Mapping[str, Any] | None = None) -> Verdict:
    (found,) = [one for one in judge(results, facts or {}) if one.asked.key == key]
    return found


def test_nothing_measured_decides_nothing() -> None:
    found = judge([], {})
    assert {one.verdict for one in found} == {OPEN}
    assert len({claim.key for claim in CLAIMS}) == len(CLAIMS) == len(found)
    assert all(one.ours is None and one.why == "nothing was measured for it" for one in found)


@pytest.mark.parametrize(("counted", "verdict_"), [(0.7442, CONFIRMED), (0.70, REFUTED)])
def test_sizes_are_decided_as_the_paper_counts(counted: float, verdict_: str) -> None:
    facts = {"fp32_bytes": 9_791_808, "int8_bytes": 2_469_573, "reduction": 0.60, "state_dict_reduction": counted}
    found = verdict("size-resnet9", [], {"sizes": {"ResNet-9": facts}})
    assert found.verdict == verdict_
    assert found.ours is not None
    assert found.ours.mean == counted
    del facts["state_dict_reduction"]
    assert verdict("size-resnet9", [], {"sizes": {"ResNet-9": facts}}).verdict == REFUTED


@pytest.mark.parametrize(
    ("change", "average", "everywhere"),
    [(0.002, CONFIRMED, CONFIRMED), (-0.05, REFUTED, REFUTED), (0.009, OPEN, OPEN)],
)
def test_int8_accuracy_is_paired(change: float, average: str, everywhere: str) -> None:
    # Repeats differ by 20 points among themselves and by 0.2 between fp32 and int8: only pairing sees it.
    results = [
        result(experiment(seed=1 + r), r, {("fp32", "clean"): base, ("int8", "clean"): base + change + more})
        for r, (base, more) in enumerate(zip((0.5, 0.7, 0.6), WOBBLE, strict=True))
    ]
    assert verdict("int8-accuracy-average", results).verdict == average
    found = verdict("int8-accuracy-everywhere", results)
    assert found.verdict == everywhere
    assert found.ours is not None
    assert found.ours.mean == pytest.approx(abs(change))


def test_one_bad_setting_refutes_everywhere_and_not_the_average() -> None:
    good = [
        one
        for epsilon in (7.0, 6.0, 5.0, 4.0, 3.4, 3.0, 2.5, 2.0, 1.7)
        for one in cells({("fp32", "clean"): 0.5, ("int8", "clean"): 0.5}, epsilon=epsilon)
    ]
    bad = cells({("fp32", "clean"): 0.5, ("int8", "clean"): 0.45}, wobble=(-0.0001, 0, 0.0001))
    assert verdict("int8-accuracy-average", good + bad).verdict == CONFIRMED
    assert verdict("int8-accuracy-everywhere", good + bad).verdict == REFUTED
    assert verdict("int8-accuracy-everywhere", good).verdict == CONFIRMED


def test_a_single_repeat_is_said_to_decide_nothing() -> None:
    found = verdict("int8-accuracy-average", cells({("fp32", "clean"): 0.5, ("int8", "clean"): 0.5}, wobble=(0.0,)))
    assert found.verdict == OPEN
    assert "single repeat" in found.why


@pytest.mark.parametrize(("apart", "verdict_"), [(0.005, CONFIRMED), (0.30, REFUTED)])
def test_dp_and_non_dp_targets_each_meet_a_generator_of_their_own_privacy(apart: float, verdict_: str) -> None:
    dp = wobbling({("fp32", "transfer", "private"): 0.3 + apart, ("fp32", "transfer", "non-private"): 0.9}, epsilon=7.0)
    plain = cells({("fp32", "transfer", "private"): 0.0, ("fp32", "transfer", "non-private"): 0.3})
    found = verdict("dp-within", dp + plain)
    assert found.verdict == verdict_
    assert found.ours is not None
    assert found.ours.mean == pytest.approx(apart)


@pytest.mark.parametrize(("gain", "small"), [(0.05, CONFIRMED), (0.0, REFUTED), (0.2, REFUTED), (0.026, OPEN)])
def test_gains_under_transfer_are_about_what_the_paper_says(gain: float, small: str) -> None:
    found = judge(
        cells({("fp32", "transfer", "non-private"): 0.3, ("int8", "transfer", "non-private"): 0.3 + gain}), {}
    )
    verdicts = {one.asked.key: one for one in found}
    assert verdicts["int8-transfer-small"].verdict == small
    assert verdicts["int8-transfer-large"].ours is None  # ResNet-9 says nothing of ResNet-18


def test_the_insider_is_set_against_the_same_images_on_fp32() -> None:
    results = cells({("fp32", "white-box"): 0.20, ("int8", "insider"): 0.201, ("int8", "white-box"): 0.35})
    found = {one.asked.key: one for one in judge(results, {})}
    assert found["int8-insider-average"].verdict == found["int8-insider-everywhere"].verdict == CONFIRMED
    assert found["int8-white-box-average"].verdict == found["int8-white-box-everywhere"].verdict == REFUTED


def test_masking_is_told_for_quantization_claims_alone() -> None:
    doubt = "int8: an unbounded attack (eps = 1) leaves 9.0 % of 40 images: the attack fails, not the model resists"
    measures = {("fp32", "white-box"): 0.2, ("int8", "white-box"): 0.2}
    doubted = [result(experiment(seed=r), r, measures, warnings=(("unreliable", doubt),)) for r in (1, 2)]
    found = judge(doubted, {})
    assert all((one.masking is not None) == one.asked.quantization for one in found)
    told = verdict("int8-white-box-average", doubted).masking or ""
    assert told.startswith("flagged in 2 of 2 evaluations")
    assert doubt in told
    assert "not flagged in any of 3" in (verdict("int8-white-box-average", cells(measures)).masking or "")


def test_a_dp_generator_is_judged_by_success_at_the_smallest_epsilon() -> None:
    key = ("fp32", "transfer", "private", "attack_success")
    strong, weak = wobbling({key: 0.97}, epsilon=1.7), wobbling({key: 0.2}, epsilon=7.0)
    assert verdict("dp-breaks-dp", weak + strong).verdict == CONFIRMED
    assert verdict("dp-breaks-dp", weak).verdict == REFUTED


def queried(results: list[Result]) -> list[Result]:
    """Return cells of another study that attacks the same federations, and with queries as well."""
    changes = {"evaluation.threats": ["white-box", "insider", "transfer", "query"], "evaluation.query_records": 40}
    return [
        replace(
            one,
            cell=replace(one.cell, study="other", experiment=one.cell.experiment.change(changes)),
            path=one.path.with_name(f"{one.path.name}-queried"),
        )
        for one in results
    ]


def test_the_smallest_epsilon_is_that_of_all_studies_together() -> None:
    key = ("fp32", "transfer", "private", "attack_success")
    strong, weak = wobbling({key: 0.97}, epsilon=1.7), wobbling({key: 0.2}, epsilon=7.0)
    found = verdict("dp-breaks-dp", strong + queried(weak))
    assert [part.label for part in found.parts] == ["CIFAR-10, ResNet-9, ε = 1.7, fp32"]
    assert found.verdict == CONFIRMED
    bare = wobbling({("fp32", "white-box"): 0.1}, epsilon=1.0)  # met no generator
    assert verdict("dp-breaks-dp", strong + bare).verdict == CONFIRMED


def test_a_federation_that_two_studies_attack_counts_once_in_a_mean() -> None:
    one = cells({("fp32", "white-box"): 0.2, ("int8", "white-box"): 0.2})
    other = cells({("fp32", "white-box"): 0.2, ("int8", "white-box"): 0.5}, epsilon=7.0)
    found = verdict("int8-white-box-average", one + queried(one) + other)
    assert len(found.parts) == 2
    assert found.ours is not None
    assert found.ours.mean == pytest.approx(0.15)


def test_a_gain_of_nothing_over_nothing_does_not_count() -> None:
    floor = [
        result(experiment(seed=1 + r, epsilon=epsilon), r, {("fp32", "white-box"): 0.0, ("int8", "insider"): 0.0})
        for epsilon in (3.4, 7.0)
        for r in range(3)
    ]
    kept = cells({("fp32", "white-box"): 0.2, ("int8", "insider"): 0.3})
    found = verdict("int8-insider-average", floor + kept)
    assert found.ours is not None
    assert found.ours.mean == pytest.approx(0.1)
    assert found.verdict == REFUTED
    assert "2 of 3 settings left out" in found.notes[0]
    assert len(found.parts) == 1
    for key in ("int8-insider-average", "int8-insider-everywhere"):
        nothing = verdict(key, floor)
        assert (nothing.verdict, nothing.ours) == (OPEN, None)
        assert "0 − 0 says nothing" in nothing.why


def test_what_int8_alone_keeps_is_a_gain() -> None:
    found = verdict("int8-insider-average", cells({("fp32", "white-box"): 0.0, ("int8", "insider"): 0.1}))
    assert found.verdict == REFUTED
    assert found.notes == ()


def test_generators_are_compared_on_dp_targets() -> None:
    left = {("fp32", "transfer", "private"): 0.05}
    results = [
        result(experiment(epsilon=1.7, seed=r), r, left | {("fp32", "transfer", "non-private"): 0.3 + more})
        for r, more in enumerate(WOBBLE)
    ]
    assert verdict("generators-apart", results).verdict == CONFIRMED
    assert verdict(
        "generators-apart", wobbling(left | {("fp32", "transfer", "non-private"): 0.05}, epsilon=1.7)
    ).verdict == (REFUTED)


@pytest.mark.parametrize(("loss", "verdict_"), [(0.13, CONFIRMED), (0.01, REFUTED), (0.40, REFUTED)])
def test_the_cost_of_adversarial_training_is_the_largest_loss_but_fabs(loss: float, verdict_: str) -> None:
    base = cells({("fp32", "clean"): 0.6}, epsilon=1.7)
    mild = wobbling({("fp32", "clean"): 0.6}, epsilon=1.7, trained=("fgsm", 0.1))
    hard = wobbling({("fp32", "clean"): 0.6 - loss}, epsilon=1.7, trained=("pgd", 0.4))
    fab = wobbling({("fp32", "clean"): 0.1}, epsilon=1.7, trained=("fab", 0.4))
    found = verdict("adversarial-training-cost", base + mild + hard + fab)
    assert found.verdict == verdict_
    assert found.ours is not None
    assert found.ours.mean == pytest.approx(loss)


def shares(best: float, ties: bool = False) -> list[Result]:
    return [
        result(
            experiment(epsilon=1.7, trained=(attack, share), seed=1 + repeat),
            repeat,
            {("fp32", "transfer", "private"): 0.3 if share == best or ties else 0.2},
        )
        for attack in ("fgsm", "pgd", "fab")
        for share in (0.1, 0.2, 0.3, 0.4)
        for repeat in range(3)
    ]


def test_the_best_share_is_counted_over_attacks_and_repeats() -> None:
    won = verdict("twenty-per-cent", shares(0.2))
    assert won.verdict == CONFIRMED
    assert won.ours is not None
    assert won.ours.n == 9
    assert verdict("twenty-per-cent", shares(0.4)).verdict == REFUTED
    tied = verdict("twenty-per-cent", shares(0.2, ties=True))
    assert tied.ours is not None
    assert tied.ours.mean == pytest.approx(0.25)


def test_times_are_ratios_of_the_same_images() -> None:
    seconds = {"fgsm": [1.0, 2.0, 4.0], "pgd": [8.0, 16.1, 31.9], "fab": [40.0, 80.0, 161.0]}
    facts = {"attack_seconds": seconds}
    assert verdict("pgd-time", [], facts).verdict == CONFIRMED
    found = verdict("fab-time", [], facts)
    assert found.verdict == REFUTED
    assert found.notes == ("Against PGD it is 5.0 times.",)
    assert verdict("fab-time", [], {"attack_seconds": {"fgsm": [], "pgd": [], "fab": []}}).ours is None


def test_fab_is_not_blamed_for_what_a_federation_without_it_shows_too() -> None:
    fab = wobbling({("fp32", "clean"): 0.2}, epsilon=1.7, trained=("fab", 0.2))
    assert verdict("fab-accuracy", fab + cells({("fp32", "clean"): 0.6}, epsilon=1.7)).verdict == CONFIRMED
    low = verdict("fab-accuracy", fab + cells({("fp32", "clean"): 0.25}, epsilon=1.7))
    assert low.verdict == OPEN
    assert "not FAB's doing" in low.why
    assert verdict("fab-accuracy", fab).verdict == OPEN
    good = wobbling({("fp32", "clean"): 0.55}, epsilon=1.7, trained=("fab", 0.2))
    assert verdict("fab-accuracy", good + cells({("fp32", "clean"): 0.6}, epsilon=1.7)).verdict == REFUTED


def square(plain_damage: float, private_damage: float, share: float = 0.4) -> list[Result]:
    """Return honest and attacked federations, without DP and with it."""
    poisoned = ("pgd", share)
    return [
        *cells({("fp32", "clean"): 0.7, ("fp32", "white-box"): 0.3}),
        *wobbling({("fp32", "clean"): 0.7 - plain_damage, ("fp32", "white-box"): 0.3}, poisoned=poisoned),
        *cells({("fp32", "clean"): 0.5, ("fp32", "white-box"): 0.2}, epsilon=3.4),
        *cells({("fp32", "clean"): 0.5 - private_damage, ("fp32", "white-box"): 0.2}, epsilon=3.4, poisoned=poisoned),
    ]


def test_dp_blunts_where_the_attacker_takes_less_from_it() -> None:
    found = verdict("dp-blunts-clean", square(0.2, 0.05))
    assert found.verdict == CONFIRMED
    assert found.ours is not None
    assert found.ours.mean == pytest.approx(0.15)
    assert verdict("dp-blunts-clean", square(0.1, 0.3)).verdict == REFUTED
    assert verdict("dp-blunts-clean", square(0.2, 0.05, share=0.1)).ours is None


def test_an_attacker_who_does_no_damage_leaves_nothing_to_blunt() -> None:
    found = verdict("dp-blunts-clean", square(-0.05, -0.1))
    assert found.verdict == OPEN
    assert "nothing to blunt" in found.why


def test_a_cell_that_several_studies_share_counts_once() -> None:
    once = cells({("fp32", "clean"): 0.5, ("int8", "clean"): 0.502})
    twice = judge(once + once, {})
    assert [one.ours for one in judge(once, {})] == [one.ours for one in twice]
    assert any(one.ours is not None for one in twice)
