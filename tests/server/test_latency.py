"""Laws of timing, told by a clock of our own."""

import pytest
import torch
from torch import Tensor

from server.latency import LARGEST_ACTIVATION, batch_sizes, medians


class Clock:
    """Time that passes only while something runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[str, int]] = []

    def __call__(self) -> float:
        return self.now

    def run(self, name: str, seconds_per_image: float, first: float = 0.0):  # type: ignore[no-untyped-def]
        def run(batch: Tensor) -> None:
            met = (name, len(batch)) in self.calls
            self.calls.append((name, len(batch)))
            self.now += seconds_per_image * len(batch) + (0 if met else first)

        return run


def test_medians_are_milliseconds_without_the_first_slow_run() -> None:
    clock = Clock()
    runs = {"slow": clock.run("slow", 0.002, first=0.5), "fast": clock.run("fast", 0.001)}
    latency, repeats = medians(runs, torch.rand(3, 1, 4, 4), seconds=2.0, clock=clock)
    assert latency["slow"] == pytest.approx({"1": 2.0, "64": 128.0, "256": 512.0})
    assert latency["fast"] == pytest.approx({"1": 1.0, "64": 64.0, "256": 256.0})
    assert repeats == {"1": 31, "64": 7, "256": 3}


def test_repeats_are_interleaved() -> None:
    clock = Clock()
    medians({"a": clock.run("a", 0.01), "b": clock.run("b", 0.01)}, torch.rand(1, 1, 4, 4), seconds=0.1, clock=clock)
    assert [name for name, _ in clock.calls] == ["a", "b"] * (len(clock.calls) // 2)


def test_a_very_slow_model_is_timed_once() -> None:
    clock = Clock()
    _, repeats = medians({"a": clock.run("a", 1.0)}, torch.rand(64, 1, 4, 4), seconds=1.5, clock=clock)
    assert repeats == {"1": 3, "64": 1, "256": 1}


def test_fewer_images_than_a_batch_are_repeated() -> None:
    seen: list[Tensor] = []
    images = torch.rand(3, 1, 2, 2)
    medians({"a": seen.append}, images, seconds=0.0, sizes=(7,))
    assert all(torch.equal(batch, images[[0, 1, 2, 0, 1, 2, 0]]) for batch in seen)


def test_batches_that_would_fill_the_memory_are_left_out() -> None:
    assert batch_sizes(1) == (1, 64, 256)
    assert batch_sizes(LARGEST_ACTIVATION // 256) == (1, 64, 256)
    assert batch_sizes(LARGEST_ACTIVATION // 256 + 1) == (1, 64)
    assert batch_sizes(2 * LARGEST_ACTIVATION) == (1,)
