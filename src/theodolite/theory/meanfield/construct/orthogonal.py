"""Haar-orthogonal and delta-orthogonal weights, in place, with explicit generators."""

from __future__ import annotations

from typing import Any

import torch

from theodolite.core.errors import ArgumentError
from theodolite.theory.meanfield.predict.arguments import check_number

__all__ = ["delta_orthogonal_", "haar_columns", "orthogonal_"]


def haar_columns(rows: int, columns: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """A (rows, columns) matrix with orthonormal columns, uniform (Haar) on the Stiefel manifold; float64.

    QR of a Gaussian matrix is uniform only after the signs are fixed by the diagonal of R (Mezzadri 2007).

    Raises:
        ArgumentError: more columns than rows.

    Example:
        >>> h = haar_columns(5, 3, torch.Generator().manual_seed(0))
        >>> bool(torch.allclose(h.T @ h, torch.eye(3, dtype=torch.float64)))
        True
    """
    if columns > rows:
        raise ArgumentError(f"{columns} orthonormal columns do not fit into {rows} rows; use at least as many outputs as inputs")
    q, r = torch.linalg.qr(torch.randn(rows, columns, dtype=torch.float64, generator=generator))
    sign = torch.where(r.diagonal() < 0, -1.0, 1.0).to(q.dtype)
    return q * sign


def orthogonal_(weight: torch.Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> torch.Tensor:
    """Fill a (n, m) weight with ``gain`` times a Haar matrix, scaled to the per-fan-in convention: E W² · m = gain².

    n ≥ m: orthonormal columns, |Wx| = gain √(n/m) … scaled by √(n/m) so that the variance per output unit is that of Gaussian weights
    of σ_w² = gain². For square weights W Wᵀ = gain² I exactly.

    Args:
        weight: (n, m), changed in place.
        gain: σ_w.
        generator: source of randomness.

    Returns:
        The weight.

    Raises:
        ArgumentError: not a matrix, or a gain that is not finite; the weight is left as it was.

    Reference: saxe2014.

    Example:
        >>> w = orthogonal_(torch.empty(4, 4, dtype=torch.float64), 2.0, torch.Generator().manual_seed(0))
        >>> bool(torch.allclose(w @ w.T, 4 * torch.eye(4, dtype=torch.float64)))
        True
    """
    if weight.ndim != 2:
        raise ArgumentError(f"weight must be a matrix (n, m), got shape {tuple(weight.shape)}; for kernels use delta_orthogonal_")
    check_number(gain, "gain")
    n, m = weight.shape
    # E W_ij² is 1/max(n, m) for a Haar frame; the fan-in convention asks for 1/m.
    haar = haar_columns(n, m, generator) if n >= m else haar_columns(m, n, generator).T
    with torch.no_grad():
        weight.copy_(haar * (gain * (max(n, m) / m) ** 0.5))
    return weight


def delta_orthogonal_(weight: torch.Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> torch.Tensor:
    """Fill a convolution kernel with zeros but for its centre, which is ``gain`` · H with orthonormal columns H (c_out, c_in).

    Every Fourier mode of the covariance map then has multiplier 1, and a linear convolution preserves norms: |K * x| = gain |x|
    exactly, with any padding of k//2. The kernel need not be circular.

    Args:
        weight: (c_out, c_in, k[, k[, k]]), k odd, c_in ≤ c_out; changed in place.
        gain: factor by which norms grow (a standard deviation, σ_w; not a variance).
        generator: source of randomness.

    Returns:
        The weight.

    Raises:
        ArgumentError: an even kernel size, c_in > c_out (norms could not be preserved), not a kernel, or a gain that is not finite;
            the weight is left as it was.

    Reference: xiao2018, Algorithm 1.

    Example:
        >>> k = delta_orthogonal_(torch.empty(8, 4, 3, 3), generator=torch.Generator().manual_seed(0))
        >>> x = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(1))
        >>> y = torch.nn.functional.conv2d(x, k, padding=1)
        >>> bool(torch.isclose(y.norm(), x.norm()))
        True
    """
    if weight.ndim < 3:
        raise ArgumentError(f"weight must be a convolution kernel (c_out, c_in, k, …), got shape {tuple(weight.shape)}")
    check_number(gain, "gain")
    outputs, inputs, *sizes = weight.shape
    if any(k % 2 == 0 for k in sizes):
        raise ArgumentError(f"kernel sizes must be odd, so that there is a centre, got {tuple(sizes)}")
    if inputs > outputs:
        raise ArgumentError(
            f"a delta-orthogonal kernel needs c_in ≤ c_out, got c_in = {inputs} > c_out = {outputs}: norms could not be preserved; "
            "use Gaussian weights there, or more output channels"
        )
    centre: Any = (slice(None), slice(None), *(k // 2 for k in sizes))
    with torch.no_grad():
        weight.zero_()
        weight[centre] = (gain * haar_columns(outputs, inputs, generator)).to(weight)
    return weight
