"""Stratified draws and cuts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.dataset import Strata

Index = NDArray[np.int64]


def shares(weights: Sequence[float] | NDArray[Any], total: int, at_least: int = 0) -> list[int]:
    """Return whole numbers in proportion to ``weights`` that sum to ``total``, by largest remainder.

    With ``at_least``, what a share lacks is taken from the largest ones; ``total`` must allow it.
    """
    weight = np.asarray(weights, dtype=np.float64)
    exact = weight / weight.sum() * total
    whole = np.floor(exact).astype(np.int64)
    for place in np.argsort(-(exact - whole), kind="stable")[: total - int(whole.sum())]:
        whole[place] += 1
    while whole.min() < at_least:
        whole[int(whole.argmax())] -= 1
        whole[int(whole.argmin())] += 1
    return [int(share) for share in whole]


def stratified_draw(strata: Strata, count: int, generator: np.random.Generator) -> Index:
    """Return ``count`` sorted record numbers (all, if there are fewer), classes in proportion.

    Every class present is drawn at least once where ``count`` allows it.
    """
    if count >= len(strata):
        return np.arange(len(strata), dtype=np.int64)
    present, sizes = np.unique(strata, return_counts=True)
    quota = shares(sizes, count, at_least=1 if count >= len(present) else 0)
    drawn = [
        generator.permutation(np.flatnonzero(strata == label))[:share]
        for label, share in zip(present, quota, strict=True)
    ]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def cut(
    strata: Strata, groups: Sequence[str] | None, fraction: float, generator: np.random.Generator
) -> tuple[Index, Index]:
    """Return (kept, taken), both sorted: about ``fraction`` of each class is taken, groups whole.

    No class is taken entirely unless a single group holds all of it, and none is left out of ``taken`` while a group
    that holds some of it can be spared.
    """
    classes = int(strata.max()) + 1 if len(strata) else 0
    members: dict[str | int, list[int]] = {}
    for number in range(len(strata)):
        members.setdefault(groups[number] if groups is not None else number, []).append(number)
    order = generator.permutation(len(members))
    candidates = [np.asarray(list(members.values())[place], dtype=np.int64) for place in order]
    contents = [np.bincount(strata[candidate], minlength=classes) for candidate in candidates]
    sizes = np.bincount(strata, minlength=classes)
    target = np.minimum(np.maximum(np.rint(fraction * sizes).astype(np.int64), 1), np.maximum(sizes - 1, 0))
    taken = np.zeros(classes, dtype=np.int64)
    chosen: set[int] = set()
    for place, content in enumerate(contents):
        if bool(np.all(taken + content <= target)):
            taken += content
            chosen.add(place)
    for label in range(classes):  # a class whose groups were all too large gives its smallest
        if taken[label] == 0:
            able = [place for place in range(len(contents)) if place not in chosen and contents[place][label] > 0]
            if len(able) > 1:
                place = min(able, key=lambda place: int(contents[place].sum()))
                taken += contents[place]
                chosen.add(place)
    picked = [candidates[place] for place in sorted(chosen)]
    index = np.sort(np.concatenate(picked)) if picked else np.empty(0, dtype=np.int64)
    return np.setdiff1d(np.arange(len(strata), dtype=np.int64), index), index
