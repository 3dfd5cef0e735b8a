from pathlib import Path
from statistics import mean

import pytest

from experiments.study.claims import Verdict, judge
from experiments.study.claims_secure import SECURE_CLAIMS, cheated, of_server, poisoned
from experiments.study.deciding import CONFIRMED, OPEN, REFUTED
from experiments.study.outcome import trained
from experiments.study.results import Result
from tests.experiments.study.made_up_cheaters import METHODS, cell, cells, whole


def verdicts(results: list[Result]) -> dict[str, Verdict]:
    return {one.asked.key: one for one in judge(results, {}, lambda study: f"psreval study {study}", SECURE_CLAIMS)}


def test_keys_are_unique_and_every_claim_has_a_rule() -> None:
    keys = [claim.key for claim in SECURE_CLAIMS]
    assert len(set(keys)) == len(keys)
    assert all(claim.reading and claim.quantity for claim in SECURE_CLAIMS)


def test_without_cells_nothing_is_decided() -> None:
    assert {one.verdict for one in verdicts([]).values()} == {OPEN}


def test_the_made_up_methods_are_called_as_the_figures_call_them(tmp_path: Path) -> None:
    assert {one.way.method for one in trained(whole(tmp_path))} == set(METHODS)


def test_where_servers_and_braintorrent_fall_and_the_secure_rules_stand(tmp_path: Path) -> None:
    found = verdicts(whole(tmp_path))
    assert {key: one.verdict for key, one in found.items()} == {
        "server-ruins": CONFIRMED,
        "peers-ruin-braintorrent": CONFIRMED,
        "hardened-withstands": CONFIRMED,
        "secure-withstands": CONFIRMED,
        "secure-at-once": CONFIRMED,
        "secure-beside": REFUTED,
        "server-poisoners-30": REFUTED,
        "braintorrent-poisoners-30": REFUTED,
        "secure-poisoners-30": CONFIRMED,
        "server-poisoners-50": REFUTED,
        "braintorrent-poisoners-50": REFUTED,
        "secure-poisoners-50": CONFIRMED,
        "secure-above-fedavg-50": CONFIRMED,
        "secure-cost": CONFIRMED,
    }


@pytest.mark.parametrize(
    ("key", "mean_of_all"),
    [
        ("server-ruins", 0.47),
        ("peers-ruin-braintorrent", 0.5),
        ("secure-withstands", 0.01),
        ("secure-at-once", 0.02),
        ("secure-beside", 0.19),
        ("server-poisoners-50", 0.4),
        ("secure-above-fedavg-50", 0.38),
        ("secure-cost", 0.0),
    ],
)
def test_the_quantity_is_the_difference_of_the_scores(tmp_path: Path, key: str, mean_of_all: float) -> None:
    one = verdicts(whole(tmp_path))[key]
    assert one.ours is not None
    assert one.ours.mean == pytest.approx(mean_of_all, abs=1e-6)
    for part in one.parts:
        without, having = (mean(numbers.values()) for numbers in part.beside.values())
        assert abs(mean(part.numbers.values())) == pytest.approx(abs(without - having))


def test_one_secure_rule_that_falls_refutes_that_all_stand(tmp_path: Path) -> None:
    weak = [*cells(tmp_path, "secure, rsa", 0.8), *cells(tmp_path, "secure, rsa", 0.6, poisoners=3)]
    strong = [*cells(tmp_path, "secure, box-clipping", 0.8), *cells(tmp_path, "secure, box-clipping", 0.8, poisoners=3)]
    assert verdicts(strong)["secure-poisoners-30"].verdict == CONFIRMED
    assert verdicts(strong + weak)["secure-poisoners-30"].verdict == REFUTED


def test_what_poisoners_take_is_not_blamed_on_those_who_cheat(tmp_path: Path) -> None:
    """Beside 30 % poisoners, cheaters are compared with as many poisoners alone, not with nobody."""
    results = [
        *cells(tmp_path, "secure, rsa", 0.8),
        *cells(tmp_path, "secure, rsa", 0.5, poisoners=3),
        *cells(tmp_path, "secure, rsa", 0.5, poisoners=3, cheaters=("wrong-sum", "equivocation")),
    ]
    found = verdicts(results)
    assert found["secure-beside"].ours is not None
    assert found["secure-beside"].ours.mean == pytest.approx(0.0, abs=1e-9)
    assert not found["secure-withstands"].parts
    assert not found["secure-at-once"].parts


def test_who_poisons_and_who_cheats_is_read_from_the_description(tmp_path: Path) -> None:
    [three] = trained([cell(tmp_path, "FedAvg", 0.5, poisoners=3)])
    [served] = trained([cell(tmp_path, "server, multi-krum", 0.5, server="stale")])
    [peers] = trained([cell(tmp_path, "secure, rsa", 0.5, cheaters=("silent",), poisoners=1)])
    assert [poisoned(one) for one in (three, served, peers)] == [0.3, 0.0, 0.1]
    assert [cheated(one) for one in (three, served, peers)] == [False, True, True]
    assert [of_server(one) for one in (three, served, peers)] == [True, True, False]
