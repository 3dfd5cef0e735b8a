"""What FAB asks of a model, against torchattacks' own, and the whole attack with either."""

from collections.abc import Callable

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from attacks.craft import craft, find
from attacks.fab import UNREACHABLE, leads

Network = Callable[..., nn.Module]


@pytest.mark.parametrize("classes", [1, 2, 3, 7])
def test_leads_and_their_gradients_are_torchattacks_own(network: Network, images: Tensor, classes: int) -> None:
    model, labels = network(classes=classes).requires_grad_(False), torch.arange(12) % classes
    with torch.no_grad():
        above, gradients = leads(model, images, labels)
        expected = torchattacks.FAB(model).get_diff_logits_grads_batch(images, labels)
    torch.testing.assert_close(above, expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients, expected[1], rtol=1e-4, atol=1e-5)
    assert bool((above[torch.arange(12), labels] == UNREACHABLE).all())
    assert not above.requires_grad
    assert not gradients.requires_grad


def test_one_forward_and_a_backward_for_each_other_class(network: Network, images: Tensor) -> None:
    model, seen = network(classes=5).requires_grad_(False), []
    model.register_forward_hook(lambda module, given, output: seen.append("forward"))
    model.first.register_full_backward_hook(lambda module, given, output: seen.append("backward"))
    leads(model, images, torch.zeros(12, dtype=torch.int64))
    assert seen == ["forward"] + 4 * ["backward"]


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("eps", [2 / 255, 8 / 255, 0.3])
def test_the_attack_finds_what_torchattacks_finds(
    network: Network, images: Tensor, predicted: Callable[..., Tensor], eps: float, targeted: bool
) -> None:
    model = network()
    labels = predicted(model, images)
    theirs = torchattacks.FAB(model, eps=1.0, steps=10, n_classes=4)
    wanted = (labels + 1) % 4
    if targeted:
        theirs.targeted, theirs.attack_mode, theirs._target_map_function = True, "targeted(custom)", lambda *_: wanted
    with torch.random.fork_rng(devices=[]):
        expected = theirs(images, labels)
    expected = torch.where((expected - images).abs().amax((1, 2, 3), keepdim=True) > eps, images, expected)
    found = craft(
        "fab", model, images, wanted if targeted else labels, eps=eps, step_size=0, steps=10, seed=1, targeted=targeted
    )
    assert torch.equal(predicted(model, found) != labels, predicted(model, expected) != labels)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert bool((found != images).any()) or eps < 0.3


def test_an_image_s_result_follows_from_it_alone_and_nothing_is_drawn(
    network: Network, images: Tensor, predicted: Callable[..., Tensor]
) -> None:
    model = network()
    labels = predicted(model, images)
    labels[::5] = (labels[::5] + 1) % 4  # left alone: misclassified already

    def crafted(part: Tensor, seed: int = 1) -> Tensor:
        return craft("fab", model, images[part], labels[part], eps=0.3, step_size=0, steps=10, seed=seed)

    whole = crafted(torch.arange(12))
    assert torch.equal(crafted(torch.arange(12), seed=2), whole)
    assert not torch.equal(whole, images)
    for part in (torch.arange(11, -1, -1), torch.arange(1, 12, 2), torch.tensor([7]), torch.tensor([0, 7, 5, 10])):
        torch.testing.assert_close(crafted(part), whole[part], atol=1e-4, rtol=0)


def test_an_image_that_is_misclassified_makes_the_others_batch_smaller(
    network: Network, images: Tensor, predicted: Callable[..., Tensor]
) -> None:
    """So the others' results differ in rounding, at a boundary, where it decides: no ``Method.per_record``."""
    model, sizes = network(), list[int]()
    labels = predicted(model, images[:2])
    handle = model.register_forward_hook(lambda module, given, output: sizes.append(len(given[0])))
    shown = []
    for own in (labels, torch.stack([(labels[0] + 1) % 4, labels[1]])):
        sizes.clear()
        craft("fab", model, images[:2], own, eps=0.3, step_size=0, steps=10, seed=1)
        shown.append(sizes.count(1))
    handle.remove()
    assert shown[1] >= shown[0] + 10
    assert not find("fab").per_record
