"""Option types that several strategies share."""

from typing import Annotated

from pydantic import AfterValidator, Field

from attacks.craft import find
from attacks.poison import RULES
from common.errors import UserError
from common.section import Budget, Count, Fraction


def _known_attack(name: str) -> str:
    try:
        find(name)
    except UserError as error:
        raise ValueError(str(error)) from None
    return name


def _known_rule(rule: str) -> str:
    kind, colon, target = rule.partition(":")
    if rule not in RULES[:3] and not (kind == "target" and colon and target.isdecimal()):
        raise ValueError(f"choose one of {', '.join(RULES)} (K a class number, from 0)")
    return rule


def _known_flip(rule: str) -> str:
    if rule != "random" and _known_rule(rule) in RULES[:3]:
        raise ValueError("choose one of random, target:K (K a class number, from 0)")
    return rule


Attack = Annotated[str, AfterValidator(_known_attack)]
"""An attack's name, as ``psreval list attacks`` shows them, or ``file.py:function``."""
LabelRule = Annotated[str, AfterValidator(_known_rule)]
"""How a poisoned record is labelled: ``predicted``, ``true``, ``random`` or ``target:K``."""
FlipRule = Annotated[str, AfterValidator(_known_flip)]
"""What a flipped label becomes: ``random`` (another class) or ``target:K``."""
Factor = Annotated[float, Field(ge=-1e6, le=1e6)]
"""What an update's change is multiplied by."""
ClassNumber = Annotated[int, Field(ge=0)]
"""A class, counted from 0."""

__all__ = ["Attack", "Budget", "ClassNumber", "Count", "Factor", "FlipRule", "Fraction", "LabelRule"]
