"""Laws of the deployed file and of what is measured on it."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import description
from common.errors import UserError
from common.models import build
from server.deployment import check_deployable, export_onnx, measure_compression, run_onnx
from server.int8 import compress
from server.score import logits_of
from tests.server.compressed_fixture import compressed, images_and_labels, trained

LOADER = """
import json, sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
images = numpy.load("images.npy").astype(numpy.float32) / 255
numpy.save("logits.npy", session.run(["logits"], {"images": images})[0])
metadata = session.get_modelmeta().custom_metadata_map
print(json.dumps({"modules": sorted(sys.modules), "metadata": metadata}))
"""


@pytest.mark.parametrize("name", ["resnet9", "resnet18"])
@pytest.mark.parametrize("bits", [7, 8])
def test_the_file_runs_without_our_code_and_says_what_the_kernels_say(name: str, bits: int, tmp_path: Path) -> None:
    result, (images, _) = compressed(name, bits), images_and_labels(300, seed=3)
    export_onnx(result, tmp_path / "model.onnx", classes=["a", "b", "c", "d"])
    np.save(tmp_path / "images.npy", images.numpy())
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-I", "-c", LOADER]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=True)
    told = json.loads(done.stdout)
    assert not {"torch", "common", "server", "onnx"} & set(told["modules"])
    assert json.loads(told["metadata"]["classes"]) == ["a", "b", "c", "d"]
    assert told["metadata"]["activation_bits"] == str(bits)

    deployed = torch.from_numpy(np.load(tmp_path / "logits.npy"))
    kernels = result.kernels(images / 255)
    assert float((deployed.argmax(1) == kernels.argmax(1)).double().mean()) >= 0.99
    torch.testing.assert_close(run_onnx(tmp_path / "model.onnx", images), deployed, rtol=0, atol=0.25)


def test_every_convolution_and_linear_layer_runs_on_integers(tmp_path: Path) -> None:
    import onnxruntime

    export_onnx(compressed(), tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 8
    assert kinds.count("QGemm") == 1
    assert not {"Conv", "FusedConv", "Gemm"} & set(kinds)
    assert kinds.count("InstanceNormalization") == 8  # group norm, in float


class WithBiases(nn.Module):
    """What a user's own network may hold: biases, fused ReLU, a depthwise layer, a dead channel, a free batch axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.depthwise = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, stride=2, groups=8)
        self.pool, self.hidden, self.last = nn.AdaptiveAvgPool2d(2), nn.Linear(32, 16), nn.Linear(16, 4)
        with torch.no_grad():
            self.first.weight[0] = 0
            assert self.first.bias is not None
            self.first.bias[0] = 5

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.depthwise(F.relu(self.first(images))))
        return self.last(F.relu(self.hidden(self.pool(maps).flatten(1))))


def test_a_users_network_with_biases_is_deployed_as_its_kernels_are(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)
        model = WithBiases()
    images = images_and_labels(300, seed=3, size=31)[0]
    result = compress(model, images_and_labels(64, seed=2, size=31)[0], description.Compression())
    export_onnx(result, tmp_path / "model.onnx")
    deployed, kernels = run_onnx(tmp_path / "model.onnx", images), result.kernels(images / 255)
    exact = model(images / 255)
    assert (deployed - exact).abs().mean() < 0.02 * exact.abs().mean()
    assert (kernels - exact).abs().mean() < 0.02 * exact.abs().mean()


def test_what_cannot_be_deployed_is_told_before_training() -> None:
    check_deployable(trained(), (3, 32, 32))
    check_deployable(WithBiases(), (3, 31, 31))
    uneven = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveMaxPool2d(7), nn.Flatten(), nn.Linear(392, 4))
    with pytest.raises(UserError, match="cannot be written as ONNX"):
        check_deployable(uneven, (3, 32, 32))


@pytest.mark.parametrize("way", ["view", "circular"])
def test_a_network_whose_int8_kernels_cannot_be_computed_is_refused_before_training(way: str) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular" if way == "circular" else "zeros")
            self.last = nn.Linear(4 * 64, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = self.first(images).relu()
            rows = maps.view(maps.size(0), -1) if way == "view" else maps.flatten(1)
            return self.last(rows)  # type: ignore[no-any-return]

    with pytest.raises(UserError, match=r"as int8 the network cannot be computed \(.*use reshape or flatten"):
        check_deployable(Own().eval(), (3, 8, 8))


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_onnx(compressed(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_exporting_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(compressed(), tmp_path / "model.onnx")
        run_onnx(tmp_path / "model.onnx", images_and_labels(2, seed=3)[0])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "least"), [("resnet9", 0.74), ("resnet18", 0.74)])
def test_at_the_papers_width_the_file_is_smaller_by_almost_three_quarters(
    name: str, least: float, tmp_path: Path
) -> None:
    model = build(description.Model(name=name), 3, 10, [0.47] * 3, [0.25] * 3, seed=1)
    result = compress(model, images_and_labels(8, seed=2)[0], description.Compression())
    export_onnx(result, tmp_path / "model.onnx")
    fp32 = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert least <= 1 - (tmp_path / "model.onnx").stat().st_size / fp32 < 0.75


def test_measures_have_the_contracts_form(tmp_path: Path) -> None:
    images = images_and_labels(100, seed=3)[0].numpy()
    images.setflags(write=False)  # as if memory-mapped
    path = tmp_path / "model.onnx"
    export_onnx(compressed(), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = measure_compression(trained(), compressed(), path, images, seconds=0.1)
    json.dumps(told, allow_nan=False)
    assert told["fp32_bytes"] == 4 * sum(tensor.numel() for tensor in trained().state_dict().values())
    assert told["int8_bytes"] == path.stat().st_size
    assert told["size_reduction"] == 1 - told["int8_bytes"] / told["fp32_bytes"]
    assert told["agreement"]["records"] == 100
    assert all(told["agreement"][pair] >= 0.97 for pair in ("int8_fp32", "int8_twin", "onnx_int8"))
    runtimes = {"torch fp32", "int8 kernels", "onnxruntime fp32", "onnxruntime int8"}
    assert set(told["latency_ms"]) == runtimes
    assert all(set(times) == {"1", "64", "256"} and min(times.values()) > 0 for times in told["latency_ms"].values())
    assert told["threads"] == torch.get_num_threads()
    assert set(told) >= {"activation_bits", "saturates", "repeats", "calibration_records"}


def test_predictions_that_are_known_are_not_asked_for_again(tmp_path: Path) -> None:
    images = images_and_labels(70, seed=3)[0]
    path = tmp_path / "model.onnx"
    export_onnx(compressed(), path)
    asked = [torch.from_numpy(logits_of(model, images).argmax(1)) for model in (trained(), compressed().kernels)]
    plain = measure_compression(trained(), compressed(), path, images, seconds=None)
    assert measure_compression(trained(), compressed(), path, images, seconds=None, predicted=tuple(asked)) == plain
    wrong = measure_compression(trained(), compressed(), path, images, seconds=None, predicted=(asked[0] + 1, asked[1]))
    assert wrong["agreement"]["int8_fp32"] == pytest.approx((asked[0] + 1 == asked[1]).double().mean().item())
    assert wrong["agreement"]["int8_twin"] == plain["agreement"]["int8_twin"]


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    images = images_and_labels(2, seed=3)[0]
    with pytest.raises(UserError, match="could not be read"):
        run_onnx(tmp_path / "none.onnx", images)
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match="is no ONNX model"):
        run_onnx(tmp_path / "broken.onnx", images)


def test_no_seconds_for_latencies_is_none_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("timed")

    monkeypatch.setattr("server.deployment.medians", never)
    export_onnx(compressed(), tmp_path / "model.onnx")
    images = images_and_labels(10, seed=3)[0]
    told = measure_compression(trained(), compressed(), tmp_path / "model.onnx", images, seconds=None)
    assert (told["latency_ms"], told["repeats"]) == ({}, {})
    assert told["agreement"]["records"] == 10
