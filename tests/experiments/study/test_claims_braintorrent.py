from pathlib import Path

import pytest

from experiments.study.claims import Verdict, judge
from experiments.study.claims_braintorrent import BRAINTORRENT_CLAIMS, BYTES, is_hardened
from experiments.study.deciding import CONFIRMED, OPEN, REFUTED
from experiments.study.outcome import trained
from experiments.study.results import Result
from tests.experiments.study.made_up_ways import result, whole


def verdicts(results: list[Result]) -> dict[str, Verdict]:
    found = judge(results, {}, lambda study: f"psreval study {study}", BRAINTORRENT_CLAIMS)
    return {one.asked.key: one for one in found}


def pair(folder: Path, method: str, scores: list[float], peers: int = 4, **way: object) -> list[Result]:
    return [result(folder, method, peers, score, repeat=repeat, **way) for repeat, score in enumerate(scores)]  # type: ignore[arg-type]


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


def test_a_rule_that_met_fewer_abuses_is_judged_by_those_that_all_met(tmp_path: Path) -> None:
    cells = [one for rule in ("median", "krum") for one in pair(tmp_path, rule, [0.8, 0.801])]
    cells += pair(tmp_path, "median", [0.79, 0.79], abuse="garbage")
    cells += pair(tmp_path, "median", [0.3, 0.3], abuse="sign-flip")
    cells += pair(tmp_path, "krum", [0.5, 0.5], abuse="garbage")
    one = verdicts(cells)["hardening-holds"]
    assert one.ours is not None
    assert one.ours.mean == pytest.approx(0.0105)
    assert "median" in one.notes[0]
    assert "biased" in one.notes[0]


def test_what_is_hardened(tmp_path: Path) -> None:
    cells = trained([result(tmp_path, method, 4, 0.8) for method in ("FedAvg", "BrainTorrent", "alone", "median")])
    assert [one.way.method for one in cells if is_hardened(one)] == ["BrainTorrent, median"]
