from pathlib import Path

import pytest
from flwr.serverapp.strategy import FedAvg, FedMedian, Krum, Strategy

from common.config import Experiment, parse
from common.errors import UserError
from server.aggregation import AGGREGATION, build_strategy, check_rule

NEEDED = {"centered-clipping": {"clip_norm": 1.0}}


def experiment(clients: int, rule: str, **options: object) -> Experiment:
    federation = {"aggregation": rule, "aggregation_options": options}
    return parse({"name": "test", "clients": [{"count": clients}], "federation": federation}, "test")


@pytest.mark.parametrize("name", AGGREGATION)
def test_every_rule_builds_and_leaves_evaluation_to_the_server(name: str) -> None:
    strategy = build_strategy(name, NEEDED.get(name, {}))
    assert isinstance(strategy, Strategy)
    assert strategy.fraction_evaluate == 0.0


@pytest.mark.parametrize("name", AGGREGATION)
def test_every_rule_says_what_it_is_in_a_line(name: str) -> None:
    _, line = AGGREGATION[name]
    assert 20 < len(line) < 120
    assert "\n" not in line


def test_options_reach_the_rule_and_the_sampling() -> None:
    strategy = build_strategy("trimmed-mean", {"beta": 0.3, "fraction_train": 0.5, "min_train_nodes": 4})
    assert strategy.options == {"beta": 0.3}
    assert strategy.least == 4
    assert strategy.fraction_train == 0.5
    assert strategy.min_train_nodes == 4


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("fedavgg", {}, "did you mean 'fedavg'"),
        ("geometric_median", {}, "did you mean 'geometric-median'"),
        ("krum", {"num_malicius_nodes": 1}, "num_malicius_nodes: unknown key; did you mean 'num_malicious_nodes'"),
        ("krum", {"num_malicious_nodes": -1}, r"aggregation_options.num_malicious_nodes = -1 must be a whole number"),
        ("multi-krum", {"num_nodes_to_select": 0}, r"aggregation_options.num_nodes_to_select = 0 must be a whole"),
        ("bulyan", {"num_malicious_nodes": 0.5}, r"num_malicious_nodes = 0.5 must be a whole number, 0 or more"),
        ("trimmed-mean", {"beta": 0.7}, r"aggregation_options.beta = 0.7 must be a number, at least 0 and less than"),
        ("median", {"beta": 0.2}, "beta: unknown key"),
        ("median", {"weighted_by_key": "loss"}, "weighted_by_key: unknown key"),
        ("median", {"fraction_train": 1.5}, r"aggregation_options.fraction_train = 1.5 must be a number above 0"),
        ("median", {"fraction_train": "half"}, r"fraction_train = 'half' must be a number above 0 and at most 1"),
        ("median", {"min_train_nodes": 0}, r"min_train_nodes = 0 must be a whole number, 1 or more"),
        ("geometric-median", {"tolerance": -1}, r"aggregation_options.tolerance = -1 must be a finite number above 0"),
        ("centered-clipping", {}, r"aggregation_options.clip_norm is missing: give the L2 length"),
        ("centered-clipping", {"clip_norm": -1}, r"aggregation_options.clip_norm = -1 must be a finite number above 0"),
        ("none.py:Rule", {}, "there is no file"),
        ("flower:Krumm", {}, "has no class 'Krumm'; did you mean 'Krum'"),
        ("flower:Strategy", {}, "has no class 'Strategy'"),
        ("flower:Result", {}, "has no class 'Result'"),
        ("flower:FedTrimmedAvg", {"beta": 0.7}, "does not accept"),
        ("flower:Krum", {"malicious": 1}, "malicious: unknown key"),
        ("flower:DifferentialPrivacyServerSideFixedClipping", {}, "does not accept .* missing"),
    ],
)
def test_mistakes_are_sentences(name: str, options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        build_strategy(name, options)


def test_a_user_s_own_class(tmp_path: Path) -> None:
    (tmp_path / "rule.py").write_text(
        "from flwr.serverapp.strategy import FedAvg\nclass Mine(FedAvg):\n    pass\nclass Other:\n    pass\n"
    )
    assert isinstance(build_strategy(f"{tmp_path / 'rule.py'}:Mine", {}), FedAvg)
    with pytest.raises(UserError, match="not a class derived from"):
        build_strategy(f"{tmp_path / 'rule.py'}:Other", {})


def test_flower_s_own_rules_by_their_class_names() -> None:
    strategy = build_strategy("flower:Krum", {"num_malicious_nodes": 2})
    assert type(strategy) is Krum
    assert strategy.num_malicious_nodes == 2
    assert strategy.fraction_evaluate == 0.0
    assert strategy.min_available_nodes == 1
    assert type(build_strategy("flower:FedMedian", {})) is FedMedian


@pytest.mark.parametrize(
    ("rule", "options", "least"),
    [
        ("krum", {"num_malicious_nodes": 2}, 7),
        ("krum", {}, 5),
        ("krum", {"num_malicious_nodes": 0}, 3),
        ("multi-krum", {}, 5),
        ("multi-krum", {"num_malicious_nodes": 0}, 3),
        ("multi-krum", {"num_nodes_to_select": 6}, 7),
        ("bulyan", {}, 7),
        ("bulyan", {"num_malicious_nodes": 0}, 3),
        ("multi-krum", {"num_malicious_nodes": 1, "num_nodes_to_select": 6}, 7),
        ("bulyan", {"num_malicious_nodes": 1}, 7),
        ("trimmed-mean", {"beta": 0.2}, 5),
    ],
)
def test_a_rule_that_the_whole_roster_cannot_feed_is_refused_at_the_start(rule: str, options: dict, least: int) -> None:
    check_rule(experiment(least, rule, **options))
    words = f"federation.aggregation = '{rule}'.* needs at least {least} updates in a round, and {least - 1} of the "
    with pytest.raises(UserError, match=words):
        check_rule(experiment(least - 1, rule, **options))


def test_a_rule_that_a_round_s_sample_cannot_feed_is_refused_at_the_start() -> None:
    check_rule(experiment(10, "krum", num_malicious_nodes=1, fraction_train=0.5))
    with pytest.raises(UserError, match="needs at least 5 updates in a round, and 4 of the 10 clients are asked"):
        check_rule(experiment(10, "krum", num_malicious_nodes=1, fraction_train=0.4))
    check_rule(experiment(10, "krum", num_malicious_nodes=1, fraction_train=0.4, min_train_nodes=5))


@pytest.mark.parametrize("rule", ["fedavg", "median", "geometric-median", "flower:Bulyan"])
def test_other_rules_start_with_one_client(rule: str) -> None:
    check_rule(experiment(1, rule))


def test_the_check_at_the_start_finds_mistakes_too() -> None:
    with pytest.raises(UserError, match="did you mean 'krum'"):
        check_rule(experiment(5, "krumm"))
