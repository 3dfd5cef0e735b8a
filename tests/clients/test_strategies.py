"""Names, options and classes of one's own."""

from pathlib import Path

import pytest

from clients.honest import Honest
from clients.strategies import CLIENTS, build_strategy, descriptions
from common.description import AdversarialTraining, Client
from common.errors import UserError

ROOT = Path(__file__).parents[2]


def strategy(name, **options):
    return build_strategy(Client(name="hospital", strategy=name, options=options))


@pytest.mark.parametrize("name", CLIENTS)
def test_every_strategy_is_built_by_its_name_and_described(name):
    assert type(strategy(name)) is CLIENTS[name]
    assert descriptions()[name]


def test_descriptions_show_options_as_they_are_written():
    assert 'fraction = 0.4, labels = "predicted", eps = "8/255"' in descriptions()["data-poisoner"]
    assert descriptions()["honest"].endswith(".")


def test_each_malicious_strategy_abuses_one_method():
    overridden = {
        name: {method for method in ("prepare", "train", "send") if method in vars(kind)}
        for name, kind in CLIENTS.items()
        if name != "honest"
    }
    assert overridden == {
        "adversarial-training": {"prepare"},
        "data-poisoner": {"prepare"},
        "label-flipper": {"prepare"},
        "update-poisoner": {"send"},
    }
    honest = {name for name, kind in CLIENTS.items() if kind.honest}
    assert honest == {"honest", "adversarial-training"}


def test_options_arrive():
    poisoner = strategy("data-poisoner", attack="fgsm", fraction=1, eps="4/255", labels="target:2")
    assert (poisoner.attack, poisoner.fraction, poisoner.labels, poisoner.steps) == ("fgsm", 1, "target:2", 10)
    assert poisoner.eps == 4 / 255


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("honest", {"fraction": 0.2}, "'hospital': options.fraction: unknown option; Honest takes none"),
        ("data-poisoner", {"fractoin": 0.2}, "options.fractoin: unknown option; did you mean 'fraction'"),
        ("data-poisoner", {"fraction": 1.5}, "options.fraction = 1.5: is above 1"),
        ("data-poisoner", {"fraction": "half"}, "options.fraction = 'half': write a number, or a fraction"),
        ("data-poisoner", {"fraction": True}, "options.fraction = True: input should be a valid number"),
        ("data-poisoner", {"eps": 8}, "options.eps = 8: is above 1, but images live in [0, 1]; write '8/255'"),
        ("data-poisoner", {"steps": 0}, "options.steps = 0: input should be greater than or equal to 1"),
        ("data-poisoner", {"steps": 2.5}, "options.steps = 2.5: input should be a valid integer"),
        ("data-poisoner", {"attack": "pdg"}, "options.attack = 'pdg': attack = 'pdg' is not known; did you mean 'pgd'"),
        ("data-poisoner", {"labels": "wrong"}, "options.labels = 'wrong': choose one of predicted, true, random"),
        ("data-poisoner", {"labels": "target:x"}, "options.labels = 'target:x': choose one of"),
        ("label-flipper", {"labels": "true"}, "options.labels = 'true': choose one of random, target:K"),
        ("label-flipper", {"source": -1}, "options.source = -1: input should be greater than or equal to 0"),
        ("update-poisoner", {"factor": "big"}, "options.factor = 'big': input should be a valid number"),
        ("update-poisoner", {"factor": float("inf")}, "options.factor = inf: input should be less than"),
    ],
)
def test_a_wrong_option_is_named_with_its_remedy(name, options, sentence):
    with pytest.raises(UserError) as told:
        strategy(name, **options)
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


def test_an_unknown_strategy_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean 'label-flipper'"):
        strategy("label-fliper")


def test_an_unknown_attack_of_the_adversarial_training_table_is_refused():
    table = AdversarialTraining(attack="pdg")
    with pytest.raises(UserError, match=r"adversarial_training\.attack = 'pdg'.*did you mean 'pgd'"):
        build_strategy(Client(name="hospital", adversarial_training=table))


OWN = """
from typing import Annotated
from pydantic import Field
from clients.honest import Honest

class Plain:
    def prepare(self, records, model): return records
    def train(self, model, records): return {}
    def send(self, update, received): return update

class Derived(Honest):
    def __init__(self, strength: Annotated[float, Field(ge=0)] = 1.0, free=None): self.strength = strength

class Vowed(Derived):
    honest = True

class Heir(Vowed):
    pass

class Needy(Honest):
    def __init__(self, strength: float): self.strength = strength

class Broken(Honest):
    def __init__(self): raise RuntimeError("no scanner")

class Quitter(Honest):
    def __init__(self): raise SystemExit(0)

class Mute:
    def prepare(self, records, model): return records
    def train(self, model, records): return {}

function = lambda: None
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    return lambda name, **options: strategy(f"{tmp_path}/mine.py:{name}", **options)


def test_a_class_with_three_methods_is_a_strategy(own):
    assert type(own("Plain")).__name__ == "Plain"
    assert own("Derived", strength=2, free=[1]).strength == 2
    assert isinstance(own("Derived"), Honest)


def test_ones_own_class_is_honest_only_if_it_says_so(own):
    assert [own(name).honest for name in ("Plain", "Derived", "Vowed", "Heir")] == [False, False, True, False]


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("Derived", {"strength": -1}, "options.strength = -1: input should be greater"),
        ("Derived", {"strenght": 1}, "did you mean 'strength'"),
        ("Needy", {}, "options.strength is required by Needy"),
        ("Broken", {}, "Broken.__init__ raised RuntimeError: no scanner"),
        ("Quitter", {}, "Quitter.__init__ raised SystemExit: 0"),
        ("Mute", {}, "class Mute has no method send"),
        ("function", {}, "is a function; name a class with prepare, train, send"),
        ("Missing", {}, "has no 'Missing'"),
    ],
)
def test_a_wrong_class_is_told_in_one_sentence(own, name, options, sentence):
    with pytest.raises(UserError) as told:
        own(name, **options)
    assert sentence in str(told.value)


def test_the_documented_example_is_short_honest_and_works(build, model, records):
    file = ROOT / "experiments" / "night_shift.py"
    lines = [line for line in file.read_text().splitlines() if line.strip()]
    assert len(lines) <= 24
    night_shift = build(f"{file}:NightShift", {"drift": 0.5}, private=True, round=2)
    assert night_shift.honest
    dark = night_shift.prepare(records, model)
    assert dark.images.allclose(records.images / 255 * 0.25)
    night_shift.train(model, dark)
    assert len(night_shift.setting.ledger.entries) == 1


def test_each_strategy_has_options_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from clients.honest import Honest\n"
        "class Mine(Honest):\n"
        "    def __init__(self, seen=()):\n"
        "        self.seen = seen\n"
        "        seen.append(1)\n"
    )
    described = Client(name="hospital", strategy=f"{file}:Mine", options={"seen": []})
    assert [len(build_strategy(described).seen) for _ in range(3)] == [1, 1, 1]
    assert described.options == {"seen": []}
