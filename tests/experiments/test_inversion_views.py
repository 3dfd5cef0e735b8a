"""What parties see: a plain update gives the gradient away, a sum is a batch, and too few shares are noise."""

import numpy as np
import pytest
import torch
from torch import Tensor

from attacks.gradient_inversion import invert, matching_loss
from common.records import as_float
from experiments.inversion_scores import score
from experiments.inversion_views import (
    PEERS,
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


@pytest.fixture(scope="module")
def place() -> World:
    return world(width=8, records=90)


@pytest.fixture(scope="module")
def few(place: World) -> int:
    return layout_of(place.experiment).coalition


@pytest.fixture(scope="module")
def enough(place: World) -> int:
    return layout_of(place.experiment).degree + 1


def loss_at_truth(view: View, labels: Tensor) -> float:
    return matching_loss(view.model, view.truth, labels, view.observed, kind=view.kind)


def test_a_plain_update_matches_its_images_and_tells_their_label(place: World) -> None:
    for number in range(3):
        victim = place.victims(number, 1)
        view = plain(place, victim)
        assert view.labels.tolist() == victim.labels.tolist()
        assert loss_at_truth(view, victim.labels) < 1e-4
    batch = place.victims(0, 4)
    assert loss_at_truth(plain(place, batch), batch.labels) < 1e-4


def test_nadams_first_step_shows_signs_and_the_label(place: World) -> None:
    victim = place.victims(0, 1)
    view = plain(place, victim, place.experiment.training)
    other = place.victims(5, 1)
    assert view.kind == "sign"
    assert view.labels.tolist() == victim.labels.tolist()
    there = matching_loss(view.model, as_float(other.images), victim.labels, view.observed, kind="sign")
    assert loss_at_truth(view, victim.labels) < there - 0.1


def test_the_sum_of_one_step_updates_is_the_gradient_of_a_batch(place: World) -> None:
    victims = place.victims(0, PEERS)
    view = summed(place, victims)
    assert loss_at_truth(view, victims.labels) < 1e-4
    assert sorted(view.labels.tolist()) == sorted(victims.labels.tolist())


def test_a_neighbour_that_pulls_twice_has_the_update(place: World) -> None:
    victim = place.victims(1, 1)
    view = pulled_twice(place, victim, 1)
    assert loss_at_truth(view, victim.labels) < 1e-4
    assert view.labels.tolist() == victim.labels.tolist()
    same = all(torch.equal(array, view.model.state_dict()[name]) for name, array in place.model.state_dict().items())
    assert not same, "the peer had trained before"


def test_dp_sgd_drowns_the_gradient(place: World) -> None:
    victim = place.victims(0, 1)
    view = private(place, victim, 0)
    assert loss_at_truth(view, victim.labels) > 0.9
    again, other = private(place, victim, 0), private(place, victim, 1)
    assert all(torch.equal(part, again.observed[name]) for name, part in view.observed.items())
    assert not all(torch.equal(part, other.observed[name]) for name, part in view.observed.items())
    assert private_plan(place).epsilon == pytest.approx(8, rel=0.02)


def test_the_votes_of_all_fit_their_images_better_than_other_images(place: World) -> None:
    victims, others = place.victims(0, PEERS), place.victims(PEERS, PEERS)
    view = votes_of_all(place, victims)
    there = matching_loss(view.model, as_float(others.images), victims.labels, view.observed, kind="votes")
    assert loss_at_truth(view, victims.labels) < there - 0.05
    assert sorted(view.labels.tolist()) == sorted(victims.labels.tolist())


def test_t_shares_are_noise_and_k_more_are_the_votes(place: World, few: int, enough: int) -> None:
    victim = place.victims(0, 1)
    votes = peer_votes(place, victim, 0)
    layout = layout_of(place.experiment)
    shares = dealt(layout, votes, 0)
    members = colluders(layout, enough)
    assert np.array_equal(interpolated(layout, shares, members, votes.size), votes)
    guessed = np.sign(interpolated(layout, shares, members[:few], votes.size))
    assert abs(np.mean(guessed == votes) - 0.5) < 4 * 0.5 / votes.size**0.5
    blind, seeing = (shares_held(place, victim, holders, 0) for holders in (few, enough))
    assert abs(loss_at_truth(blind, victim.labels) - 1) < 4 / votes.size**0.5
    assert loss_at_truth(seeing, victim.labels) < 0.7
    assert seeing.labels.tolist() == victim.labels.tolist()


def test_images_are_found_from_enough_shares_and_not_from_t(place: World, few: int, enough: int) -> None:
    victim, start = place.victims(0, 1), place.mean_image[None]
    found, scores = [], []
    for holders in (few, enough):
        view = shares_held(place, victim, holders, 0)
        one = invert(
            view.model, view.observed, victim.labels, start, kind=view.kind, steps=100, generator=torch.Generator()
        )
        found.append(one)
        scores.append(score(one.images, view.truth, place.pool))
    assert found[0].loss > 0.8, "no image explains noise"
    assert found[1].loss < 0.4
    assert scores[1].ssim.item() > scores[0].ssim.item() + 0.03
    assert scores[1].rank.item() <= 5 < scores[0].rank.item()


def test_an_epoch_hides_its_labels_and_has_all_its_images(place: World) -> None:
    view = whole_epoch(place, place.victims(0, 10), 4)
    assert len(view.truth) == 10
    assert view.labels.tolist() == [0, 0, 1, 2]


def test_who_sees_nothing_has_signs_by_lot(place: World) -> None:
    victims = place.victims(0, PEERS)
    one, other = nothing(place, victims, 0), nothing(place, victims, 1)
    parts = torch.cat([part.flatten() for part in one.observed.values()])
    assert set(parts.tolist()) == {-1.0, 1.0}
    assert abs(parts.mean().item()) < 4 / len(parts) ** 0.5
    assert not all(torch.equal(part, other.observed[name]) for name, part in one.observed.items())
    assert len(one.labels) == PEERS


def test_a_linear_first_layer_gives_the_image_away_exactly(place: World) -> None:
    victim = place.victims(2, 1)
    found = linear_first(place, victim)
    assert float((found - as_float(victim.images)).abs().max()) < 1e-3


def test_the_model_is_as_it_was(place: World) -> None:
    before = {name: array.clone() for name, array in place.model.state_dict().items()}
    plain(place, place.victims(0, 2))
    private(place, place.victims(0, 1), 0)
    pulled_twice(place, place.victims(0, 1), 0)
    assert all(torch.equal(array, before[name]) for name, array in place.model.state_dict().items())
