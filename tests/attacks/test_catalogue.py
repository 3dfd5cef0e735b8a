import pytest

from attacks.catalogue import ATTACKS, find, options
from common.errors import UserError

OPTIONS = {"eps", "step_size", "steps", "queries", "seed"}


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_has_one_line_and_known_options(name):
    assert ATTACKS[name]
    assert "\n" not in ATTACKS[name]
    assert set(options(name)) <= OPTIONS


def test_the_five_of_our_own_names_come_first():
    assert list(ATTACKS)[:5] == ["fgsm", "pgd", "fab", "square", "autoattack"]


@pytest.mark.parametrize(
    ("name", "heeded"),
    [
        ("fgsm", ("eps",)),
        ("pgd", ("eps", "step_size", "steps", "seed")),
        ("square", ("eps", "queries", "seed")),
        ("torchattacks:FGSM", ("eps", "seed")),
        ("torchattacks:CW", ("eps", "steps", "seed")),
        ("torchattacks:GN", ("seed",)),
    ],
)
def test_options_are_those_that_the_attack_heeds(name, heeded):
    assert options(name) == heeded


def test_only_our_own_attacks_promise_to_treat_each_record_alone():
    assert [name for name in ATTACKS if find(name).per_record] == ["fgsm", "pgd"]


def test_attacks_without_a_budget_say_so():
    for name in ATTACKS:
        assert (find(name).norm is None) == ("no budget" in ATTACKS[name]), name
        assert (find(name).norm == "l2") == ("L2 radius" in ATTACKS[name]), name


@pytest.mark.parametrize(("name", "near"), [("pdg", "pgd"), ("autoatack", "autoattack"), ("PGD", "pgd")])
def test_unknown_attack_suggests_the_nearest(name, near):
    with pytest.raises(UserError, match="is not known") as caught:
        find(name)
    assert near in str(caught.value)
