import pytest
import torch
from torch import nn

from attacks.batches import batch_size, device_of, largest_activation, micro_batch, weight_bytes

CPU = torch.device("cpu")


def test_largest_activation_is_counted_in_bytes():
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1))
    assert largest_activation(model, torch.rand(1, 3, 8, 8)) == 16 * 8 * 8 * 4


def test_watching_leaves_no_hook(network):
    model = network()
    assert largest_activation(model, torch.rand(1, 3, 12, 12)) == 8 * 12 * 12 * 4
    assert not any(module._forward_hooks for module in model.modules())


def test_watching_leaves_no_hook_when_the_model_fails(network):
    model = network()
    with pytest.raises(RuntimeError):
        largest_activation(model, torch.rand(1, 5, 12, 12))
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_that_shows_nothing_counts_as_its_image():
    image = torch.rand(1, 3, 8, 8)
    assert largest_activation(nn.AdaptiveAvgPool2d(1), image) == 3 * 8 * 8 * 4
    traced = torch.jit.trace(nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU()), image)
    assert largest_activation(traced, image) >= 3 * 8 * 8 * 4


@pytest.mark.parametrize(
    ("activation", "size"), [(1, 128), (2**17, 64), (2**19, 16), (2**20, 8), (2**22, 2), (2**30, 1)]
)
def test_micro_batch_fits_the_cache(activation, size):
    assert micro_batch(activation, 0, CPU) == size


@pytest.mark.parametrize(("weights", "size"), [(2**24, 8), (2**25, 16), (2**26, 32), (2**40, 128)])
def test_heavy_weights_are_read_for_more_images_at_once(weights, size):
    assert micro_batch(2**20, weights, CPU) == size


def test_micro_batch_is_larger_on_an_accelerator():
    assert micro_batch(2**19, 0, torch.device("cuda")) == 512


def test_batch_size_counts_activations_and_weights(network):
    model = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.Flatten(), nn.Linear(4 * 256, 2**13, bias=False))
    assert weight_bytes(model) == 4 * (4 + 2**23)
    assert batch_size(model, torch.rand(1, 1, 16, 16)) == 128  # 16 MiB of weights for activations of 32 KiB
    assert batch_size(network(width=64), torch.rand(1, 3, 128, 128)) == 2  # activations of 4 MiB


def test_device_falls_back_to_that_of_the_images(network):
    assert device_of(network(), torch.rand(1)) == CPU
    assert device_of(nn.Identity(), torch.rand(1)) == CPU
