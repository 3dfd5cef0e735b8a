import pytest
import torch
import torchattacks

from attacks.fgsm import fgsm

EPS = 8 / 255


@pytest.mark.parametrize("label", [0, 1])
def test_fgsm_is_the_optimum_on_a_linear_model(linear, grey, label):
    labels = torch.full((len(grey),), label)
    found = fgsm(linear, grey, labels, eps=EPS)
    towards_one = linear.weight.detach().sign()
    optimum = grey + EPS * (towards_one if label == 0 else -towards_one)
    torch.testing.assert_close(found, optimum, atol=1e-6, rtol=0)


def test_targeted_fgsm_goes_to_the_target(linear, grey):
    ones = torch.ones(len(grey), dtype=torch.int64)
    found = fgsm(linear, grey, ones, eps=EPS, targeted=True)
    torch.testing.assert_close(found, grey + EPS * linear.weight.detach().sign(), atol=1e-6, rtol=0)


def test_fgsm_equals_torchattacks(network, images, predicted):
    model = network()
    labels = predicted(model, images)
    ours = fgsm(model, images, labels, eps=EPS)
    theirs = torchattacks.FGSM(model, eps=EPS)(images, labels)
    assert float(((ours - theirs).abs() <= 1e-6).float().mean()) >= 0.998
