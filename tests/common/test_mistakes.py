from typing import Any

import pytest
from pydantic import ValidationError

from common.config import Experiment
from common.mistakes import sentence


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"modle": {}}, "modle: unknown key; did you mean 'model'?"),
        ({"evaluation": {"attacks": "pgd"}}, "evaluation.attacks = 'pgd': write a list, in [brackets]: [\"pgd\"]"),
        ({"data": "phantom"}, "data = 'phantom': write a table: [section] and its keys below, or { key = value }"),
        ({"evaluation": {"generators": [{}]}}, "evaluation.generators.0.name: is required"),
        ({"thresholds": {"accuracy": 80}}, "thresholds.accuracy = 80: is above 1; write 0.8 for 80 per cent"),
        (
            {"protocol": "secur"},
            "protocol = 'secur': input should be 'server', 'braintorrent' or 'secure'; did you mean 'secure'?",
        ),
        ({"protocol": "x"}, "protocol = 'x': input should be 'server', 'braintorrent' or 'secure'"),
        ({"federation": {"rounds": True}}, "federation.rounds = True: is not a number"),
    ],
)
def test_a_mistake_names_key_value_and_remedy(tree: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Experiment.model_validate(tree)
    assert sentence(dict(caught.value.errors()[0]), Experiment) == expected
