"""A trial: how hard a model was attacked. Only numbers of equal trials are compared."""

from dataclasses import dataclass
from pathlib import Path

from common.config import Experiment


@dataclass(frozen=True)
class Trial:
    """All of an evaluation that its robust accuracies depend on, but the threats and the transfer generators.

    Attributes:
        attacks, query_attacks: by name.
        eps, step_size: in units of [0, 1].
        steps, queries, repeats, records, query_records: as in the description; None: all images.
    """

    attacks: tuple[str, ...]
    query_attacks: tuple[str, ...]
    eps: float
    step_size: float
    steps: int
    queries: int
    repeats: int
    records: int | None
    query_records: int | None


def trial_of(experiment: Experiment) -> Trial:
    """Return how hard an experiment attacks."""
    evaluation = experiment.evaluation
    return Trial(
        attacks=tuple(Path(attack).name for attack in evaluation.attacks),
        query_attacks=tuple(Path(attack).name for attack in evaluation.query_attacks),
        eps=evaluation.eps,
        step_size=evaluation.step_size,
        steps=evaluation.steps,
        queries=evaluation.queries,
        repeats=evaluation.repeats,
        records=evaluation.records,
        query_records=evaluation.query_records,
    )
