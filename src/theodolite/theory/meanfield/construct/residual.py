"""Scaling of residual branches, so that gradients stay bounded with depth."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from theodolite.core.errors import ArgumentError
from theodolite.theory.meanfield.predict.arguments import check_number

__all__ = ["residual_scale", "scale_residual_branches_"]


def residual_scale(branches: int, growth: float = math.e, branch_gain2: float = 1.0) -> float:
    """Factor α for each of R residual branches x + α f(x), so that gradients grow by at most ``growth`` in all.

    Each block multiplies the squared gradient by 1 + α² g, g = σ_v² σ_w² E φ′² (1 at He scale); (1 + α² g)^R = growth gives
    α² = (growth^{1/R} − 1)/g, which is close to ln(growth)/(g R): the 1/√R of the literature for growth e.

    Args:
        branches: R.
        growth: total growth of squared gradients.
        branch_gain2: g.

    Returns:
        α, a factor of the branch's output (a standard deviation).

    Raises:
        ArgumentError: arguments out of range or not finite.

    Reference: yang2017; zhang2019fixup.

    Example:
        >>> round(residual_scale(100), 4), round((1 + residual_scale(100) ** 2) ** 100, 6)
        (0.1003, 2.718282)
    """
    check_number(growth, "growth")
    check_number(branch_gain2, "branch_gain2")
    if not branches >= 1 or growth <= 1 or branch_gain2 <= 0:
        raise ArgumentError(
            f"branches must be positive, growth above 1 and branch_gain2 positive, got {branches}, {growth}, {branch_gain2}"
        )
    return math.sqrt(math.expm1(math.log(growth) / branches) / branch_gain2)


def scale_residual_branches_(weights: Iterable[torch.Tensor], growth: float = math.e, branch_gain2: float = 1.0) -> float:
    """Multiply the last weight of each residual branch by `residual_scale`, in place.

    Args:
        weights: the last weight of every branch.
        growth: total growth of squared gradients.
        branch_gain2: g of one unscaled branch.

    Returns:
        The factor.

    Raises:
        ArgumentError: no weights, weights of whole numbers, or arguments out of range or not finite; no weight is changed then.

    Example:
        >>> ends = [torch.ones(2, 2) for _ in range(4)]
        >>> scale = scale_residual_branches_(ends)
        >>> bool(torch.allclose(ends[0], torch.full((2, 2), scale)))
        True
    """
    found = list(weights)
    if not found:
        raise ArgumentError("weights must hold the last weight of every residual branch, got none")
    for weight in found:
        if not weight.is_floating_point():
            raise ArgumentError(f"weights must be floating point, got one of {weight.dtype} and shape {tuple(weight.shape)}")
    scale = residual_scale(len(found), growth, branch_gain2)
    with torch.no_grad():
        for weight in found:
            weight.mul_(scale)
    return scale
