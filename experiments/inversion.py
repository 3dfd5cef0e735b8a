"""``python -m experiments.inversion``: what those who read updates learn of the images, protocol by protocol.

One local update of a peer with phantom X-rays, as each party sees it: a server of FedAvg, the same under DP-SGD, who
sees a sum, the members of the secure protocol, a neighbour in BrainTorrent. Of each view images are reconstructed
(``attacks.gradient_inversion``) and compared with the true ones. Writes ``docs/figures/inversion.svg`` and, below
``docs/figures/tables``, ``inversion.md`` and ``inversion.json``. About a quarter of an hour of one core.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from scipy.stats import chisquare, kstest
from torch import Tensor

from attacks.gradient_inversion import Reconstruction, invert
from common import accounting
from common.errors import UserError
from common.folder import write_bytes, write_json, write_text
from common.records import Records
from common.seeds import torch_generator
from experiments.inversion_page import Row, drawing, drawing_bytes, page
from experiments.inversion_scores import score
from experiments.inversion_views import (
    View,
    World,
    colluders,
    dealt,
    interpolated,
    linear_first,
    nothing,
    peer_votes,
    plain,
    private,
    private_plan,
    pulled_twice,
    shares_held,
    summed,
    votes_of_all,
    whole_epoch,
    world,
)
from peers.secure.plan import layout_of
from server.provenance import machine

DOCS = Path(__file__).resolve().parent.parent / "docs"
SHOWN = 8
"""Training images that are looked for in every scene, and drawn."""
TOGETHER = 9
"""Images of an update of several, at most: one of each peer."""
NOISE = 0.1
"""Of the start where several images are looked for; one image is looked for from the mean image itself."""
_BINS = 256


@dataclass(frozen=True)
class Scene:
    """One view of updates, looked at several times.

    Attributes:
        who: sees it.
        what: it is.
        view: repeat number → what is seen.
        repeats: how often.
        together: images that are looked for together.
        drawn: whether the figure shows it.
    """

    who: str
    what: str
    view: Callable[[int], View]
    repeats: int
    together: int = 1
    drawn: bool = True


def guesses(place: World) -> list[Scene]:
    """Return what is found without any update, for one image at a time, and for several together."""

    def guess(count: int, number: int) -> View:
        return nothing(place, place.victims(count * number, count), number)

    return [
        Scene("nobody", "no update: signs by lot, 1 image", partial(guess, 1), SHOWN),
        Scene("nobody", f"no update: signs by lot, {TOGETHER} images", partial(guess, TOGETHER), 1, TOGETHER, False),
    ]


def scenes(place: World) -> list[Scene]:
    """Return all views of updates; the first eight images are the same in all of them."""
    layout = layout_of(place.experiment)
    few, enough = layout.coalition, layout.degree + 1
    nadam = place.experiment.training
    one = partial(place.victims, count=1)
    server, members = "server (FedAvg)", f"of {layout.members} members (secure)"

    def batch(number: int, count: int) -> Records:
        return place.victims(count * number, count)

    return [
        Scene(server, "update, 1 step of SGD, 1 image", lambda i: plain(place, one(i)), SHOWN),
        Scene(server, "update, 1 step of NAdam, 1 image", lambda i: plain(place, one(i), nadam), SHOWN),
        Scene(server, "update, 1 step of SGD, 8 images", lambda i: plain(place, batch(i, 8)), 2, 8),
        Scene(server, "update, 1 epoch of NAdam, 100 images", lambda i: whole_epoch(place, batch(i, 100), 8), 2, 8),
        Scene(server, "update by DP-SGD, 1 step, 1 image", lambda i: private(place, one(i), i), SHOWN),
        Scene("neighbour (BrainTorrent)", "two pulls in a row, 1 step of SGD, 1 image",
              lambda i: pulled_twice(place, one(i), i), SHOWN),
        Scene("server (secure aggregation)", "sum of 9 updates, 1 step of SGD, 1 image each",
              lambda i: summed(place, batch(i, 9)), 2, 9),
        Scene("every peer (secure, rsa)", "mean of 9 peers' votes, 1 step, 1 image each",
              lambda i: votes_of_all(place, batch(i, 9)), 2, 9),
        Scene(f"{few} {members}", f"t = {few} shares of a peer's votes, 1 step, 1 image",
              lambda i: shares_held(place, one(i), few, i), SHOWN),
        Scene(f"{enough} {members}", f"t + k = {enough} shares: more than may conspire, 1 image",
              lambda i: shares_held(place, one(i), enough, i), SHOWN),
    ]  # fmt: skip


def measured(place: World, steps: int, told: Callable[[str], None], repeats: int | None = None) -> list[Row]:
    """Attack every scene; return a row of scores and pictures for each, and for guesses.

    Args:
        place: the federation.
        steps: of each search.
        told: hears how far it is.
        repeats: of a scene, at most; None: as the scenes say.
    """
    guessed = [_searched(place, scene, steps, repeats, told) for scene in guesses(place)]
    blind = {scene.together > 1: found for scene, found in zip(guesses(place), guessed, strict=True)}
    rows = [_unsearched(place, repeats)[0]]
    for scene in scenes(place):
        found = _searched(place, scene, steps, repeats, told)
        rows.append(_row(place, scene, found, blind[scene.together > 1]))
    rows += [_row(place, scene, found) for scene, found in zip(guesses(place), guessed, strict=True)]
    return rows + _unsearched(place, repeats)[1:]


@dataclass(frozen=True, eq=False)
class _Found:
    views: list[View]
    reconstructions: list[Reconstruction]
    seconds: float


def _searched(place: World, scene: Scene, steps: int, repeats: int | None, told: Callable[[str], None]) -> _Found:
    started = time.process_time()
    count = scene.repeats if repeats is None else min(repeats, scene.repeats)
    views = [scene.view(number) for number in range(count)]
    found = []
    for number, view in enumerate(views):
        start = place.mean_image.expand(len(view.labels), -1, -1, -1)
        generator = torch_generator(place.experiment.seed, "inversion", scene.what, number)
        noise = NOISE if scene.together > 1 else 0.0
        found.append(
            invert(
                view.model, view.observed, view.labels, start,
                kind=view.kind, steps=steps, start_noise=noise, generator=generator,
            )
        )  # fmt: skip
    seconds = time.process_time() - started
    told(f"{scene.who}: {scene.what}, {seconds:.0f} s")
    return _Found(views, found, seconds)


def _row(place: World, scene: Scene, found: _Found, blind: _Found | None = None) -> Row:
    """Return a scene's row, with the same scores of what was guessed of the same images."""
    pool = place.pool
    scores, guess = [], []
    for number, (view, one) in enumerate(zip(found.views, found.reconstructions, strict=True)):
        scores.append(score(one.images, view.truth, pool))
        if blind is not None:
            other = blind.reconstructions[number % len(blind.reconstructions)].images[: len(one.images)]
            guess.append(score(other, view.truth, pool))
    losses = [one.loss for one in found.reconstructions]
    shown = _shown(place, [one.images for one in found.reconstructions]) if scene.drawn else None
    return Row(scene.who, scene.what, scores, guess, losses, found.seconds, shown)


def _shown(place: World, images: Sequence[Tensor]) -> Tensor:
    """Return what was found of the first eight images, in their order; grey where nobody looked."""
    result = torch.full_like(place.pool[:SHOWN], 0.5)
    together = len(images[0])
    if together == 1:
        result[: len(images)] = torch.cat(list(images))[:SHOWN]
        return result
    which = score(images[0], place.pool[: max(SHOWN, together)], place.pool).which
    ordered = torch.full_like(place.pool[: max(SHOWN, together)], 0.5)
    ordered[which] = images[0]
    return ordered[:SHOWN]


def _unsearched(place: World, repeats: int | None) -> list[Row]:
    """Return what needs no search: the exact inversion of a linear layer, the mean image, and another image."""
    count, pool = SHOWN if repeats is None else min(repeats, SHOWN), place.pool
    started = time.process_time()
    exact = [linear_first(place, place.victims(number, 1)) for number in range(count)]
    seconds = time.process_time() - started
    mean = [place.mean_image[None]] * count
    others = [pool[len(pool) // 2 + number :][:1] for number in range(count)]
    return [
        Row(who, what, [score(one, pool[number : number + 1], pool) for number, one in enumerate(images)],
            seconds=spent, shown=_shown(place, images) if drawn else None)
        for who, what, images, spent, drawn in (
            ("server (FedAvg)", "update, 1 step of SGD, 1 image, first layer linear", exact, seconds, True),
            ("nobody", "the public images' mean", mean, 0.0, False),
            ("nobody", "another training image", others, 0.0, False),
        )
    ]  # fmt: skip


@dataclass(frozen=True)
class Uniformity:
    """How the shares of a coalition are distributed.

    Attributes:
        shares: how many were looked at.
        kolmogorov_smirnov: p-value that they are uniform in the field.
        chi_square: likewise, in 256 bins.
        agreement: share of the votes that are right when interpolated from them; 1/2 is chance.
        above: the same for k shares more, which are enough.
    """

    shares: int
    kolmogorov_smirnov: float
    chi_square: float
    agreement: float
    above: float


def uniformity(place: World, peers: int = SHOWN) -> Uniformity:
    """Return what t members' shares of so many peers' votes look like, all together."""
    layout = layout_of(place.experiment)
    few, enough = (colluders(layout, holders) for holders in (layout.coalition, layout.degree + 1))
    seen, agreements, above = [], [], []
    for number in range(peers):
        votes = peer_votes(place, place.victims(number, 1), number)
        shares = dealt(layout, votes, number)
        seen.append(shares[list(few)].reshape(-1) / layout.field.modulus)
        agreements.append(np.mean(np.sign(interpolated(layout, shares, few, votes.size)) == votes))
        above.append(np.mean(interpolated(layout, shares, enough, votes.size) == votes))
    together = np.concatenate(seen)
    counts = np.histogram(together, bins=_BINS, range=(0, 1))[0]
    return Uniformity(
        len(together),
        float(kstest(together, "uniform").pvalue),
        float(chisquare(counts).pvalue),
        float(np.mean(agreements)),
        float(np.mean(above)),
    )


def facts(place: World, steps: int, rows: Sequence[Row], shares: Uniformity) -> dict[str, str]:
    """Return what was run, in sentences."""
    here, plan, layout = machine(), private_plan(place), layout_of(place.experiment)
    numbers = sum(parameter.numel() for parameter in place.model.parameters())
    step = accounting.epsilon_of(((plan.noise_multiplier, 1.0, 1),), plan.accountant, plan.delta)
    return {
        "data": f"{len(place.records)} phantom X-rays of {place.dataset.image_size} pixels for training, "
        f"{len(place.dataset.public)} public ones, whose mean is where a search starts",
        "model": f"ResNet-9 of width {place.experiment.model.width}, {numbers:,} parameters, weights of round 1; "
        "BrainTorrent: after a local epoch",
        "attack": f"{steps} steps from one start; labels read from the last layer's bias (equal shares where that "
        "tells nothing: a whole epoch, and no update)",
        "secure": f"{layout.members} peers, t = {layout.coalition}, k = {layout.packing}, degree {layout.degree}, "
        f"{layout.field.bits} bits; {shares.shares:,} shares of coalitions of t: uniform by Kolmogorov and Smirnov "
        f"p = {shares.kolmogorov_smirnov:.2f}, by chi-square in {_BINS} bins p = {shares.chi_square:.2f}; votes "
        f"interpolated from t shares are right in {100 * shares.agreement:.1f} %, from t + k in "
        f"{100 * shares.above:.1f} %",
        "DP-SGD": f"noise multiplier {plan.noise_multiplier:.2f}, clip norm {plan.clip_norm:g}, as ε = "
        f"{plan.epsilon:.1f}, δ = {plan.delta:g} need over ten rounds of one epoch of 100 records in batches of 16; "
        f"this one step on one image that is always drawn alone has ε = {step:.1f}",
        "machine": f"{here['cpu']}, {here['cores']} cores, torch {version('torch')}, one thread; "
        f"{sum(row.seconds for row in rows):.0f} s of CPU; one run, repeated over images",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Attack all views, and write the figure and the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.inversion", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--docs", type=Path, default=DOCS, help="where figures/ is written")
    parser.add_argument("--width", type=int, default=8, help="of the ResNet-9")
    parser.add_argument("--steps", type=int, default=600, help="of each search")
    parser.add_argument("--repeats", type=int, default=None, help="of each view, at most; for a quick look")
    options = parser.parse_args(arguments)
    if options.steps < 1 or (options.repeats is not None and options.repeats < 1):
        parser.error("--steps and --repeats must be at least 1")
    torch.set_num_threads(1)
    try:
        place = world(options.width)
        rows = measured(place, options.steps, partial(print, flush=True), options.repeats)
        write(place, rows, options.steps, options.docs)
    except UserError as error:
        parser.exit(1, f"{error}\n")


def write(place: World, rows: Sequence[Row], steps: int, docs: Path) -> None:
    """Write the figure and the tables below ``docs/figures``. Raises UserError: a full disk."""
    shares = uniformity(place)
    told = facts(place, steps, rows, shares)
    (docs / "figures" / "tables").mkdir(parents=True, exist_ok=True)
    figure = drawing(rows, place.pool[:SHOWN], len(place.pool))
    write_bytes(docs / "figures" / "inversion.svg", drawing_bytes(figure))
    write_text(docs / "figures" / "tables" / "inversion.md", page(rows, len(place.pool), told))
    write_json(
        docs / "figures" / "tables" / "inversion.json",
        {"rows": [row.as_json() for row in rows], "pool": len(place.pool), "facts": told},
    )


if __name__ == "__main__":
    main()
