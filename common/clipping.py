"""What clipping a record's gradient means, for every way to compute it."""

import math

import torch
from torch import Tensor, nn

Sums = dict[nn.Parameter, Tensor]
"""Sums of clipped gradients, each in its parameter's shape; a parameter to which nothing was added is not there."""

_SPAN = 1024
"""Numbers whose squares are summed in the gradient's own precision; further on in double precision."""
LARGEST = 1e18
"""Largest norm of a record's gradient by one parameter with which the record counts; far below what overflows."""


def clip_factors(norms: Tensor, clip_norm: float) -> Tensor:
    """Return what to multiply each record's gradient by, float64 [n]: min(1, clip_norm / (norm + 1e-6)), or zero.

    Clipping turns an infinite gradient into NaN. A server that sends weights under which a single record overflows
    would then learn, from a training that fails, exactly whether the record is there, at any epsilon. So a record with
    a norm that is NaN or above ``LARGEST`` counts as zero, which is within the clip norm.

    Args:
        norms: of each record's gradient by each parameter, [n, parameters].
        clip_norm: bound of a record's norm over all parameters.
    """
    factors = (clip_norm / (total_norms(norms) + 1e-6)).clamp(max=1.0)
    return torch.where(norms.amax(1) <= LARGEST, factors, 0.0)  # the comparison is false for NaN as well


def total_norms(norms: Tensor) -> Tensor:
    """Return each record's norm over all parameters, float64 [n], from its norms by each, [n, parameters]."""
    total: Tensor = torch.linalg.vector_norm(norms.double(), dim=1)
    return total


def row_norms(rows: Tensor) -> Tensor:
    """Return the norm of each record's gradient, float64 [n]; rows [n, *shape of the parameter]."""
    # Two stages: a single sum of millions of squares in single precision may lack a part in a thousand.
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    whole = flat.shape[1] // _SPAN * _SPAN
    parts = torch.linalg.vector_norm(flat[:, :whole].reshape(len(rows), whole // _SPAN, _SPAN), dim=2)
    rest = torch.linalg.vector_norm(flat[:, whole:], dim=1, keepdim=True)
    return total_norms(torch.cat([parts, rest], dim=1))


def add_weighted(sums: Sums, parameter: nn.Parameter, rows: Tensor, factors: Tensor) -> None:
    """Add the sum of factor times gradient over the records; rows [n, *shape], of which those of factor 0 may be NaN.

    Args:
        sums: changed in place.
        parameter: whose gradients.
        rows: set to zero where the factor is zero.
        factors: [n].
    """
    gone = factors == 0
    if bool(gone.any()):
        rows[gone] = 0
    add(sums, parameter, (factors.to(rows.dtype) @ rows.reshape(len(rows), -1)).view_as(parameter))


def add(sums: Sums, parameter: nn.Parameter, part: Tensor) -> None:
    """Add a part, of the parameter's shape, to the parameter's sum; the part may be kept."""
    if parameter in sums:
        sums[parameter] += part
    else:
        sums[parameter] = part
