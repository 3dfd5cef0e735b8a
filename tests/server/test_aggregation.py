from pathlib import Path

import pytest
from flwr.serverapp.strategy import FedAvg, Strategy

from common.errors import UserError
from server.aggregation import AGGREGATION, build_strategy


@pytest.mark.parametrize("name", AGGREGATION)
def test_every_rule_builds_and_leaves_evaluation_to_the_server(name: str) -> None:
    strategy = build_strategy(name, {})
    assert isinstance(strategy, Strategy)
    assert strategy.fraction_evaluate == 0.0


def test_options_reach_the_rule() -> None:
    assert build_strategy("trimmed-mean", {"beta": 0.3}).beta == 0.3


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("fedavgg", {}, "did you mean 'fedavg'"),
        ("krum", {"num_malicius_nodes": 1}, "num_malicius_nodes: unknown key; did you mean 'num_malicious_nodes'"),
        ("trimmed-mean", {"beta": 0.7}, "does not accept"),
        ("none.py:Rule", {}, "there is no file"),
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
