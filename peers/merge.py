"""Merge rules: a peer's own model and those that it pulled become the weights that it trains on.

The paper's is the mean weighted by records. The hardened ones look at what each model would add to the peer's own, with
the own model as a row of zeros among them (``common/rules``): nobody's count is believed, but for norm clipping, where
it can only turn a step whose length is bounded.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.config import Experiment
from common.description import Peers
from common.errors import UserError
from common.loading import suggest
from common.rules.centered_clipping import centered_clipping, least_for_centered_clipping
from common.rules.columns import Matrix, Vector
from common.rules.distances import distances_to
from common.rules.krum import krum, least_for_krum
from common.rules.median import median
from common.rules.trimmed_mean import least_for_trimmed_mean, trimmed_mean
from peers.inquiry import LONGEST, beyond_limit, length
from peers.wire import Parcel

MERGE: dict[str, str] = {
    "mean": "mean weighted by records (the paper); one peer can move it anywhere",
    "alone": "nothing is merged: each peer trains by itself",
    "median": "coordinate-wise median, the own model among the values (Yin et al. 2018); waits for two others",
    "trimmed-mean": "coordinate-wise mean without the outer shares; option beta = 0.2 a side, waits for 1/beta models",
    "krum": "the model nearest to its neighbours (Blanchard et al. 2017); num_malicious_nodes = f, waits for 2f + 3",
    "norm-clipping": "mean by records, each model's distance to the own one clipped; option clip_norm",
    "centered-clipping": "clipped steps from the own model (Karimireddy et al. 2021); clip_norm, iterations",
}
"""Name → one line for lists."""

_OPTIONS = {
    "mean": (), "alone": (), "median": (), "trimmed-mean": ("beta",), "krum": ("num_malicious_nodes",),
    "norm-clipping": ("clip_norm",), "centered-clipping": ("clip_norm", "iterations"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Own:
    """The merging peer's own side.

    Attributes:
        arrays: its model.
        records: that it was trained on.
        step: L2 length of its last local training: what a clipping rule takes for the usual distance.
    """

    arrays: Mapping[str, Tensor]
    records: int
    step: float


@dataclass(frozen=True, eq=False)
class Merged:
    """What a rule made.

    Attributes:
        arrays: the weights to train on.
        own: the own model's coefficient; None where a rule does not know coefficients.
        coefficients: peer → its model's coefficient, likewise; with ``own`` they sum to one.
    """

    arrays: dict[str, Tensor]
    own: float | None
    coefficients: dict[str, float | None]


def check_merge(experiment: Experiment) -> None:
    """Refuse a rule that does not exist, does not take its options, or that all peers together could not feed.

    Raises:
        UserError: one sentence.
    """
    settings, peers = experiment.peers, len(experiment.roster())
    if settings.merge not in MERGE:
        raise UserError(f"peers.merge = '{settings.merge}' is unknown{suggest(settings.merge, MERGE)}")
    for option in settings.merge_options:
        if option not in _OPTIONS[settings.merge]:
            takes = ", ".join(_OPTIONS[settings.merge]) or "none"
            raise UserError(f"peers.merge_options.{option}: '{settings.merge}' has no such option; it takes {takes}")
    try:
        needed = least(settings)
    except ValueError as error:
        raise UserError(f"peers.merge_options.{error}") from None
    if peers < needed:
        raise UserError(
            f"peers.merge = '{settings.merge}' needs {needed} models, the own one among them, and there are {peers} "
            "peers; choose another rule or other peers.merge_options, or add peers"
        )


def least(settings: Peers) -> int:
    """Return the fewest models, the own one among them, with which a rule does what it promises.

    With fewer a peer merges none and pulls none; they count as not merged, so that there are more at its next turn.

    Raises:
        ValueError: an option out of its range.
    """
    options = settings.merge_options
    if settings.merge == "median":
        return 3  # of two values the median is the mean, and one liar is half of it
    if settings.merge == "trimmed-mean":
        return max(2, least_for_trimmed_mean(**options))
    if settings.merge == "krum":
        return max(3, least_for_krum(**options))
    if settings.merge in ("norm-clipping", "centered-clipping"):
        least_for_centered_clipping(**{"clip_norm": 1.0, **options})
    return 2


def merge(own: Own, parcels: Sequence[Parcel], settings: Peers, others: Mapping[str, int]) -> Merged:
    """Return what the description's rule makes of a peer's own model and those that it pulled.

    Args:
        own: the merging peer's side.
        parcels: the models that it pulled and found sound, one a peer, in the roster's order: sums depend on it.
        settings: the rule; ``least`` says how many it needs, ``alone`` gets none.
        others: every other peer's records, as it last claimed them; for ``denominator = "all"``.
    """
    if not parcels:
        return Merged(dict(own.arrays), 1.0, {})
    limit = settings.records_limit
    counts, own_count = [_believed(parcel.records, limit) for parcel in parcels], _believed(own.records, limit)
    if settings.merge == "mean":
        here = {parcel.sender for parcel in parcels}
        away = sum(_believed(count, limit) for name, count in others.items() if name not in here)
        return _mean(own, own_count + (away if settings.denominator == "all" else 0), parcels, counts)
    differences = _differences(own.arrays, parcels)
    usual = own.step or float(np.median(distances_to(np.zeros(differences.shape[1]), differences[1:])))
    clip = settings.merge_options.get("clip_norm", usual or math.inf)
    if settings.merge == "norm-clipping":
        return _norm_clipping(own, own_count, parcels, counts, differences[1:], clip)
    added = _rule(settings, clip)(differences)
    return Merged(_moved(own.arrays, added), None, {parcel.sender: None for parcel in parcels})


def aggregated(parcels: Sequence[Parcel], experiment: Experiment) -> dict[str, Tensor]:
    """Return one model out of all peers' models: the paper's aggregated model, which is what is evaluated.

    It is the mean weighted by records, also for ``alone``. With a hardened rule it is that rule's, with no peer's own
    model in the middle but the coordinate-wise median of all; where there are fewer models than the rule needs, it is
    that median. A clipping rule without ``clip_norm`` takes the median distance to it.

    What a peer would not merge for its distance is left out here as well: models that are implausibly long beside the
    median length, and those beyond ``federation.norm_limit`` from the median of the rest. One such would be the mean.

    Args:
        parcels: every model that can be had, in the roster's order; at least one.
        experiment: rule, options, ``records_limit`` and ``norm_limit``.
    """
    settings, parcels = experiment.peers, _near(parcels, experiment)
    counts = [_believed(parcel.records, settings.records_limit) for parcel in parcels]
    if settings.merge in ("mean", "alone"):
        shares = _shares(counts)
        return _weighted([parcel.arrays for parcel in parcels], shares)
    first = parcels[0].arrays
    differences = _differences(first, parcels[1:])
    center = median(differences)
    moved = differences - center
    if len(parcels) < least(settings):
        return _moved(first, center)
    distances = distances_to(np.zeros(moved.shape[1]), moved)
    clip = settings.merge_options.get("clip_norm", float(np.median(distances)))
    if clip == 0 and settings.merge.endswith("clipping"):  # more than half are one model
        return _moved(first, center)
    if settings.merge == "norm-clipping":
        factors = np.array(_shares(counts)) * _shortened(distances, clip)
        return _moved(first, center + np.einsum("i,ij->j", factors, moved))
    return _moved(first, center + _rule(settings, clip)(moved))


def _near(parcels: Sequence[Parcel], experiment: Experiment) -> Sequence[Parcel]:
    """Return the models that are not too far from the others; all, where none would be left."""
    lengths = [length(parcel.arrays) for parcel in parcels]
    longest = LONGEST * (1 + float(np.median(lengths)))
    near = [parcel for parcel, long in zip(parcels, lengths, strict=True) if long <= longest]
    if experiment.federation.norm_limit is None:
        return near
    first = near[0].arrays
    center = _moved(first, median(_differences(first, near[1:])))
    return [parcel for parcel in near if not beyond_limit(parcel.arrays, center, experiment)] or near


def _mean(own: Own, own_count: int, parcels: Sequence[Parcel], counts: Sequence[int]) -> Merged:
    """Return the weighted mean; ``own_count``: records that the own model has, or stands in for."""
    shares = _shares([own_count, *counts])
    arrays = _weighted([own.arrays, *(parcel.arrays for parcel in parcels)], shares)
    return Merged(arrays, shares[0], {parcel.sender: share for parcel, share in zip(parcels, shares[1:], strict=True)})


def _norm_clipping(
    own: Own, own_count: int, parcels: Sequence[Parcel], counts: Sequence[int], differences: Matrix, clip: float
) -> Merged:
    shares = _shares([own_count, *counts])[1:]
    distances = distances_to(np.zeros(differences.shape[1]), differences)
    factors = np.array(shares) * _shortened(distances, clip)
    told: dict[str, float | None] = {parcel.sender: float(f) for parcel, f in zip(parcels, factors, strict=True)}
    return Merged(_moved(own.arrays, np.einsum("i,ij->j", factors, differences)), 1.0 - float(factors.sum()), told)


def _rule(settings: Peers, clip: float) -> Any:
    """Return a rule as a function of the matrix alone."""
    options = dict(settings.merge_options)
    if settings.merge == "median":
        return median
    if settings.merge == "trimmed-mean":
        return lambda rows: trimmed_mean(rows, **options)
    if settings.merge == "krum":
        return lambda rows: krum(rows, **options)
    if math.isinf(clip):  # nothing to measure a length by: the mean
        return lambda rows: np.asarray(rows.mean(axis=0))
    return lambda rows: centered_clipping(rows, **{**options, "clip_norm": clip})


def _shortened(distances: Vector, clip: float) -> Vector:
    return np.ones_like(distances) if math.isinf(clip) else clip / np.maximum(distances, clip)


def _believed(records: int, limit: int | None) -> int:
    return records if limit is None else min(records, limit)


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [count / total for count in counts]


def _weighted(models: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Return a weighted mean, summed in float64 in the given order."""
    result = {}
    for name, first in models[0].items():
        total = torch.zeros(first.shape, dtype=torch.float64)
        for model, share in zip(models, shares, strict=True):
            total += share * model[name].double()
        result[name] = total.to(first.dtype)
    return result


def _differences(own: Mapping[str, Tensor], parcels: Sequence[Parcel]) -> Matrix:
    """Return what each model would add to ``own`` [1 + models, parameters], float64; row 0 is ``own`` itself, zeros."""
    names = sorted(own)  # whoever resumes has read the weights in another order, and sums depend on it
    start = _flat(own, names)
    rows = np.zeros((1 + len(parcels), len(start)))
    for place, parcel in enumerate(parcels, start=1):
        rows[place] = _flat(parcel.arrays, names) - start
    return rows


def _flat(arrays: Mapping[str, Tensor], names: Sequence[str]) -> Vector:
    return np.concatenate([arrays[name].detach().double().reshape(-1).numpy() for name in names])


def _moved(own: Mapping[str, Tensor], added: Vector) -> dict[str, Tensor]:
    """Return the weights that are ``added`` [parameters] away from ``own``."""
    result, begin = {}, 0
    for name in sorted(own):
        array = own[name]
        part = torch.from_numpy(added[begin : begin + array.numel()]).reshape(array.shape)
        result[name] = (array.double() + part).to(array.dtype)
        begin += array.numel()
    return result
