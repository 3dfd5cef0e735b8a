"""What work leaves behind in what others use, too: gradients in a model's parameters, and the global random state."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

T = TypeVar("T")


@dataclass(frozen=True)
class Traces:
    """What work has left.

    Attributes:
        gradients: some parameter has one.
        random_state: torch's generator is not where it was.
    """

    gradients: bool
    random_state: bool


CLEAN = Traces(gradients=False, random_state=False)


def traced(model: nn.Module, work: Callable[[], T]) -> tuple[T, Traces]:
    """Do some work; return its result and what it leaves, of which nothing is left afterwards.

    The work begins without gradients and with torch's generator seeded with 1.
    """
    model.zero_grad()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        result = work()
        drawn = not torch.equal(torch.get_rng_state(), before)
    gradients = any(parameter.grad is not None for parameter in model.parameters())
    model.zero_grad()
    return result, Traces(gradients, drawn)


def in_words(theirs: Traces, ours: Traces) -> str:
    """Return in words what both sides leave."""
    word = {True: "yes", False: "no"}
    return (
        f"gradients left: theirs {word[theirs.gradients]}, ours {word[ours.gradients]}; "
        f"random state changed: theirs {word[theirs.random_state]}, ours {word[ours.random_state]}"
    )
