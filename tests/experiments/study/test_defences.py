from dataclasses import replace

from experiments.study.defences import Defence, defence_of, name, representatives
from experiments.study.points import place
from experiments.study.setting import Setting

PLAIN = Setting("CIFAR-10", "ResNet-9", None, "none", None, None, 8 / 255)


def trained(epsilon: float | None, attack: str, share: float) -> Setting:
    return replace(PLAIN, epsilon=epsilon, use="adversarial training", attack=attack, share=share)


def test_representatives_follow_the_rule_and_not_the_order() -> None:
    settings = [
        PLAIN, replace(PLAIN, epsilon=7.0), replace(PLAIN, epsilon=1.7), replace(PLAIN, epsilon=3.4),
        trained(3.4, "fgsm", 0.2), trained(3.4, "pgd", 0.4), trained(3.4, "pgd", 0.1), trained(3.4, "pgd", 0.3),
        replace(PLAIN, use="train-time attack", attack="pgd", share=0.2),
    ]  # fmt: skip
    wanted = {
        (False, False): PLAIN,
        (True, False): replace(PLAIN, epsilon=3.4),  # the ε that has adversarial training, too
        (True, True): trained(3.4, "pgd", 0.1),  # as near to 20 % as 30 %, and smaller
    }
    assert representatives(settings) == representatives(reversed(settings)) == wanted


def test_the_smallest_epsilon_stands_for_private_where_all_are_alike() -> None:
    settings = [replace(PLAIN, epsilon=epsilon) for epsilon in (7.0, 1.7, 3.4)]
    assert representatives(settings) == {(True, False): replace(PLAIN, epsilon=1.7)}


def test_a_defence_is_named() -> None:
    setting = trained(1.7, "pgd", 0.2)
    assert defence_of(setting, "int8") == Defence(trained=True, private=True, small=True)
    assert defence_of(PLAIN, "fp32").marks() == (False, False, False)
    assert name({**place(setting), "target": "int8"}) == "ε = 1.7, trained on PGD, 20 %, int8"
    assert name(place(PLAIN)) == "non-private"
