"""A trial: how hard a model was attacked. Only numbers of equal trials are compared."""

from dataclasses import dataclass
from pathlib import Path

from common.config import Experiment


@dataclass(frozen=True)
class Trial:
    """All of an evaluation that its robust accuracies depend on, but threats, transfer generators and queries.

    Attributes:
        attacks: by name, those by gradients.
        eps, step_size: in units of [0, 1].
        steps, repeats, records: as in the description; None: all images.
    """

    attacks: tuple[str, ...]
    eps: float
    step_size: float
    steps: int
    repeats: int
    records: int | None


@dataclass(frozen=True)
class Queries:
    """All that robust accuracies under queries depend on beside.

    Attributes:
        attacks: by name.
        queries, records: as in the description; None: all images.
    """

    attacks: tuple[str, ...]
    queries: int
    records: int | None


def trial_of(experiment: Experiment) -> Trial:
    """Return how hard an experiment attacks."""
    evaluation = experiment.evaluation
    return Trial(
        attacks=tuple(Path(attack).name for attack in evaluation.attacks),
        eps=evaluation.eps,
        step_size=evaluation.step_size,
        steps=evaluation.steps,
        repeats=evaluation.repeats,
        records=evaluation.records,
    )


def queries_of(experiment: Experiment) -> Queries | None:
    """Return how an experiment asks the model for answers, or None if it does not."""
    evaluation = experiment.evaluation
    if "query" not in evaluation.threats:
        return None
    attacks = tuple(Path(attack).name for attack in evaluation.query_attacks)
    return Queries(attacks, evaluation.queries, evaluation.query_records)
