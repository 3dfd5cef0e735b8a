import pytest
import torch
from torch import nn

from attacks.gradients import input_gradient
from common.errors import UserError


def test_gradient_is_that_of_the_summed_cross_entropy(linear, grey):
    labels = torch.ones(len(grey), dtype=torch.int64)
    gradient, logits = input_gradient(linear, grey, labels)
    # d(-log sigmoid(s)) / dx = -(1 - sigmoid(s)) w
    expected = -(1 - torch.sigmoid(linear.score(grey))).detach().view(-1, 1, 1, 1) * linear.weight.detach()
    torch.testing.assert_close(gradient, expected)
    assert not logits.requires_grad


def test_gradient_of_an_image_does_not_depend_on_its_batch(linear, grey):
    labels = torch.ones(len(grey), dtype=torch.int64)
    together, _ = input_gradient(linear, grey, labels)
    alone, _ = input_gradient(linear, grey[:1], labels[:1])
    torch.testing.assert_close(together[:1], alone)


def test_targeted_gradient_points_the_other_way(linear, grey):
    labels = torch.ones(len(grey), dtype=torch.int64)
    away, _ = input_gradient(linear, grey, labels)
    towards, _ = input_gradient(linear, grey, labels, targeted=True)
    assert torch.equal(away, -towards)


def test_parameters_get_no_gradient(linear, grey):
    input_gradient(linear, grey, torch.ones(len(grey), dtype=torch.int64))
    assert linear.weight.grad is None


def test_gradient_is_found_inside_no_grad(linear, grey):
    with torch.no_grad():
        gradient, _ = input_gradient(linear, grey, torch.ones(len(grey), dtype=torch.int64))
    assert float(gradient.abs().min()) > 0


class _Rounding(nn.Module):
    def forward(self, images):
        with torch.no_grad():
            return images.flatten(1)[:, :2]


class _Aside(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, images):
        return self.weight * images.detach().flatten(1)[:, :2]


@pytest.mark.parametrize("model", [_Rounding(), _Aside()])
def test_model_without_input_gradient_is_refused(model, grey):
    with pytest.raises(UserError, match="gradients"):
        input_gradient(model, grey, torch.zeros(len(grey), dtype=torch.int64))
