from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from experiments.study.claims import Verdict, judge
from experiments.study.claims_braintorrent import BRAINTORRENT_CLAIMS, BYTES, chosen, is_hardened
from experiments.study.deciding import CONFIRMED, OPEN, REFUTED, Band, decide, largest
from experiments.study.outcome import trained
from experiments.study.results import Result
from tests.experiments.study.made_up_ways import result, whole


def verdicts(results: list[Result]) -> dict[str, Verdict]:
    found = judge(results, {}, lambda study: f"psreval study {study}", BRAINTORRENT_CLAIMS)
    return {one.asked.key: one for one in found}


def pair(folder: Path, method: str, scores: list[float], peers: int = 4, **way: object) -> list[Result]:
    return [result(folder, method, peers, score, repeat=repeat, **way) for repeat, score in enumerate(scores)]  # type: ignore[arg-type]


BASE = [0.80, 0.81, 0.79]


def below(scores: list[float], loss: float) -> list[float]:
    """Return scores that are lower by a loss that scatters by a tenth of a point."""
    return [score - loss - scatter for score, scatter in zip(scores, (0.0005, -0.0005, 0.0), strict=True)]


def test_keys_are_unique_and_every_claim_has_a_rule() -> None:
    keys = [claim.key for claim in BRAINTORRENT_CLAIMS]
    assert len(set(keys)) == len(keys)
    assert all(claim.reading and claim.quantity for claim in BRAINTORRENT_CLAIMS)


def test_without_cells_nothing_is_decided(tmp_path: Path) -> None:
    assert {one.verdict for one in verdicts([]).values()} == {OPEN}


def test_differences_are_paired_by_repeat(tmp_path: Path) -> None:
    cells = pair(tmp_path, "BrainTorrent", [0.62, 0.81, 0.72]) + pair(tmp_path, "FedAvg", [0.60, 0.80, 0.70])
    one = verdicts(cells)["dice-fedavg-local-updates-average"]
    assert one.ours is not None
    assert one.ours.mean == pytest.approx(0.05 / 3)
    assert one.verdict == CONFIRMED  # though the scores themselves scatter by 20 points


@pytest.mark.parametrize(("gain", "verdict"), [(0.03, CONFIRMED), (-0.03, REFUTED)])
def test_better_than_fedavg_is_decided_by_the_sign(tmp_path: Path, gain: float, verdict: str) -> None:
    found = verdicts(whole(tmp_path, gain=gain))
    assert found["dice-fedavg-local-updates-average"].verdict == verdict
    assert found["dice-fedavg-local-updates-everywhere"].verdict == verdict


def test_what_a_kept_optimiser_gives_is_not_the_protocols_gain(tmp_path: Path) -> None:
    cells = [
        cell
        for method, score in (("BrainTorrent", 0.8), ("fresh", 0.69), ("FedAvg", 0.7))
        for cell in pair(tmp_path, method, [score, score + 0.01])
    ]
    found = verdicts(cells)
    assert found["dice-fedavg-local-updates-average"].verdict == CONFIRMED
    assert found["dice-fedavg-fresh-average"].verdict == REFUTED
    assert not any("fresh" in part.label for part in found["hardening-cost"].parts)


def test_accuracy_and_dice_are_claims_of_their_own(tmp_path: Path) -> None:
    found = verdicts(whole(tmp_path, dice=False))
    assert found["accuracy-fedavg-local-updates-average"].ours is not None
    assert found["dice-fedavg-local-updates-average"].ours is None


def test_equal_bytes_are_measured_not_promised(tmp_path: Path) -> None:
    cells = pair(tmp_path, "BrainTorrent", [0.8, 0.81], 10)
    far = pair(tmp_path, "FedAvg", [0.7, 0.7], 10)  # as many local updates, less than half the bytes
    assert verdicts(cells + far)["dice-fedavg-bytes-average"].ours is None
    near = pair(tmp_path, "FedAvg", [0.79, 0.79], 10, updates=12)
    one = verdicts(cells + far + near)["dice-fedavg-bytes-average"]
    assert one.ours is not None
    assert one.ours.mean == pytest.approx(0.015)
    [part] = one.parts
    assert part.beside[BYTES][0] == pytest.approx(240 / 258.75, rel=1e-3)


def test_only_the_same_peers_and_the_same_split_are_compared(tmp_path: Path) -> None:
    cells = pair(tmp_path, "BrainTorrent", [0.8, 0.81]) + pair(tmp_path, "FedAvg", [0.7, 0.7], split="sorted")
    cells += pair(tmp_path, "FedAvg", [0.7, 0.7], 10)
    assert verdicts(cells)["dice-fedavg-local-updates-average"].ours is None


def test_close_to_pooled_is_two_points(tmp_path: Path) -> None:
    pooled = pair(tmp_path, "pooled", [0.9, 0.901, 0.899], 1)
    near = verdicts(pooled + pair(tmp_path, "BrainTorrent", [0.89, 0.891, 0.889]))
    assert near["dice-pooled-everywhere"].verdict == CONFIRMED
    far = verdicts(pooled + pair(tmp_path, "BrainTorrent", [0.85, 0.851, 0.849]))
    assert far["dice-pooled-everywhere"].verdict == REFUTED


def test_pooled_training_of_another_length_is_no_comparison(tmp_path: Path) -> None:
    cells = pair(tmp_path, "pooled", [0.9, 0.9], 1, updates=9) + pair(tmp_path, "BrainTorrent", [0.89, 0.9])
    assert verdicts(cells)["dice-pooled-average"].ours is None


def test_peers_alone_are_compared_by_their_own_models(tmp_path: Path) -> None:
    cells = pair(tmp_path, "BrainTorrent", [0.9, 0.9, 0.9], own=0.7) + pair(tmp_path, "alone", [0.2] * 3, own=0.6)
    one = verdicts(cells)["dice-alone"]
    assert one.ours is not None
    assert one.ours.mean == pytest.approx(0.1)


def test_harm_is_the_largest_loss_to_one_liar(tmp_path: Path) -> None:
    found = verdicts(whole(tmp_path))
    assert found["trusts-everyone"].verdict == CONFIRMED
    assert found["trusts-everyone"].ours is not None
    assert found["trusts-everyone"].ours.mean == pytest.approx(0.544, abs=0.01)


def test_a_rule_is_chosen_by_what_all_met_and_judged_by_all_that_it_met(tmp_path: Path) -> None:
    cells = [one for rule in ("median", "krum") for one in pair(tmp_path, rule, [0.8, 0.801])]
    cells += pair(tmp_path, "median", [0.79, 0.79], abuse="garbage")
    cells += pair(tmp_path, "median", [0.3, 0.3], abuse="sign-flip")
    cells += pair(tmp_path, "krum", [0.5, 0.5], abuse="garbage")
    one = verdicts(cells)["hardening-holds"]
    assert one.ours is not None
    assert one.ours.mean == pytest.approx(0.5005)
    assert "median" in one.notes[0]
    assert "biased" in one.notes[0]
    assert "Bonferroni" in one.notes[0]
    assert len(one.notes) == 1


def test_a_rule_that_loses_to_an_abuse_that_it_alone_met_does_not_withstand(tmp_path: Path) -> None:
    cells = []
    for rule, loss in (("median", 0.0), ("krum", 0.02)):
        cells += pair(tmp_path, rule, BASE, 8)
        for abuse in ("sign-flip", "scaling"):
            cells += pair(tmp_path, rule, below(BASE, loss), 8, abuse=abuse)
    assert verdicts(cells)["hardening-holds"].verdict == CONFIRMED
    cells += pair(tmp_path, "median", below(BASE, 0.4), 8, abuse="garbage")
    one = verdicts(cells)["hardening-holds"]
    assert one.ours is not None
    assert one.ours.mean == pytest.approx(0.4, abs=0.002)
    assert one.verdict == OPEN  # nobody knows what krum would lose to garbage
    assert one.ours.low is not None
    assert one.ours.low < 0.03


def test_a_rule_that_met_fewer_abuses_than_others_is_said_to_have_missed_them(tmp_path: Path) -> None:
    cells = [one for rule in ("BrainTorrent", "median", "krum") for one in pair(tmp_path, rule, BASE)]
    for rule, loss in (("median", 0.03), ("krum", 0.01)):
        cells += pair(tmp_path, rule, below(BASE, loss), abuse="scaling")
    cells += pair(tmp_path, "median", below(BASE, 0.1), abuse="garbage")
    cells += pair(tmp_path, "BrainTorrent", below(BASE, 0.1), abuse="silent")
    one = verdicts(cells)["hardening-holds"]
    assert "krum did not meet twice: silent and garbage." in one.notes[1]
    assert one.verdict == CONFIRMED


def test_rules_that_no_abuse_has_in_common_are_not_compared(tmp_path: Path) -> None:
    cells = [one for rule in ("median", "krum") for one in pair(tmp_path, rule, BASE)]
    cells += pair(tmp_path, "median", BASE, abuse="garbage") + pair(tmp_path, "krum", BASE, abuse="scaling")
    one = verdicts(cells)["hardening-holds"]
    assert (one.ours, one.verdict) == (None, OPEN)
    assert "no abuse was tried on every hardened rule" in one.why


def test_an_abuse_with_a_single_repeat_is_not_met(tmp_path: Path) -> None:
    cells = pair(tmp_path, "median", BASE) + pair(tmp_path, "median", BASE, abuse="garbage")
    cells += pair(tmp_path, "median", [0.1], abuse="scaling")
    one = verdicts(cells)["hardening-holds"]
    assert one.ours is not None
    assert one.ours.mean == pytest.approx(0.0)
    assert one.notes == (
        "It says nothing of what Brain slices, U-Net, 4 peers, uniform, median did not meet twice: scaling ×10.",
    )


def test_none_withstands_only_where_every_rule_loses(tmp_path: Path) -> None:
    cells = []
    for rule, loss in (("median", 0.1), ("krum", 0.12)):
        cells += pair(tmp_path, rule, BASE) + pair(tmp_path, rule, below(BASE, loss), abuse="garbage")
    assert verdicts(cells)["hardening-holds"].verdict == REFUTED


def test_the_luckiest_of_several_families_is_not_confirmed_too_often() -> None:
    """Six families of four settings, each with one that truly loses a little more than is allowed."""
    chance = np.random.default_rng(0)
    lucky = 0
    for _ in range(400):
        families = [[list(chance.normal(loss, 0.02, 5)) for loss in (0.0501, 0, 0, 0)] for _ in range(6)]
        families.sort(key=lambda settings: max(map(mean, settings)))
        lucky += decide(chosen(families[0], families[1:]), Band(None, 0.05)) == CONFIRMED
    assert lucky / 400 < 0.05  # 0.11 with the interval of the chosen family alone


def test_one_family_alone_has_the_interval_of_its_largest() -> None:
    settings = [[0.1, 0.12, 0.13], [0.0, 0.2, 0.1]]
    assert chosen(settings, []) == largest(settings)
    assert chosen([[0.1]], []) is None


WORST = {4: 0.05, 10: -0.01}
"""Peers → gain: good on average, bad in one setting."""


def test_better_than_fedavg_everywhere_is_decided_by_the_worst_setting(tmp_path: Path) -> None:
    cells = []
    for peers, gain in WORST.items():
        cells += pair(tmp_path, "FedAvg", BASE, peers, moved=100) + pair(
            tmp_path, "BrainTorrent", below(BASE, -gain), peers, moved=100 * 6 / 5.75
        )
    found = verdicts(cells)
    for equal in ("local-updates", "bytes"):
        one = found[f"dice-fedavg-{equal}-everywhere"]
        assert one.ours is not None
        assert one.ours.mean == pytest.approx(-0.01, abs=0.002)
        assert one.verdict == REFUTED
        mid = found[f"dice-fedavg-{equal}-average"]
        assert mid.ours is not None
        assert mid.ours.mean == pytest.approx(0.02, abs=0.002)
        assert mid.verdict == CONFIRMED


def test_close_to_pooled_everywhere_is_decided_by_the_worst_setting(tmp_path: Path) -> None:
    cells = pair(tmp_path, "pooled", BASE, 1)
    for peers, loss in WORST.items():
        cells += pair(tmp_path, "BrainTorrent", below(BASE, loss - 0.01), peers)
    found = verdicts(cells)
    assert (found["dice-pooled-average"].verdict, found["dice-pooled-everywhere"].verdict) == (CONFIRMED, REFUTED)
    worst = found["dice-pooled-everywhere"].ours
    assert worst is not None
    assert worst.mean == pytest.approx(0.04, abs=0.002)


def test_better_than_alone_is_decided_by_the_worst_setting(tmp_path: Path) -> None:
    cells = []
    for peers, gain in WORST.items():
        cells += pair(tmp_path, "alone", BASE, peers) + pair(tmp_path, "BrainTorrent", below(BASE, -gain), peers)
    one = verdicts(cells)["dice-alone"]
    assert one.ours is not None
    assert one.ours.mean == pytest.approx(-0.01, abs=0.002)
    assert one.verdict == REFUTED


def test_the_cost_of_hardening_is_that_of_the_worst_setting(tmp_path: Path) -> None:
    cells = []
    for peers, loss in WORST.items():
        cells += pair(tmp_path, "BrainTorrent", BASE, peers) + pair(tmp_path, "median", below(BASE, loss), peers)
    one = verdicts(cells)["hardening-cost"]
    assert one.ours is not None
    assert one.ours.mean == pytest.approx(0.05, abs=0.002)
    assert one.verdict == REFUTED


@pytest.mark.parametrize(("key", "rule"), [("trusts-everyone", "BrainTorrent"), ("hardening-holds", "median")])
def test_harm_is_that_of_the_worst_abuse(tmp_path: Path, key: str, rule: str) -> None:
    cells = pair(tmp_path, rule, BASE)
    for abuse, loss in (("garbage", 0.0), ("scaling", 0.09), ("sign-flip", -0.01)):
        cells += pair(tmp_path, rule, below(BASE, loss), abuse=abuse)
    one = verdicts(cells)[key]
    assert one.ours is not None
    assert one.ours.mean == pytest.approx(0.09, abs=0.002)
    assert one.verdict == {"trusts-everyone": CONFIRMED, "hardening-holds": REFUTED}[key]


def test_pooled_claims_of_dice_and_of_accuracy_use_their_own_numbers(tmp_path: Path) -> None:
    cells = []
    for dice, loss in ((True, 0.01), (False, 0.04)):
        cells += pair(tmp_path, "pooled", BASE, 1, dice=dice)
        cells += pair(tmp_path, "BrainTorrent", below(BASE, loss), dice=dice)
    found = verdicts(cells)
    for task, loss, verdict in (("dice", 0.01, CONFIRMED), ("accuracy", 0.04, REFUTED)):
        for end in ("average", "everywhere"):
            one = found[f"{task}-pooled-{end}"]
            assert one.ours is not None
            assert one.ours.mean == pytest.approx(loss, abs=0.002)
            assert one.verdict == verdict


@pytest.mark.parametrize(("loss", "verdict"), [(0.018, CONFIRMED), (0.022, REFUTED)])
def test_close_and_little_are_two_points(tmp_path: Path, loss: float, verdict: str) -> None:
    cells = pair(tmp_path, "pooled", BASE, 1) + pair(tmp_path, "BrainTorrent", below(BASE, loss))
    cells += pair(tmp_path, "median", below(BASE, 2 * loss))
    found = verdicts(cells)
    for key in ("dice-pooled-average", "dice-pooled-everywhere", "hardening-cost"):
        assert found[key].verdict == verdict, key


@pytest.mark.parametrize(("loss", "verdict"), [(0.045, REFUTED), (0.055, CONFIRMED)])
def test_harm_is_five_points(tmp_path: Path, loss: float, verdict: str) -> None:
    cells = []
    for method in ("BrainTorrent", "median"):
        cells += pair(tmp_path, method, BASE) + pair(tmp_path, method, below(BASE, loss), abuse="garbage")
    found = verdicts(cells)
    assert found["trusts-everyone"].verdict == verdict
    assert found["hardening-holds"].verdict == {CONFIRMED: REFUTED, REFUTED: CONFIRMED}[verdict]


@pytest.mark.parametrize("other", [{"updates": 9}, {"split": "sorted"}, {"peers": 10}])
@pytest.mark.parametrize(
    ("key", "one", "against"),
    [
        ("hardening-cost", ("BrainTorrent", ""), ("median", "")),
        ("trusts-everyone", ("BrainTorrent", ""), ("BrainTorrent", "garbage")),
        ("hardening-holds", ("median", ""), ("median", "garbage")),
        ("dice-alone", ("BrainTorrent", ""), ("alone", "")),
    ],
)
def test_cells_of_another_length_or_place_are_no_comparison(
    tmp_path: Path, key: str, one: tuple[str, str], against: tuple[str, str], other: dict[str, object]
) -> None:
    cells = pair(tmp_path, one[0], BASE, abuse=one[1])
    alike = pair(tmp_path, against[0], BASE, abuse=against[1])
    assert len(verdicts(cells + alike)[key].parts) == 1
    apart = pair(tmp_path, against[0], BASE, abuse=against[1], **other)
    assert verdicts(cells + apart)[key].parts == ()


def test_settings_whose_bytes_scatter_by_the_order_are_compared_by_their_mean(tmp_path: Path) -> None:
    cells = pair(tmp_path, "FedAvg", BASE, moved=100)
    cells += [
        result(tmp_path, "BrainTorrent", 4, score + 0.03, repeat=repeat, moved=100 * 6 / 5.75 / ratio)
        for repeat, (score, ratio) in enumerate(zip(BASE, (0.9, 1.4, 0.9), strict=True))
    ]
    one = verdicts(cells)["dice-fedavg-bytes-average"]
    [part] = one.parts
    assert list(part.beside[BYTES].values()) == pytest.approx([0.9, 1.4, 0.9], rel=1e-2)
    assert one.notes == ()


def test_settings_left_out_because_their_bytes_differ_are_named(tmp_path: Path) -> None:
    cells = pair(tmp_path, "BrainTorrent", BASE, 10) + pair(tmp_path, "BrainTorrent", BASE, 20)
    cells += [
        one for updates in (6, 12) for one in pair(tmp_path, "FedAvg", BASE, 10, updates=updates)
    ] + pair(tmp_path, "FedAvg", BASE, 20)  # fmt: skip
    found = verdicts(cells)
    for end in ("average", "everywhere"):
        (note,) = found[f"dice-fedavg-bytes-{end}"].notes
        assert note == (
            "Left out, because FedAvg's bytes are not BrainTorrent's within 15 % on average over repeats: "
            "Brain slices, U-Net, 20 peers, uniform (0.22 times BrainTorrent's)."
        )
    assert found["dice-fedavg-local-updates-average"].notes == ()


def test_what_is_hardened(tmp_path: Path) -> None:
    cells = trained([result(tmp_path, method, 4, 0.8) for method in ("FedAvg", "BrainTorrent", "alone", "median")])
    assert [one.way.method for one in cells if is_hardened(one)] == ["BrainTorrent, median"]
