"""Each layer's formulas against autograd, one record at a time, in double precision."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from common import layer_gradients
from common.layer_gradients import (
    NORMALISATIONS,
    Layer,
    bias_gradients,
    ghost_norms,
    has_ghost_norm,
    record_gradients,
    trainable,
    weight_sum,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_autograd(layer: nn.Module, inputs: Tensor, gradients: Tensor) -> dict[str, Tensor]:
    own = trainable(layer)
    found: list[list[Tensor]] = [[] for _ in own]
    for record, gradient in zip(inputs.split(1), gradients.split(1), strict=True):  # type: ignore[no-untyped-call]
        for rows, row in zip(found, torch.autograd.grad(layer(record), list(own.values()), gradient), strict=True):
            rows.append(row)
    return {name: torch.stack(rows) for name, rows in zip(own, found, strict=True)}


def check(layer: Layer, inputs: Tensor) -> None:
    """Compare rows, weighted sum and ghost norm with autograd."""
    layer.double()
    gradients = drawn(*layer(inputs).shape, seed=1)
    expected = by_autograd(layer, inputs, gradients)
    rows = record_gradients(layer, inputs, gradients)
    assert rows.keys() == expected.keys()
    for name, row in expected.items():
        torch.testing.assert_close(rows[name], row, rtol=1e-10, atol=1e-11)
    if isinstance(layer, NORMALISATIONS):
        assert not has_ghost_norm(layer, inputs.shape, gradients.shape)
        return
    torch.testing.assert_close(weight_sum(layer, inputs, gradients), expected["weight"].sum(0), rtol=1e-10, atol=1e-10)
    norm, bound = ghost_norms(layer, inputs, gradients)
    assert norm.dtype == bound.dtype == torch.float64
    torch.testing.assert_close(norm, expected["weight"].flatten(1).norm(dim=1), rtol=1e-9, atol=1e-9)
    assert (bound >= norm * (1 - 1e-12)).all()
    for name, row in bias_gradients(layer, gradients).items():
        torch.testing.assert_close(row, expected[name], rtol=1e-10, atol=1e-11)


SIZES = st.integers(1, 3)
MODES = st.sampled_from(["zeros", "reflect", "replicate", "circular"])


@settings(deadline=None, max_examples=120)
@given(SIZES, SIZES, SIZES, st.data())
def test_a_convolution_of_images(groups: int, inside: int, outside: int, data: st.DataObject) -> None:
    pair = st.tuples(SIZES, SIZES)
    kernel, stride, dilation = (data.draw(pair) for _ in range(3))
    mode, same = data.draw(MODES), data.draw(st.booleans())
    padding: str | tuple[int, int] = "same" if same else data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    sides = [max(3, size) + data.draw(st.integers(0, 4)) + 3 for size in reach]
    layer = nn.Conv2d(
        inside * groups, outside * groups, kernel, 1 if same else stride, padding, dilation, groups,
        bias=data.draw(st.booleans()), padding_mode=mode,
    )  # fmt: skip
    check(layer, drawn(data.draw(SIZES), inside * groups, *sides))


@settings(deadline=None, max_examples=60)
@given(SIZES, SIZES, SIZES, st.data())
def test_a_transposed_convolution(groups: int, inside: int, outside: int, data: st.DataObject) -> None:
    pair = st.tuples(SIZES, SIZES)
    kernel, stride, dilation = (data.draw(pair) for _ in range(3))
    padding = tuple(data.draw(st.integers(0, d * (k - 1) // 2)) for d, k in zip(dilation, kernel, strict=True))
    extra = tuple(data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    layer = nn.ConvTranspose2d(
        inside * groups, outside * groups, kernel, stride, padding, extra, groups, data.draw(st.booleans()), dilation
    )
    check(layer, drawn(data.draw(SIZES), inside * groups, *data.draw(st.tuples(st.integers(3, 6), st.integers(3, 6)))))


@pytest.mark.parametrize("make", [nn.Conv1d, nn.ConvTranspose1d])
@pytest.mark.parametrize(("stride", "dilation", "padding", "groups"), [(1, 1, 0, 1), (2, 1, 1, 2), (1, 2, 2, 1)])
def test_a_convolution_of_sequences(
    make: Callable[..., Layer], stride: int, dilation: int, padding: int, groups: int
) -> None:
    check(make(4, 6, 3, stride=stride, padding=padding, dilation=dilation, groups=groups), drawn(5, 4, 9))


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_map_smaller_than_the_kernel(size: int, stride: int, groups: int) -> None:
    check(nn.Conv2d(4, 6, 3, stride, padding=1, groups=groups), drawn(5, 4, size, size))


@settings(deadline=None, max_examples=40)
@given(SIZES, st.lists(SIZES, max_size=2), SIZES, SIZES, st.booleans())
def test_a_linear_layer(records: int, middle: list[int], inside: int, outside: int, bias: bool) -> None:
    check(nn.Linear(inside, outside, bias), drawn(records, *middle, inside))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.GroupNorm(2, 6), (5, 6, 4, 3)),
        (nn.GroupNorm(3, 6), (5, 6)),
        (nn.GroupNorm(6, 6), (2, 6, 7)),
        (nn.LayerNorm(7), (5, 7)),
        (nn.LayerNorm(7), (5, 3, 4, 7)),
        (nn.LayerNorm((4, 7)), (5, 4, 7)),
        (nn.LayerNorm((4, 7), bias=False), (5, 2, 4, 7)),
        (nn.InstanceNorm2d(3, affine=True), (5, 3, 4, 4)),
        (nn.InstanceNorm1d(3, affine=True), (5, 3, 8)),
    ],
)
def test_a_normalisation(layer: Layer, shape: tuple[int, ...]) -> None:
    for seed, parameter in enumerate(layer.parameters()):
        parameter.data = drawn(*parameter.shape, seed=seed)
    check(layer, drawn(*shape, seed=9) * 2 + 1)


@pytest.mark.parametrize("together", [1, 200, 2**20])
@pytest.mark.parametrize("few", [0, 2**40])
def test_records_a_few_at_a_time_make_no_difference(together: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_gradients, "_TOGETHER", together)
    monkeypatch.setattr(layer_gradients, "_FEW", few)
    check(nn.Conv2d(4, 6, 3, padding=1, groups=2), drawn(7, 4, 5, 5))
    check(nn.ConvTranspose2d(4, 6, 3), drawn(7, 4, 5, 5))
    check(nn.GroupNorm(2, 4), drawn(7, 4, 5, 5))


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("layer", [nn.Conv2d(2, 3, 3), nn.Linear(5, 3), nn.GroupNorm(1, 2), nn.LayerNorm(5)])
def test_a_frozen_parameter_has_no_gradient(frozen: str, layer: Layer) -> None:
    layer, inputs = copy.deepcopy(layer).double(), drawn(3, 2, 5, 5)
    getattr(layer, frozen).requires_grad_(False)
    gradients = drawn(*layer(inputs).shape)
    assert record_gradients(layer, inputs, gradients).keys() == {"weight", "bias"} - {frozen}
    if frozen == "weight":
        assert not has_ghost_norm(layer, inputs.shape, gradients.shape)


def test_memory_formats_make_no_difference() -> None:
    layer = nn.Conv2d(4, 6, 3, padding=1).double()
    inputs, gradients = drawn(3, 4, 5, 5), drawn(3, 6, 5, 5)
    turned = [side.to(memory_format=torch.channels_last) for side in (inputs, gradients)]
    for ours, other in zip(ghost_norms(layer, *turned), ghost_norms(layer, inputs, gradients), strict=True):
        torch.testing.assert_close(ours, other)
    torch.testing.assert_close(record_gradients(layer, *turned), record_gradients(layer, inputs, gradients))
    torch.testing.assert_close(weight_sum(layer, *turned), weight_sum(layer, inputs, gradients))


def test_the_bound_is_above_the_norm_where_positions_cancel() -> None:
    layer = nn.Linear(40, 30)
    inputs, gradients = drawn(2, 1, 40).expand(2, 2, 40).float(), drawn(2, 1, 30) * torch.tensor([[[1.0]], [[1.0]]])
    gradients = torch.cat([gradients, -gradients], dim=1).float()
    norm, bound = ghost_norms(layer, inputs, gradients)
    assert (norm < 1e-6 * bound).all()
    assert (bound > 1).all()


def test_the_norm_of_single_precision_is_good_to_a_billionth_of_its_bound() -> None:
    layer = nn.Conv2d(16, 32, 3, padding=1)
    inputs, gradients = drawn(3, 16, 4, 4).float(), drawn(3, 32, 4, 4).float()
    gradients[:, :, 2:] = -gradients[:, :, :2]
    exact = record_gradients(layer.double(), inputs.double(), gradients.double())["weight"].flatten(1).norm(dim=1)
    norm, bound = ghost_norms(layer.float(), inputs, gradients)
    assert ((norm - exact).abs() <= 1e-9 * bound).all()


def test_the_cheaper_way_follows_from_the_shapes() -> None:
    wide, maps = nn.Conv2d(512, 512, 3, padding=1), torch.Size((64, 512, 2, 2))
    assert has_ghost_norm(wide, maps, maps)
    assert not has_ghost_norm(nn.Conv2d(16, 16, 3, padding=1), torch.Size((9, 16, 32, 32)), torch.Size((9, 16, 32, 32)))
    assert has_ghost_norm(nn.Linear(100, 10), torch.Size((9, 100)), torch.Size((9, 10)))
    assert not has_ghost_norm(nn.Linear(100, 10), torch.Size((9, 50, 100)), torch.Size((9, 50, 10)))
