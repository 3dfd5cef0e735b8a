"""Which client holds which training records."""

import re

import numpy as np

from common.data.dataset import Strata
from common.data.splits import Index, shares
from common.description import Data
from common.errors import UserError
from common.loading import suggest
from common.seeds import numpy_generator

_KNOWN = ("iid", "dirichlet:0.5", "by-label:2", "sorted")


def partition(strata: Strata, clients: int, data: Data) -> list[Index]:
    """Return each client's record numbers: sorted, disjoint, together all of them, at least one each.

    ``iid`` deals shuffled records evenly; a list of sizes deals them in that proportion; ``dirichlet:α`` draws each
    class's shares of the clients from a Dirichlet distribution (Hsu et al. 2019, arXiv 1909.06335); ``by-label:K``
    gives every client the records of exactly K classes; ``sorted`` puts the records in the order of their strata and
    gives every client an equal stretch of them (of ages: Guha Roy et al. 2019, arXiv 1905.06731). Depends on
    ``data.seed`` alone. What is said of classes holds for strata where these are others.

    Args:
        strata: int64 [N] of the training split: the classes, or, where labels are masks, the bands in their place.
        clients: how many there are.
        data: its ``partition`` and ``seed``.

    Raises:
        UserError: fewer records than clients, or a partition that is unknown or cannot be made.
    """
    if clients < 1 or len(strata) < clients:
        raise UserError(
            f"{len(strata)} training records cannot be shared among {clients} clients; "
            "raise data.train_records or lower the number of clients"
        )
    spec = data.partition
    generator = numpy_generator(data.seed, "partition", str(spec), clients)
    if isinstance(spec, tuple):
        return _by_size(strata, clients, spec, generator)
    kind, colon, value = spec.strip().partition(":")
    if kind == "iid" and not colon:
        return _by_size(strata, clients, (1.0,) * clients, generator)
    if kind == "dirichlet" and colon:
        return _dirichlet(strata, clients, _alpha(spec, value), generator)
    if kind == "by-label" and colon:
        return _by_label(strata, clients, _classes_each(spec, value), generator)
    if kind == "sorted" and not colon:
        return _in_order(strata, clients, generator)
    raise UserError(
        f"data.partition = '{spec}' is not known{suggest(spec, _KNOWN)} (or a list of relative sizes, one a client)"
    )


def _alpha(spec: str, value: str) -> float:
    try:
        alpha = float(value)
    except ValueError:
        alpha = float("nan")
    if not 1e-3 <= alpha <= 1e6:
        raise UserError(
            f"data.partition = '{spec}': write 'dirichlet:ALPHA' with ALPHA from 0.001 (each class at few clients) "
            "to 1000000 (even)"
        )
    return alpha


def _classes_each(spec: str, value: str) -> int:
    if not re.fullmatch(r"\s*[1-9][0-9]{0,5}\s*", value):
        raise UserError(f"data.partition = '{spec}': write 'by-label:K' with K = 1, 2 … classes a client")
    return int(value)


def _by_size(strata: Strata, clients: int, sizes: tuple[float, ...], generator: np.random.Generator) -> list[Index]:
    if len(sizes) != clients:
        raise UserError(f"data.partition lists {len(sizes)} sizes for {clients} clients; give one a client")
    if not all(0 < size < float("inf") for size in sizes):
        raise UserError(f"data.partition = {list(sizes)}: sizes must be above 0")
    ends = np.cumsum(shares(sizes, len(strata), at_least=1))
    return [_sorted(part) for part in np.split(generator.permutation(len(strata)), ends[:-1])]


def _dirichlet(strata: Strata, clients: int, alpha: float, generator: np.random.Generator) -> list[Index]:
    parts: list[list[int]] = [[] for _ in range(clients)]
    for label in np.unique(strata):
        members = generator.permutation(np.flatnonzero(strata == label))
        ends = np.cumsum(shares(generator.dirichlet(np.full(clients, alpha)), len(members)))
        for part, dealt in zip(parts, np.split(members, ends[:-1]), strict=True):
            part.extend(dealt.tolist())
    for part in parts:  # a client without any record gets one from the largest
        if not part:
            part.append(max(parts, key=len).pop())
    return [_sorted(np.asarray(part)) for part in parts]


def _by_label(strata: Strata, clients: int, each: int, generator: np.random.Generator) -> list[Index]:
    present, sizes = np.unique(strata, return_counts=True)
    if each > len(present):
        raise UserError(f"data.partition = 'by-label:{each}': there are only {len(present)} classes (of masks: bands)")
    if clients * each < len(present):
        raise UserError(
            f"data.partition = 'by-label:{each}' leaves classes to nobody: {clients} clients hold at most "
            f"{clients * each} of {len(present)} classes; take 'by-label:{-(-len(present) // clients)}' or more clients"
        )
    order = generator.permutation(len(present))
    holders: dict[int, list[int]] = {place: [] for place in range(len(present))}
    for client in range(clients):
        for step in range(each):
            holders[int(order[(client * each + step) % len(present)])].append(client)
    parts: list[list[int]] = [[] for _ in range(clients)]
    for place, held_by in holders.items():
        if sizes[place] < len(held_by):
            raise UserError(
                f"data.partition = 'by-label:{each}': class {present[place]} has {sizes[place]} training records "
                f"for the {len(held_by)} clients that are to hold it; use fewer clients or more records"
            )
        members = generator.permutation(np.flatnonzero(strata == present[place]))
        for client, dealt in zip(held_by, np.array_split(members, len(held_by)), strict=True):
            parts[client].extend(dealt.tolist())
    return [_sorted(np.asarray(part)) for part in parts]


def _in_order(strata: Strata, clients: int, generator: np.random.Generator) -> list[Index]:
    shuffled = generator.permutation(len(strata))  # or equal strata would stay in the order that the source has
    order = shuffled[np.argsort(strata[shuffled], kind="stable")]
    return [_sorted(part) for part in np.array_split(order, clients)]


def _sorted(part: Index) -> Index:
    return np.sort(part).astype(np.int64)
