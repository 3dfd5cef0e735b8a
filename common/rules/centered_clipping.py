"""Centered clipping: each client moves the result by no more than a fixed length."""

import numpy as np

from common.rules.columns import Matrix, Vector
from common.rules.distances import distances_to, pull
from common.rules.options import enough, positive, whole_number


def least_for_centered_clipping(clip_norm: float | None = None, iterations: int = 3) -> int:
    """Return the fewest updates that a round needs. Raises ValueError for an option that is missing or out of range."""
    if clip_norm is None:
        raise ValueError(
            "clip_norm is missing: give the L2 length, over all parameters, that an update may have, such as 1.0"
        )
    positive("clip_norm", clip_norm)
    whole_number("iterations", iterations, 1)
    return 1


def centered_clipping(differences: Matrix, *, clip_norm: float | None = None, iterations: int = 3) -> Vector:
    """Return where the center goes when it moves, ``iterations`` times, by the mean of the clipped (client - center).

    Source: Karimireddy, He, Jaggi, "Learning from history for Byzantine robust optimization" (ICML 2021). The center:
    this function keeps nothing between rounds and starts from 0, the global model that the clients received, which is
    the last round's result. In the paper clients send momentum and the first center is the last aggregated momentum;
    clients here send the outcome of local epochs, whose counterpart is the model. With ``iterations = 1`` this is norm
    clipping (Sun, Kairouz, Suresh, McMahan, "Can you really backdoor federated learning?", 2019).

    Withstands f < n / 2 malicious, whatever ``iterations``: with all honest updates within r of a point c that is at R
    from the global model, t = clip_norm and B = max(r + t, ((n - f) r + n t / 2) / (n - 2f)), the result is within
    max(R, B + t) of c: a step is no longer than t, and a center farther than B from c comes closer. Any number of
    malicious clients move it by at most iterations · t in a round.
    Costs ``iterations`` + 1 passes over n · d numbers.

    Args:
        differences: [clients, parameters].
        clip_norm: L2 length above which (client - center) is shortened to it; no default suits every model.
        iterations: more come closer to where honest clients agree, and give malicious ones more steps.

    Raises:
        ValueError: an option is missing or out of its range.
        TooFewUpdatesError: no update.
    """
    enough("centered-clipping", len(differences), least_for_centered_clipping(clip_norm, iterations))
    limit = positive("clip_norm", clip_norm)
    point = np.zeros(differences.shape[1])
    distances = distances_to(point, differences)
    for _ in range(iterations):
        shortened = limit / np.maximum(distances, limit)
        distances, _ = pull(point, differences, shortened / len(differences))
    return point
