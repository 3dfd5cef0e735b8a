import dataclasses
import typing

import pytest

from attacks.threats import THREATS
from common.description import Evaluation


def test_the_threats_are_those_that_a_description_can_ask_for():
    (literal, _) = typing.get_args(Evaluation.model_fields["threats"].annotation)
    assert set(THREATS) == set(typing.get_args(literal))


@pytest.mark.parametrize("name", THREATS)
def test_every_threat_is_a_frozen_record_with_a_full_sentence(name):
    threat = THREATS[name]
    assert threat.name == name
    assert set(threat.scored_on) <= {"fp32", "int8"}
    assert threat.sentence.endswith(".")
    with pytest.raises(dataclasses.FrozenInstanceError):
        threat.name = "other"
