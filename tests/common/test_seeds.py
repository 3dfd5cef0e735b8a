import torch
from hypothesis import given
from hypothesis import strategies as st

from common.seeds import derive, numpy_generator, torch_generator


@given(st.integers(0, 2**40), st.lists(st.integers(0, 100), max_size=3))
def test_seeds_are_repeatable_and_fit_in_63_bits(seed: int, purpose: list[int]) -> None:
    assert derive(seed, *purpose) == derive(seed, *purpose)
    assert 0 <= derive(seed, *purpose) < 2**63


def test_purposes_do_not_run_together() -> None:
    assert len({derive(1, 1, 11), derive(1, 11, 1), derive(11, 1, 1), derive(1, "1", "1", 1)}) == 4


def test_generators_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(3, generator=torch_generator(1, "a"))
    numpy_generator(1, "a").random(3)
    assert torch.equal(before, torch.get_rng_state())
