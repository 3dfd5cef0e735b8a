"""What work leaves behind is seen, whatever was there before, and taken away."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from experiments.bench.traces import CLEAN, Traces, in_words, traced

MODEL = nn.Linear(2, 1)
ONES = torch.ones(1, 2)


def with_gradients() -> None:
    MODEL(ONES).sum().backward()


def without_gradients() -> None:
    torch.autograd.grad(MODEL(ONES).sum(), list(MODEL.parameters()))


@pytest.mark.parametrize(
    ("work", "left"),
    [
        (lambda: None, CLEAN),
        (without_gradients, CLEAN),
        (lambda: torch.rand(3, generator=torch.Generator().manual_seed(1)), CLEAN),
        (with_gradients, Traces(gradients=True, random_state=False)),
        (lambda: MODEL.bias.sum().backward(), Traces(gradients=True, random_state=False)),
        (lambda: torch.rand(3), Traces(gradients=False, random_state=True)),
        (lambda: torch.manual_seed(0), Traces(gradients=False, random_state=True)),
        (lambda: (with_gradients(), torch.rand(3)), Traces(gradients=True, random_state=True)),
    ],
)
def test_gradients_and_draws_are_seen(work: Callable[[], object], left: Traces) -> None:
    assert traced(MODEL, work)[1] == left
    assert traced(MODEL, lambda: None)[1] == CLEAN


def test_what_others_left_before_is_not_counted_and_nothing_is_left_after() -> None:
    with_gradients()
    assert traced(MODEL, lambda: 5) == (5, CLEAN)
    before = torch.get_rng_state()
    traced(MODEL, lambda: (with_gradients(), torch.rand(3)))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in MODEL.parameters())


def test_work_begins_with_the_same_draws() -> None:
    torch.manual_seed(7)
    (first, _), (second, _) = (traced(MODEL, lambda: torch.rand(3)) for _ in range(2))
    torch.manual_seed(8)
    assert torch.equal(first, second)
    assert torch.equal(first, traced(MODEL, lambda: torch.rand(3))[0])


def test_each_side_has_its_own_words() -> None:
    assert in_words(Traces(gradients=True, random_state=False), Traces(gradients=False, random_state=True)) == (
        "gradients left: theirs yes, ours no; random state changed: theirs no, ours yes"
    )
