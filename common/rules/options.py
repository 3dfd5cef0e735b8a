"""Checks of a rule's options, and of how many updates it works with."""

import math


class TooFewUpdatesError(ValueError):
    """The round brought fewer updates than the rule needs; its message is one sentence."""


def whole_number(name: str, value: object, least: int) -> int:
    """Return ``value``; raise ValueError unless it is a whole number of ``least`` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} = {value!r} must be a whole number, {least} or more")
    return value


def number(name: str, value: object, least: float, below: float) -> float:
    """Return ``value``; raise ValueError unless it is a number from ``least`` to less than ``below``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < below:
        raise ValueError(f"{name} = {value!r} must be a number, at least {least:g} and less than {below:g}")
    return float(value)


def positive(name: str, value: object) -> float:
    """Return ``value``; raise ValueError unless it is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} = {value!r} must be a finite number above 0")
    return float(value)


def enough(rule: str, updates: int, least: int) -> None:
    """Raise TooFewUpdatesError unless a round's ``updates`` are at least ``least``."""
    if updates < least:
        raise TooFewUpdatesError(f"{rule} needs at least {least} updates, and {updates} can be used")
