"""Features at unit scale, for quantities that do not depend on the scale: squares of 1e-160 vanish, those of 1e160 overflow.

Multiplying by a power of two is exact, so that nothing but under- and overflow changes.
"""

from __future__ import annotations

import torch

from theodolite.maths.spectrum import weighted

__all__ = ["at_unit_scale", "weighted_at_unit_scale"]

#: Exponents up to which fourth powers, times any number of entries, neither overflow nor vanish: such features stay as they are.
SAFE_EXPONENT = 200


def at_unit_scale(values: torch.Tensor, dims: tuple[int, ...], even: bool = False) -> torch.Tensor:
    """``values`` times the power of two (of four if ``even``) that brings the greatest size over ``dims`` near one.

    Example:
        >>> at_unit_scale(torch.tensor([3e-200, 0.0], dtype=torch.float64), (-1,)).frexp().exponent.tolist()
        [0, 0]
    """
    # five times as fast as the maximum norm, and without a copy
    largest = torch.maximum(values.amax(dim=dims, keepdim=True), -values.amin(dim=dims, keepdim=True))
    exponent = largest.frexp().exponent
    shift = torch.where(exponent.abs() > SAFE_EXPONENT, -exponent, 0)
    if not bool(shift.any()):
        return values
    # The reach of exponents of normal numbers; a subnormal maximum comes near enough to one.
    shift = shift.clamp(-1022, 1023)
    shift = shift - shift % 2 if even else shift
    return values * torch.ldexp(torch.ones_like(shift, dtype=values.dtype), shift)


def weighted_at_unit_scale(features: torch.Tensor, weights: torch.Tensor | None, center: bool = False) -> torch.Tensor:
    """`weighted` features A = diag(√w) Φ, (…, N, n), times a power of two.

    Both are scaled before they are multiplied, so that the product cannot overflow, and the product for what it has lost.

    Example:
        >>> a = weighted_at_unit_scale(torch.full((4, 1), 1e-200, dtype=torch.float64), None)
        >>> bool((a**2 > 0).all())
        True
    """
    w = None if weights is None else at_unit_scale(weights, (-1,), even=True)
    return at_unit_scale(weighted(at_unit_scale(features, (-2, -1)), w, center), (-2, -1))
