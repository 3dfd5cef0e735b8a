"""Laws of compression: kernels and twin say the same, the original stays as it was."""

import copy
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from common import description
from common.errors import UserError
from common.models import build
from server import int8
from server.int8 import compress, with_rounded_weights
from tests.server.compressed_fixture import compressed, images_and_labels, trained

NAMES = ("resnet9", "resnet18")
every_network = pytest.mark.parametrize("name", NAMES)
every_way = pytest.mark.parametrize(
    ("bits", "calibration", "mean"),
    [(7, "minmax", 0.47), (8, "minmax", 0.47), (7, "histogram", 0.47), (8, "histogram", 0.5), (8, "minmax", 0.5)],
)


def unseen(count: int = 500) -> tuple[Tensor, Tensor]:
    images, labels = images_and_labels(count, seed=3)
    return images / 255, labels


def share_equal(first: Tensor, second: Tensor) -> float:
    return float((first.argmax(1) == second.argmax(1)).double().mean())


@every_network
@every_way
def test_kernels_and_twin_agree(name: str, bits: int, calibration: str, mean: float) -> None:
    # A mean of 0.5 makes the normalised range exactly symmetric, with black and white pixels on rounding ties.
    result, (images, _) = compressed(name, bits, calibration, mean), unseen()
    kernels, twin = result.kernels(images), result.twin(images)
    assert share_equal(kernels, twin) >= 0.99
    quantization_error = (kernels - trained(name, mean=mean)(images)).abs().mean()
    assert (kernels - twin).abs().mean() < 0.5 * quantization_error


@every_network
def test_int8_keeps_what_was_learnt(name: str) -> None:
    images, labels = unseen()
    before = float((trained(name)(images).argmax(1) == labels).double().mean())
    after = float((compressed(name).kernels(images).argmax(1) == labels).double().mean())
    assert before > 0.9
    assert after > before - 0.03


@every_network
def test_kernels_do_not_depend_on_the_batch(name: str) -> None:
    # torch's int8 group norm is wrong for small maps in batches of 64 or more; ours must never meet it.
    kernels, (images, _) = compressed(name).kernels, unseen(256)
    whole = kernels(images)
    torch.testing.assert_close(kernels(images[:128]), whole[:128], rtol=0, atol=1e-6)
    torch.testing.assert_close(kernels(images[:64]), whole[:64], rtol=0, atol=1e-6)
    alone = torch.cat([kernels(image) for image in images[:64].split(1)])
    torch.testing.assert_close(alone, whole[:64], rtol=0, atol=1e-6)
    assert torch.equal(kernels(images), whole)


@every_network
def test_group_norm_stays_in_float(name: str) -> None:
    kinds = [type(module) for module in compressed(name).kernels.modules()]
    norms = sum(isinstance(module, nn.GroupNorm) for module in trained(name).modules())
    assert kinds.count(nn.GroupNorm) == norms
    assert not any(kind in (nn.Conv2d, nn.Linear) for kind in kinds)


@every_network
def test_only_the_twin_gives_gradients(name: str) -> None:
    result, (images, labels) = compressed(name), unseen(8)
    images.requires_grad_(True)
    assert not result.kernels(images).requires_grad
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(result.twin(images), labels), images)
    assert gradient.isfinite().all()
    assert (gradient.abs().flatten(1).sum(1) > 0).all()
    assert not any(
        parameter.requires_grad for model in (result.kernels, result.twin) for parameter in model.parameters()
    )


@pytest.mark.parametrize("bits", [7, 8])
def test_beyond_the_calibrated_range_kernels_and_twin_still_agree(bits: int) -> None:
    dull = torch.full((16, 3, 32, 32), 100, dtype=torch.uint8)
    dull[:, :, ::2] = 130
    section = description.Compression.model_validate({"activation_bits": bits})
    result, (images, _) = compress(trained(), dull, section), unseen()
    assert share_equal(result.kernels(images), result.twin(images)) >= 0.98


def test_the_original_and_the_random_state_stay_as_they_were() -> None:
    model = trained().train()
    before, random = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    engine = torch.backends.quantized.engine
    compress(model, images_and_labels(16, seed=2)[0], description.Compression())
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is not None for parameter in model.parameters())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(torch.random.get_rng_state(), random)
    assert torch.backends.quantized.engine == engine
    model.eval()


def test_float_images_calibrate_like_uint8_and_only_the_first_count() -> None:
    images, section = images_and_labels(48, seed=2)[0], description.Compression(calibration_records=32)
    probe = unseen(4)[0]
    result = compress(trained(), images, section)
    assert result.calibration_records == 32
    assert result.image_shape == (3, 32, 32)
    assert torch.equal(result.kernels(probe), compress(trained(), images[:32] / 255, section).kernels(probe))


def test_activation_bits_follow_the_processor_unless_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    images = images_and_labels(8, seed=2)[0]
    for saturating, bits in ((True, 7), (False, 8)):
        monkeypatch.setattr(int8, "saturates", lambda saturating=saturating: saturating)
        assert compress(trained(), images, description.Compression()).activation_bits == bits
        assert compress(trained(), images, description.Compression(activation_bits=8)).activation_bits == 8


def test_seven_bits_agree_on_a_processor_that_saturates() -> None:
    # The oldest instruction set is asked for in a fresh process; where it is the machine's own, nothing changes.
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from tests.server.test_int8 import compressed, share_equal, unseen\n"
        "from server.processor import saturates\n"
        "result, images = compressed(bits=7), unseen()[0]\n"
        "print(saturates(), share_equal(result.kernels(images), result.twin(images)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2", "PYTHONPATH": str(root)},
        check=True,
    )
    saturating, share = done.stdout.split()
    if saturating != "True":
        pytest.skip("this processor cannot be made to saturate")
    assert float(share) >= 0.99


@pytest.mark.parametrize("count", [0, 7])
def test_too_few_public_images_are_refused(count: int) -> None:
    with pytest.raises(UserError, match=f"has {count} public images and needs 8 or more.*data.public_records"):
        compress(trained(), images_and_labels(count, seed=2)[0], description.Compression())


def test_a_model_that_has_diverged_is_refused() -> None:
    model = build(description.Model(width=8), 3, 4, [0.47] * 3, [0.25] * 3, seed=1)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(UserError, match=r"not finite.*learning_rate"):
        compress(model, images_and_labels(8, seed=2)[0], description.Compression())


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 32 * 32, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1)) if images.sum() > 0 else self.linear(-images.flatten(1))


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    with pytest.raises(UserError, match=r"torch.fx cannot trace.*control flow"):
        compress(Branching(), images_and_labels(8, seed=2)[0], description.Compression())


def test_a_network_without_anything_to_quantize_is_refused() -> None:
    with pytest.raises(UserError, match="no convolution or linear layer"):
        compress(nn.Flatten(), images_and_labels(8, seed=2)[0], description.Compression())


def test_a_torch_without_the_deprecated_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.ao.quantization.quantize_fx", None)
    with pytest.raises(UserError, match=r"no longer has torch.ao.quantization.*install torch==2.13.0"):
        compress(trained(), images_and_labels(8, seed=2)[0], description.Compression())


@every_network
def test_weights_rounded_once_give_the_same_logits_and_gradients(name: str) -> None:
    twin, (images, labels) = compressed(name).twin, unseen(20)
    before = {key: tensor.clone() for key, tensor in twin.state_dict().items()}
    told = []
    for model in (twin, with_rounded_weights(twin)):
        asked = images.clone().requires_grad_()
        logits = model(asked)
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, labels), asked)
        told.append((logits.detach(), gradient))
    assert torch.equal(told[0][0], told[1][0])
    assert torch.equal(told[0][1], told[1][1])
    assert all(torch.equal(tensor, before[key]) for key, tensor in twin.state_dict().items())
