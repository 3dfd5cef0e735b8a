"""CPU seconds of one aggregation: ``python -m server.bench_rules [clients] [parameters] [repeats]``."""

import resource
import sys
import time
from dataclasses import dataclass
from typing import cast

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from server.aggregation import AGGREGATION, build_strategy
from server.robust_strategy import RobustStrategy

_OPTIONS = {"centered-clipping": {"clip_norm": 1.0}}
_FLOWERS = ("flower:FedMedian", "flower:FedTrimmedAvg", "flower:Krum", "flower:MultiKrum", "flower:Bulyan")


@dataclass(frozen=True)
class _Reply:
    """As much of a Flower message as a strategy reads."""

    content: RecordDict

    def has_error(self) -> bool:
        return False


def main(clients: int = 20, parameters: int = 2_400_000, repeats: int = 3) -> None:
    """Print the CPU seconds of every repeat, in ascending order, for each rule of ours and Flower's own."""
    generator = np.random.default_rng(1)

    def noise(scale: float) -> NDArray[np.float32]:
        return np.float32(scale) * generator.standard_normal(parameters, dtype=np.float32)

    sent = noise(1.0)
    updates = [sent + noise(1e-4) for _ in range(clients - 1)] + [sent + noise(1e3)]
    for name in (*AGGREGATION, *_FLOWERS):
        strategy = build_strategy(name, _OPTIONS.get(name, {}))
        seconds = sorted(_seconds(strategy, sent, updates) for _ in range(repeats))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{name:20} {'  '.join(f'{value:6.2f}' for value in seconds)} s   peak so far {peak:.1f} GiB", flush=True)


def _seconds(strategy: Strategy, sent: NDArray[np.float32], updates: list[NDArray[np.float32]]) -> float:
    replies = [
        _Reply(
            RecordDict(
                {"arrays": ArrayRecord({"w": Array(update)}), "metrics": MetricRecord({"num-examples": 100 + number})}
            )
        )
        for number, update in enumerate(updates)
    ]
    if isinstance(strategy, RobustStrategy):
        strategy.remember(ArrayRecord({"w": Array(sent)}))
    started = time.process_time()
    strategy.aggregate_train(1, cast(list[Message], replies))
    return time.process_time() - started


if __name__ == "__main__":
    main(*(int(float(word)) for word in sys.argv[1:]))
