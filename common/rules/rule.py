"""A rule as the pair of functions that whoever aggregates needs."""

from collections.abc import Callable
from dataclasses import dataclass

from common.rules.columns import Vector


@dataclass(frozen=True)
class Rule:
    """A rule as pure functions, which take the same options by keyword."""

    aggregate: Callable[..., Vector]
    """(differences [clients, parameters], options) → [parameters]; raises TooFewUpdatesError."""
    least: Callable[..., int]
    """(options) → the fewest updates that it works with; raises ValueError with one sentence on a wrong option."""
