"""How long a forward pass takes: medians of interleaved repeats."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

BATCH_SIZES = (1, 64, 256)
LARGEST_ACTIVATION = 2**30
"""Bytes that the largest output of a module may take in a timed batch; several are alive at once."""
_MOST_REPEATS = 31
_LEAST_REPEATS = 3


def batch_sizes(activation_bytes: int) -> tuple[int, ...]:
    """Return the batch sizes to time where the largest activation of one image takes so many bytes; 1 always."""
    return tuple(size for size in BATCH_SIZES if size == 1 or size * activation_bytes <= LARGEST_ACTIVATION)


def medians(
    runs: Mapping[str, Callable[[Tensor], object]],
    images: Tensor,
    *,
    seconds: float,
    sizes: Sequence[int] = BATCH_SIZES,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    """Time each of ``runs`` on batches of each size.

    One repeat runs all of them in turn, so that whatever else the machine does falls on all alike; the first, which
    warms up, does not count.

    Args:
        runs: name → what to time, called with a batch.
        images: [N, C, H, W], N >= 1; repeated where there are fewer than a batch.
        seconds: per batch size; no repeat begins later, beyond the least number (3, or 1 where a single repeat takes
            longer than ``seconds``). At most 31.
        sizes: of the batches.
        clock: seconds that only rise.

    Returns:
        Medians in milliseconds, name → batch size → number, and the repeats that each batch size had.
    """
    latency: dict[str, dict[str, float]] = {name: {} for name in runs}
    repeats: dict[str, int] = {}
    for size in sizes:
        batch = images.repeat(-(-size // len(images)), 1, 1, 1)[:size].contiguous()
        times: dict[str, list[float]] = {name: [] for name in runs}
        begun = clock()
        _one_repeat(runs, batch, times, clock)
        least = 1 if clock() - begun > seconds else _LEAST_REPEATS
        for record in times.values():
            record.clear()
        done = 0
        while done < least or (done < _MOST_REPEATS and clock() - begun < seconds):
            _one_repeat(runs, batch, times, clock)
            done += 1
        repeats[str(size)] = done
        for name, record in times.items():
            latency[name][str(size)] = 1000 * statistics.median(record)
    return latency, repeats


def _one_repeat(
    runs: Mapping[str, Callable[[Tensor], object]],
    batch: Tensor,
    times: Mapping[str, list[float]],
    clock: Callable[[], float],
) -> None:
    for name, run in runs.items():
        begun = clock()
        run(batch)
        times[name].append(clock() - begun)
