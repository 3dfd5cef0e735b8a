"""Settings: where a description lies on the paper's axes."""

from typing import Any

import pytest

from common.config import Experiment, parse
from experiments.study.setting import setting_of


def described(**changes: Any) -> Experiment:
    base = parse({"clients": [{"name": "a"}, {"name": "b"}]}, "test")
    return base.change({key.replace("__", "."): value for key, value in changes.items()})


def test_a_clean_federation() -> None:
    setting = setting_of(described(data__source="cifar10"))
    assert (setting.data, setting.model, setting.epsilon) == ("CIFAR-10", "ResNet-9", None)
    assert (setting.use, setting.attack, setting.share) == ("none", None, None)
    assert setting.budget == pytest.approx(8 / 255)


def test_the_epsilon_is_the_honest_clients() -> None:
    poisoner = {"clients__1__strategy": "data-poisoner"}
    assert setting_of(described(privacy__enabled=True, privacy__epsilon=3.4)).epsilon == 3.4
    assert setting_of(described(privacy__epsilon=3.4)).epsilon is None
    assert setting_of(described(clients__1__private=True, privacy__epsilon=2.0, **poisoner)).epsilon is None


@pytest.mark.parametrize(("partition", "share"), [("iid", 0.4), ([3.0, 1.0], 0.2)])
def test_the_share_is_of_all_records(partition: Any, share: float) -> None:
    options = {"attack": "fgsm", "fraction": 0.8}
    told = described(clients__1__strategy="data-poisoner", clients__1__options=options, data__partition=partition)
    setting = setting_of(told)
    assert (setting.use, setting.attack) == ("train-time attack", "fgsm")
    assert setting.share == pytest.approx(share)


def test_adversarial_training_by_all_has_their_fraction_as_its_share() -> None:
    table = {"attack": "fab", "fraction": 0.3}
    setting = setting_of(described(clients__0__adversarial_training=table, clients__1__adversarial_training=table))
    assert (setting.use, setting.attack, setting.share) == ("adversarial training", "fab", pytest.approx(0.3))


def test_both_uses_at_once() -> None:
    table = {"attack": "pgd", "fraction": 0.2}
    poisoner = {"clients__1__strategy": "data-poisoner", "clients__1__options": {"attack": "fgsm", "fraction": 0.4}}
    setting = setting_of(described(clients__0__adversarial_training=table, **poisoner))
    assert (setting.use, setting.attack, setting.share) == ("both", "fgsm", pytest.approx(0.2))


def test_another_strategy_is_a_use_of_its_own() -> None:
    assert setting_of(described(clients__1__strategy="label-flipper")).use == "label-flipper"
