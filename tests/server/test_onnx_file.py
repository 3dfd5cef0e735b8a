"""Laws of writing a network as ONNX."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import Tensor, nn

from common.errors import UserError
from server.deployment import _session
from server.onnx_file import _fix_adaptive_pools, store_integers, to_onnx
from tests.server.compressed_fixture import compressed, images_and_labels, trained


def run(content: bytes, images: Tensor) -> Tensor:
    return _session(content, 1, "a test")(images)


@pytest.mark.parametrize("name", ["resnet9", "resnet18"])
def test_fp32_runs_the_same_in_onnxruntime(name: str) -> None:
    images = images_and_labels(70, seed=3)[0] / 255
    content = to_onnx(trained(name), (3, 32, 32))
    torch.testing.assert_close(run(content, images), trained(name)(images), rtol=1e-3, atol=1e-4)


def test_stored_integers_are_the_twins_rounded_weights() -> None:
    result = compressed()
    content = onnx.load_from_string(to_onnx(result.twin, result.image_shape))
    store_integers(content)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in content.graph.initializer}
    weights = [array for array in stored.values() if array.dtype == np.int8 and array.ndim > 1]
    layers = [m for m in result.twin.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weights) == len(layers) == 9
    assert sum(array.size for array in weights) == sum(layer.weight.numel() for layer in layers)
    assert all(abs(array.astype(int)).max() == 127 for array in weights)
    for layer in layers:
        scale = layer.weight_fake_quant.scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
        steps = (layer.weight_fake_quant(layer.weight) / scale).round().numpy()
        assert any(array.shape == steps.shape and (array == steps).all() for array in weights)


def test_no_large_float_is_left_in_the_file() -> None:
    result = compressed()
    content = onnx.load_from_string(to_onnx(result.twin, result.image_shape))
    store_integers(content)
    floats = [numpy_helper.to_array(t) for t in content.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert max(array.size for array in floats) <= 32  # scales and group norms: one number a channel, at most


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 40), out=st.integers(1, 7), largest=st.booleans())
def test_a_replaced_pool_is_the_adaptive_one(size: int, out: int, largest: bool) -> None:
    adaptive = nn.AdaptiveMaxPool2d(out) if largest else nn.AdaptiveAvgPool2d(out)
    maps = torch.rand(2, 3, size, size)
    fixed = _fix_adaptive_pools(nn.Sequential(adaptive), maps[:1])
    torch.testing.assert_close(fixed(maps), adaptive(maps))


@pytest.mark.parametrize("size", [28, 32, 45, 64])
def test_resnet9_is_written_at_any_image_size(size: int) -> None:
    images = torch.rand(3, 3, size, size)
    content = to_onnx(trained(), (3, size, size))
    torch.testing.assert_close(run(content, images), trained()(images), rtol=1e-3, atol=1e-4)


def test_a_layer_that_onnx_lacks_is_named() -> None:
    with pytest.raises(UserError, match=r"cannot be written as ONNX.*adaptive"):
        to_onnx(nn.Sequential(nn.AdaptiveMaxPool2d(3), nn.Flatten()), (1, 8, 8))


def test_the_model_itself_stays_as_it_is() -> None:
    model = trained().train()
    kinds = [type(module) for module in model.modules()]
    to_onnx(model, (3, 32, 32))
    assert model.training
    assert [type(module) for module in model.modules()] == kinds
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.eval()
