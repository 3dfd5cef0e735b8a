"""The ε that we print, against an independent accountant; the plan and the ledger."""

import dataclasses
import json
import math

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from common import privacy
from common.accounting import MOST_NOISE, epsilon_of
from common.description import Privacy
from common.errors import UserError
from common.privacy import Entry, Ledger, calibrate
from common.privacy import epsilon_of as epsilon_of_entries

TABLE = [  # noise multiplier, sampling rate, steps, delta
    (0.74, 64 / 25_000, 11_730, 1e-5),
    (0.97, 64 / 25_000, 11_730, 1e-5),
    (0.59, 64 / 25_000, 11_730, 1e-5),
    (2.04, 64 / 2_500, 1_200, 1e-4),
    (0.87, 64 / 2_500, 1_200, 1e-4),
    (0.8, 0.064, 48, 1e-5),
    (1.5, 0.25, 40, 1e-4),
    (4.0, 0.5, 100, 1e-6),
    (2.0, 1.0, 10, 1e-5),
    (1.1, 0.01, 1, 1e-5),
    (6.0, 0.1, 50, 1e-5),
]


def independent(accountant, history, delta):
    oracle = RdpAccountant() if accountant == "rdp" else PLDAccountant(value_discretization_interval=1e-3)
    for noise, rate, steps in history:
        event = GaussianDpEvent(noise) if rate == 1 else PoissonSampledDpEvent(rate, GaussianDpEvent(noise))
        oracle.compose(SelfComposedDpEvent(event, steps))
    return oracle.get_epsilon(delta)


@pytest.mark.parametrize(("noise", "rate", "steps", "delta"), TABLE)
@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_epsilon_agrees_with_dp_accounting_within_one_per_cent(accountant, noise, rate, steps, delta):
    history = ((noise, rate, steps),)
    assert epsilon_of(history, accountant, delta) == pytest.approx(independent(accountant, history, delta), rel=0.01)


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_different_rounds_compose_as_dp_accounting_says(accountant):
    history = ((1.2, 0.05, 30), (0.9, 0.02, 40), (3.0, 0.3, 5))
    assert epsilon_of(history, accountant, 1e-5) == pytest.approx(independent(accountant, history, 1e-5), rel=0.01)


@pytest.mark.parametrize(("epsilon", "noise"), [(1.7, 0.97), (3.4, 0.74), (7.0, 0.59)])
def test_rdp_noise_is_the_papers_on_cifar10(epsilon, noise):
    privacy = Privacy(epsilon=epsilon, delta=1e-5, accountant="rdp")
    plan = calibrate(privacy, records=25_000, batch_size=64, local_epochs=1, rounds=30)
    assert plan.noise_multiplier == pytest.approx(noise, abs=0.006)


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
@pytest.mark.parametrize(
    ("epsilon", "records", "batch", "epochs", "rounds"),
    [(7, 1000, 64, 1, 3), (1.7, 25_000, 64, 1, 30), (0.3, 500, 50, 2, 4), (8, 60, 64, 1, 10), (1.0, 64, 64, 3, 1)],
)
def test_calibrated_noise_spends_the_budget_and_no_more(accountant, epsilon, records, batch, epochs, rounds):
    privacy = Privacy(epsilon=epsilon, delta=1e-5, accountant=accountant)
    plan = calibrate(privacy, records=records, batch_size=batch, local_epochs=epochs, rounds=rounds)
    ledger = Ledger()
    for number in range(1, rounds + 1):
        ledger.spend(Entry(number, plan.noise_multiplier, plan.sampling_rate, plan.steps_per_round, str(number)))
    after = ledger.epsilon(accountant, 1e-5)
    assert after == plan.epsilon
    assert 0.995 * epsilon <= after <= epsilon


def test_the_plan_follows_the_description():
    privacy = Privacy(epsilon=5, delta=1e-4, clip_norm=0.7, accountant="rdp")
    plan = calibrate(privacy, records=1001, batch_size=100, local_epochs=2, rounds=3)
    assert (plan.sampling_rate, plan.steps_per_round, plan.batch_size, plan.records) == (100 / 1001, 22, 100, 1001)
    assert (plan.clip_norm, plan.accountant, plan.delta) == (0.7, "rdp", 1e-4)
    small = calibrate(privacy, records=30, batch_size=100, local_epochs=2, rounds=3)
    assert (small.sampling_rate, small.steps_per_round, small.batch_size) == (1.0, 2, 30)


def test_given_noise_is_used_as_it_is():
    plan = calibrate(Privacy(noise_multiplier=1.3), records=1000, batch_size=50, local_epochs=1, rounds=2)
    assert plan.noise_multiplier == 1.3
    assert plan.epsilon == epsilon_of(((1.3, 0.05, 40),), "prv", 1e-5)


def test_a_lax_budget_still_gets_the_least_noise():
    plan = calibrate(Privacy(epsilon=1e9), records=1000, batch_size=50, local_epochs=1, rounds=1)
    assert plan.noise_multiplier == 0.1
    assert plan.epsilon < 1e9


def test_a_budget_that_no_noise_reaches_is_refused():
    with pytest.raises(UserError, match=r"privacy\.epsilon = 0\.001 cannot hold over 20 steps.*raise privacy\.epsilon"):
        calibrate(Privacy(epsilon=1e-3, accountant="rdp"), records=1000, batch_size=50, local_epochs=1, rounds=1)


@pytest.mark.parametrize(("delta", "records"), [(0.01, 100), (1e-3, 5000)])
def test_delta_that_allows_to_publish_a_record_is_refused(delta, records):
    with pytest.raises(UserError, match=rf"privacy\.delta = {delta:g} is not below 1/{records}"):
        calibrate(Privacy(delta=delta), records=records, batch_size=10, local_epochs=1, rounds=1)


@pytest.mark.parametrize("noise", [1e-6, 0.01, 0.05, 0.2, 30.0, MOST_NOISE, 1e9])
@pytest.mark.parametrize("rate", [1e-6, 0.01, 1.0])
def test_extreme_settings_have_an_answer(noise, rate):
    rdp = epsilon_of(((noise, rate, 10),), "rdp", 1e-5)
    prv = epsilon_of(((noise, rate, 10),), "prv", 1e-5)
    assert 0 <= prv <= rdp
    assert math.isfinite(rdp)


@settings(max_examples=30, deadline=None)
@given(
    noise=st.floats(0.5, 20),
    rate=st.floats(0.001, 1),
    steps=st.integers(1, 500),
    more=st.integers(1, 500),
    delta=st.sampled_from([1e-6, 1e-5, 1e-3]),
)
def test_more_steps_spend_more_and_more_noise_spends_less(noise, rate, steps, more, delta):
    spent = epsilon_of(((noise, rate, steps),), "rdp", delta)
    assert epsilon_of(((noise, rate, steps + more),), "rdp", delta) >= spent
    assert epsilon_of(((1.1 * noise, rate, steps),), "rdp", delta) <= spent
    assert epsilon_of(((noise, rate, steps), (noise, rate, more)), "rdp", delta) == epsilon_of(
        ((noise, rate, steps + more),), "rdp", delta
    )


def test_nothing_released_is_nothing_spent():
    assert Ledger().epsilon("prv", 1e-5) == 0.0
    assert Ledger().epsilon_by_round("prv", 1e-5) == []
    assert epsilon_of_entries((Entry(1, 1.0, 0.1, 0),), "prv", 1e-5) == 0.0


def test_epsilon_by_round_grows_to_the_total():
    ledger = Ledger()
    for number in (1, 2, 4):
        ledger.spend(Entry(number, 1.0, 0.05, 20, f"release {number}"))
    by_round = ledger.epsilon_by_round("prv", 1e-5)
    assert len(by_round) == 3
    assert by_round == sorted(by_round)
    assert by_round[-1] == ledger.epsilon("prv", 1e-5) == epsilon_of(((1.0, 0.05, 60),), "prv", 1e-5)


def test_repeating_a_release_costs_nothing_more():
    ledger = Ledger()
    ledger.spend(Entry(1, 1.0, 0.05, 20, "same"))
    ledger.spend(Entry(1, 1.0, 0.05, 20, "same"))
    assert len(ledger.entries) == 1


@pytest.mark.parametrize(
    "again",
    [
        Entry(1, 1.0, 0.05, 20, "other noise"),
        Entry(1, 1.0, 0.05, 20, ""),
        Entry(1, 1.0, 0.05, 40, "same"),
        Entry(2, 1.0, 0.05, 20, "same"),
    ],
)
def test_any_other_release_adds_up(again):
    ledger = Ledger()
    ledger.spend(Entry(1, 1.0, 0.05, 20, "same"))
    ledger.spend(again)
    assert len(ledger.entries) == 2


@given(st.integers(0, 4), st.integers(0, 4))
def test_a_ledger_extends_what_it_began_with(first, second):
    entries = tuple(Entry(number, 1.0, 0.05, 20, f"release {number}") for number in range(1, 5))
    assert Ledger(entries[:first]).extends(Ledger(entries[:second])) == (first >= second)


def test_a_repeated_release_still_extends_and_a_changed_one_does_not():
    first, second = Entry(1, 1.0, 0.05, 20, "first"), Entry(2, 1.0, 0.05, 20, "second")
    ledger = Ledger((first, second))
    ledger.spend(first)
    assert ledger.extends(Ledger((first, second)))
    assert not Ledger((second, first)).extends(Ledger((first,)))
    assert not Ledger((dataclasses.replace(first, steps=1), second)).extends(Ledger((first,)))


def of_rounds(*rounds):
    return Ledger(tuple(Entry(number, 1.0, 0.05, 20) for number in rounds))


@pytest.mark.parametrize(
    ("ledger", "last_round", "told"),
    [
        (of_rounds(), 1, ""),
        (of_rounds(1, 2, 2, 3), 3, ""),
        (of_rounds(*[1] * 8), 1, ""),
        (of_rounds(1, 4), 3, "has an entry for round 4, but the last round is 3"),
        (of_rounds(*[1] * 9), 1, "has 9 entries for round 1; at most 8 are believed"),
        (of_rounds(*range(1, 10_001)), 10_000, ""),
        (of_rounds(*range(1, 10_002)), 10_001, "has 10001 entries; at most 10000 are read"),
    ],
)
def test_a_ledger_that_no_client_can_have_is_told(ledger, last_round, told):
    assert ledger.problem(last_round) == told


def test_over_many_rounds_epsilon_is_computed_seldom_and_never_told_too_low(monkeypatch):
    ledger = of_rounds(*range(1, 1001), 1000)
    exact = [epsilon_of(((1.0, 0.05, 20 * number),), "rdp", 1e-5) for number in (*range(1, 1000), 1001)]
    asked = []
    real = privacy.epsilon_of
    monkeypatch.setattr(privacy, "epsilon_of", lambda *question: asked.append(1) or real(*question))
    told = ledger.epsilon_by_round("rdp", 1e-5)
    assert len(asked) <= 100
    assert len(told) == 1000
    assert told == sorted(told)
    assert all(one >= other for one, other in zip(told, exact, strict=True))
    assert told[-1] == exact[-1]


def test_two_releases_with_secret_noise_add_up_within_a_round():
    ledger = Ledger()
    ledger.spend(Entry(1, 1.0, 0.05, 20))
    ledger.spend(Entry(1, 1.0, 0.05, 20))
    assert len(ledger.entries) == 2
    assert len(ledger.epsilon_by_round("rdp", 1e-5)) == 1


@given(
    st.lists(
        st.builds(
            Entry,
            st.integers(1, 50),
            st.floats(0.01, 100),
            st.floats(1e-5, 1),
            st.integers(0, 1000),
            st.text("0123456789abcdef", max_size=32),
        ),
        max_size=8,
    )
)
def test_a_ledger_survives_its_text(entries):
    ledger = Ledger(tuple(entries))
    assert Ledger.from_json(ledger.to_json()).entries == ledger.entries


ENTRY = {"round": 1, "noise_multiplier": 1.0, "sampling_rate": 0.1, "steps": 5, "release": ""}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 2, "entries": []}',
        '{"version": 1}',
        '{"version": 1, "entries": [3]}',
        "[" * 100_000,
        *(
            json.dumps({"version": 1, "entries": [{**ENTRY, **change}]})
            for change in (
                {"round": 0},
                {"round": "1"},
                {"steps": -1},
                {"steps": True},
                {"steps": 10**12},
                {"noise_multiplier": 0},
                {"noise_multiplier": float("nan")},
                {"noise_multiplier": "1"},
                {"sampling_rate": 1.5},
                {"sampling_rate": 0},
                {"release": None},
                {"more": 1},
            )
        ),
        json.dumps({"version": 1, "entries": [{**ENTRY, "noise_multiplier": 1 + i} for i in range(300)]}),
    ],
)
def test_a_damaged_ledger_is_refused_in_one_sentence(text):
    with pytest.raises(UserError, match="the privacy ledger is damaged"):
        Ledger.from_json(text)


def test_the_table_for_the_run_folder_has_four_columns():
    ledger = Ledger((Entry(1, 1.0, 0.05, 20, "name"),))
    assert ledger.entries_as_json() == [{"round": 1, "noise_multiplier": 1.0, "sampling_rate": 0.05, "steps": 20}]
