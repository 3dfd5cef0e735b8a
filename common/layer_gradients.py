"""Weight gradients of single layers, from what went into a layer and the loss's gradient by what came out.

A linear map that is applied at T positions of a record has, for that record, the weight gradient sum over t of g_t
a_tᵀ, with a_t the input at position t (of a convolution: the patch) [d] and g_t the loss's gradient by the output there
[p]. It can be had record by record (``record_gradients``) or as the batch's sum (``weight_sum``). Its squared norm is
the sum over t, s of (a_t·a_s)(g_t·g_s), which needs no gradient at all: the ghost norm (Goodfellow 2015, arXiv
1510.01799, for T = 1; Li et al. 2022, arXiv 2110.05679, for linear layers; Bu, Mao & Xu 2022, arXiv 2205.10683, for
convolutions).

Throughout, ``inputs`` are what a layer took and ``gradients`` the loss's gradient by what it gave; n records are the
first dimension of both. Convolutions have one or two dimensions besides.
"""

import math
from itertools import product
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

Convolution = nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d
LinearMap = nn.Linear | Convolution
Layer = LinearMap | nn.GroupNorm | nn.LayerNorm | nn.InstanceNorm1d | nn.InstanceNorm2d

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, *TRANSPOSED)
NORMALISATIONS = (nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)
LAYERS = (*CONVOLUTIONS, nn.Linear, *NORMALISATIONS)
"""The layers that have a formula here; their subclasses, which may compute anything, have none."""

_TOGETHER = 2**20
"""Numbers in work at once where records are worked on a few at a time; about what a core's caches hold."""
_FEW = 2**23
"""Multiplications in a record's weight gradient below which one grouped convolution is faster than one a record."""


def has_ghost_norm(layer: Layer, inputs: torch.Size, gradients: torch.Size) -> TypeGuard[LinearMap]:
    """Tell from the shapes alone whether the weight's ghost norm costs less than the records' gradients by the weight.

    The paper's rule is 2 T² < p d (Bu, Mao & Xu 2022, section 4.1): the smaller of what must be held. Here the Gram
    matrices are of an image's pixels and of the positions, in double precision, and take time, too; the factors fit
    times measured on two processors.
    """
    if not isinstance(layer, (nn.Linear, *CONVOLUTIONS)) or not layer.weight.requires_grad:
        return False
    if isinstance(layer, nn.Linear):
        return 8 * math.prod(inputs[1:-1]) ** 2 < layer.weight.numel()
    return 4 * (math.prod(inputs[2:]) ** 2 + math.prod(gradients[2:]) ** 2) < layer.weight.numel() // layer.groups


def record_gradients(layer: Layer, inputs: Tensor, gradients: Tensor) -> dict[str, Tensor]:
    """Return each record's gradient by the layer's trainable parameters: name → [n, *shape of the parameter]."""
    if isinstance(layer, nn.LayerNorm):
        found = _of_layer_norm(layer, inputs, gradients)
    elif isinstance(layer, NORMALISATIONS):
        found = _of_group_norm(layer, inputs, gradients)
    else:
        found = bias_gradients(layer, gradients)
        if layer.weight.requires_grad:
            found["weight"] = _of_weight(layer, inputs, gradients)
    return {name: found[name] for name in trainable(layer)}


def trainable(layer: nn.Module) -> dict[str, nn.Parameter]:
    """Return the layer's own parameters that are to be trained, by name."""
    return {name: own for name, own in layer.named_parameters(recurse=False) if own.requires_grad}


def bias_gradients(layer: LinearMap, gradients: Tensor) -> dict[str, Tensor]:
    """Return each record's gradient by the bias, [n, p]; nothing if there is none to train."""
    if layer.bias is None or not layer.bias.requires_grad:
        return {}
    if isinstance(layer, nn.Linear):
        return {"bias": gradients.reshape(len(gradients), -1, gradients.shape[-1]).sum(1)}
    return {"bias": gradients.flatten(2).sum(2)}


def weight_sum(layer: LinearMap, inputs: Tensor, gradients: Tensor) -> Tensor:
    """Return the weight's gradient, summed over the records, in the weight's shape."""
    if isinstance(layer, nn.Linear):
        return gradients.flatten(0, -2).t() @ inputs.flatten(0, -2)
    inputs, padding = _padded(layer, inputs)
    if _is_single(layer, gradients):
        return (gradients.flatten(1).t() @ _single_patch(layer, inputs, padding)).view_as(layer.weight)
    return _by_weight(layer, inputs, gradients, padding, layer.weight, layer.groups)


def ghost_norms(layer: LinearMap, inputs: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Return the norm of each record's weight gradient, and a bound of it that knows no cancellation; float64 [n].

    The bound is S = sum over t of |a_t| |g_t| (triangle inequality). With inner products in double precision, u =
    2^-53, rounding changes the squared norm by at most about (d + p + T²) u S² (Higham 2002, Accuracy and Stability of
    Numerical Algorithms, section 3.1). Where S is far above the norm, positions cancel and the norm found is noise.
    """
    if isinstance(layer, nn.Linear):
        if inputs.shape[:-1].numel() == len(inputs):
            return _product_norm(inputs, gradients)
        return _from_grams(*(_gram(side.flatten(1, -2).double()) for side in (inputs, gradients)))
    # A transposed convolution's weight gradient is that of the convolution which it reverses, its two sides swapped.
    image, maps = (gradients, inputs) if isinstance(layer, TRANSPOSED) else (inputs, gradients)
    image, padding = _padded(layer, image)
    if _is_single(layer, gradients):
        return _product_norm(_single_patch(layer, image, padding), gradients)
    together = max(1, _TOGETHER // (layer.groups * image[0, 0].numel() ** 2))
    parts = []
    for some in zip(torch.split(image, together), torch.split(maps, together), strict=True):
        # Each group of channels is a layer of its own.
        pixels, points = (side.double().reshape(-1, side.shape[1] // layer.groups, *side.shape[2:]) for side in some)
        norms = _from_grams(_patch_gram(layer, pixels, padding, points.shape[2:]), _gram(points.flatten(2).mT))
        parts.append([part.view(-1, layer.groups) for part in norms])
    norm, bound = (torch.cat(part) for part in zip(*parts, strict=True))
    return norm.square().sum(1).sqrt(), bound.sum(1)


def _is_single(layer: Convolution, gradients: Tensor) -> bool:
    """Tell whether a convolution has a single position, so that it is a linear layer of its only patch."""
    return isinstance(layer, nn.Conv2d) and layer.groups == 1 and gradients[0, 0].numel() == 1


def _single_patch(layer: Convolution, inputs: Tensor, padding: list[int]) -> Tensor:
    return functional.unfold(inputs, layer.kernel_size, layer.dilation, tuple(padding), layer.stride).flatten(1)


def _product_norm(inputs: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Return norm and bound [n] for one position: there is nothing to cancel."""
    first, second = (torch.linalg.vector_norm(side.double().flatten(1), dim=1) for side in (inputs, gradients))
    return first * second, first * second


def _from_grams(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return norm and bound [m] from Gram matrices [m, T, T]."""
    norm = (first * second).sum((1, 2)).clamp(min=0).sqrt()  # a sum below zero is rounding
    return norm, (first.diagonal(dim1=1, dim2=2) * second.diagonal(dim1=1, dim2=2)).sqrt().sum(1)


def _gram(points: Tensor) -> Tensor:
    """Return the inner products [m, T, T] of points [m, T, d]."""
    return points @ points.transpose(1, 2)


def _patch_gram(layer: Convolution, pixels: Tensor, padding: list[int], positions: torch.Size) -> Tensor:
    """Return the inner products [m, T, T] of an image's patches, from those of its pixels: patches are never laid out.

    The product of two patches is the sum, over the kernel's offsets, of the products of the two pixels there.

    Args:
        layer: its kernel, stride and dilation.
        pixels: [m, channels, *sides].
        padding: zeros around the sides.
        positions: the output's sides.
    """
    grams = _gram(pixels.flatten(2).mT).view(-1, *pixels.shape[2:], *pixels.shape[2:])
    total = grams.new_zeros(len(grams), *positions, *positions)
    along = [
        [_meeting(side, place * dilation - pad, stride, count) for place in range(kernel)]
        for side, kernel, dilation, pad, stride, count in zip(
            pixels.shape[2:], layer.kernel_size, layer.dilation, padding, layer.stride, positions, strict=True
        )
    ]
    for offsets in product(*along):
        there, here = zip(*offsets, strict=True)
        total[(slice(None), *here, *here)] += grams[(slice(None), *there, *there)]
    return total.view(-1, positions.numel(), positions.numel())


def _meeting(side: int, offset: int, stride: int, count: int) -> tuple[slice, slice]:
    """Return the pixels of a side that lie ``offset`` after a position's start, and as many positions: those."""
    first = max(0, -(offset // stride))
    last = max(first, min(count, (side - 1 - offset) // stride + 1))
    return slice(first * stride + offset, max(0, (last - 1) * stride + offset + 1), stride), slice(first, last)


def _of_weight(layer: LinearMap, inputs: Tensor, gradients: Tensor) -> Tensor:
    """Return each record's gradient by the weight, [n, *shape of the weight]."""
    records, weight = len(inputs), layer.weight
    if isinstance(layer, nn.Linear):
        first, second = (side.reshape(records, -1, side.shape[-1]) for side in (gradients, inputs))
        return first.transpose(1, 2) @ second
    inputs, padding = _padded(layer, inputs)
    rows = weight.new_empty(records, *weight.shape)
    products = weight[0].numel() * (inputs if isinstance(layer, TRANSPOSED) else gradients)[0].numel()
    together = max(1, _TOGETHER // 2 // weight.numel()) if products < _FEW and set(layer.stride) == {1} else 1
    for some in zip(*(torch.split(side, together) for side in (rows, inputs, gradients)), strict=True):
        # Records side by side as groups of channels: a grouped convolution keeps the groups, hence the records, apart.
        before, after = (side.reshape(1, -1, *side.shape[2:]) for side in some[1:])
        like = weight.new_empty(len(some[0]) * len(weight), *weight.shape[1:])  # of which nothing but the shape is read
        found = _by_weight(layer, before, after, padding, like, len(some[0]) * layer.groups)
        some[0].copy_(found.view_as(some[0]))
    return rows


def _by_weight(
    layer: Convolution, inputs: Tensor, gradients: Tensor, padding: list[int], weight: Tensor, groups: int
) -> Tensor:
    transposed = isinstance(layer, TRANSPOSED)
    found: Tensor = torch.ops.aten.convolution_backward(
        gradients, inputs, weight.detach(), None, layer.stride, padding, layer.dilation, transposed,
        layer.output_padding, groups, [False, True, False],
    )[1]  # fmt: skip
    return found


def _padded(layer: Convolution, inputs: Tensor) -> tuple[Tensor, list[int]]:
    """Return the inputs, and with how many zeros a side they are still to be padded."""
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        return functional.pad(inputs, layer._reversed_padding_repeated_twice, mode=mode), [0] * len(layer.kernel_size)
    return inputs, list(layer.padding)


def _of_layer_norm(layer: nn.LayerNorm, inputs: Tensor, gradients: Tensor) -> dict[str, Tensor]:
    shape = (len(inputs), -1, *layer.normalized_shape)
    plain = functional.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
    return {"weight": (gradients * plain).reshape(shape).sum(1), "bias": gradients.reshape(shape).sum(1)}


def _of_group_norm(
    layer: nn.GroupNorm | nn.InstanceNorm1d | nn.InstanceNorm2d, inputs: Tensor, gradients: Tensor
) -> dict[str, Tensor]:
    """Take n records of c channels for one of n c channels: group norm sees no further than a group."""
    channels = inputs.shape[1]
    groups = layer.num_groups if isinstance(layer, nn.GroupNorm) else channels
    parts: list[tuple[Tensor, Tensor]] = []
    together = max(1, _TOGETHER // inputs[0].numel())
    for own, gradient in zip(torch.split(inputs, together), torch.split(gradients, together), strict=True):
        own, gradient = own.contiguous(), gradient.contiguous()
        records, positions = len(own), own[0, 0].numel()
        _, mean, deviation = torch.native_group_norm(own, None, None, records, channels, positions, groups, layer.eps)
        wide = (1, records * channels, positions)
        _, weight, bias = torch.ops.aten.native_group_norm_backward(
            gradient.view(wide), own.view(wide), mean.view(1, -1), deviation.view(1, -1),
            own.new_ones(()).expand(wide[1]), 1, wide[1], positions, records * groups, [False, True, True],
        )  # fmt: skip
        parts.append((weight.view(records, channels), bias.view(records, channels)))
    return {name: torch.cat(part) for name, part in zip(("weight", "bias"), zip(*parts, strict=True), strict=True)}
