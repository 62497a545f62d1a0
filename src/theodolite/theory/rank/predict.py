"""What the theory of the ε-rank says: how many neurons suffice, and how low the loss can be.

Throughout, Φ = (φ_1 … φ_n) are neuron functions, M = ∫ΦᵀΦ their mass matrix with eigenvalues λ_1 ≥ … ≥ λ_n, u = Φβ the network's
output, and p = r_ε(M) the number of eigenvalues greater than ε, so that λ_{p+1} ≤ ε.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from theodolite.core.arrays import as_float64, as_given, on_host
from theodolite.core.errors import ArgumentError
from theodolite.maths.spectrum import weighted

__all__ = ["approximation_bound", "loss_lower_bound", "submatrix_bound"]


def submatrix_bound(n: Any, k: Any) -> Any:
    """Lemma 3.1: any n × k matrix with orthonormal columns has k rows J with σ_min(U_J) ≥ 1/√(1 + k(n − k)).

    The rows of greatest |det| satisfy it: the entries of U U_J⁻¹ are then at most 1 in modulus (Cramer's rule).

    Args:
        n: number of rows; an integer or an array of them.
        k: number of columns, 0 ≤ k ≤ n; broadcasts against ``n``.

    Returns:
        The bound, in (0, 1]; sharp for k = 1. A float for numbers, else an array.

    Raises:
        ArgumentError: k outside 0..n.

    Reference:
        goreinov1997; yang2024 Lemma 3.1.

    Example:
        >>> submatrix_bound(4, 1)
        0.5
        >>> submatrix_bound(4, [0, 1, 4]).tolist()
        [1.0, 0.5, 1.0]
    """
    rows, columns = _whole(n, "n"), _whole(k, "k")
    if (rows < 1).any() or (columns < 0).any() or (columns > rows).any():
        raise ArgumentError(f"k must lie in 0..n with n ≥ 1, got n={n}, k={k}")
    return _plain(1.0 / np.sqrt(1.0 + columns * (rows - columns)))


def approximation_bound(n: Any, p: Any, eps: Any, beta_norm: Any) -> Any:
    """Theorem 3.2: some p of n neurons approximate u = Φβ in L² to within √(ε(1 + p(n − p))) ‖β‖₂.

    Args:
        n: number of neurons.
        p: the ε-rank, 0 ≤ p ≤ n.
        eps: ε, in the units of the mass matrix's eigenvalues; λ_{p+1} itself gives the sharpest bound.
        beta_norm: ‖β‖₂ of the outgoing weights (of those of the dropped neurons, for the sharper form).

    Returns:
        A bound on ‖u − Σ_{i∈I} β̃_i φ_i‖_{L²}, in the measure of the mass matrix; 0 at p = n. Arguments broadcast; a float for numbers.

    Raises:
        ArgumentError: p outside 0..n, ε or ‖β‖ negative or not finite.

    Reference:
        yang2024 Thm 3.2; the constant is that of `submatrix_bound`.

    Example:
        >>> round(approximation_bound(n=10, p=9, eps=1e-3, beta_norm=1.0), 12)
        0.1
    """
    threshold, norm = (on_host(as_float64(v, n)) for v, n in ((eps, "eps"), (beta_norm, "beta_norm")))
    if (threshold < 0).any() or (norm < 0).any():
        raise ArgumentError(f"eps and beta_norm must be finite and not negative, got eps={eps}, beta_norm={beta_norm}")
    bound = np.sqrt(threshold) / submatrix_bound(n, p) * norm
    return _plain(np.where(_whole(p, "p") == _whole(n, "n"), 0.0, bound))


def _whole(value: Any, name: str) -> np.ndarray[Any, Any]:
    """Whole numbers as float64, whatever type they came in."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(f"{name} must be a whole number or an array of them, got {value!r}") from None
    if not (array == np.floor(array)).all():
        raise ArgumentError(f"{name} must be whole, got {value!r}")
    return array


def _plain(values: Any) -> Any:
    return float(values) if np.ndim(values) == 0 else values


def loss_lower_bound(features: Any, target: Any, beta_norm: float, weights: Any = None) -> Any:
    """The computable form of Theorem 3.3: ‖Φβ − u*‖² ≥ max_p [ ‖(I − P_p)u*‖ − √λ_{p+1} B ]₊² for every ‖β‖ ≤ B.

    P_p projects on the span of the p leading eigenfunctions. (I − P_p)Φβ has norm at most √λ_{p+1} ‖β‖, so what of u* lies outside
    the leading eigenfunctions must remain. The theorem's own dist(u*, F_p) is a non-convex minimum that cannot be computed.

    Args:
        features: Φ at N samples, (…, N, n).
        target: u* at the same samples, (…, N) or (…, N, K).
        beta_norm: B, bound on the Euclidean (for K outputs: Frobenius) norm of the outgoing weights.
        weights: quadrature weights (N,); None is the empirical measure 1/N.

    Returns:
        A lower bound on the squared weighted norm Σ_s w_s ‖(Φβ − u*)_s‖², shape (…).

    Raises:
        ArgumentError: shapes that do not match, non-finite entries, negative weights or beta_norm.

    Cost:
        One thin SVD, O(N n²).

    Reference:
        yang2024 Thm 3.3 (constant and form re-derived here).

    Example:
        >>> round(float(loss_lower_bound([[1.0], [1.0]], [1.0, -1.0], beta_norm=10.0)), 12)
        1.0
    """
    if not (math.isfinite(beta_norm) and beta_norm >= 0):
        raise ArgumentError(f"beta_norm must be finite and not negative, got {beta_norm}")
    phi = as_float64(features, "features", at_least=2)
    u = as_float64(target, "target", at_least=1, device=phi.device)
    if u.ndim == phi.ndim - 1:
        u = u[..., None]
    if u.ndim < phi.ndim and u.ndim <= 2 and u.shape[0] == phi.shape[-2]:  # one target for all leading dimensions
        u = (u if u.ndim == 2 else u[:, None]).expand(*phi.shape[:-1], -1)
    if u.ndim != phi.ndim or u.shape[:-1] != phi.shape[:-1]:
        raise ArgumentError(f"target must have one row per sample of features {tuple(phi.shape)}, got {tuple(u.shape)}")
    w = None
    if weights is not None:
        w = as_float64(weights, "weights", at_least=1, device=phi.device)
        if bool((w < 0).any()):
            raise ArgumentError(f"weights must not be negative, got a minimum of {w.min().item()}")
    a, b = weighted(phi, w), weighted(u, w)
    left, sigma, _ = torch.linalg.svd(a, full_matrices=False)
    coefficients = left.mT @ b  # (…, r, K)
    outside = ((b - left @ coefficients) ** 2).sum((-2, -1))  # (…): what no β can reach
    energy = (coefficients**2).sum(-1)  # (…, r)
    # ‖(I − P_p)u*‖² for p = 0 … r, as sums from the tail so that small remainders keep their digits
    tail = torch.cat([energy.flip(-1).cumsum(-1).flip(-1), torch.zeros_like(energy[..., :1])], -1) + outside[..., None]
    next_sigma = torch.cat([sigma, torch.zeros_like(sigma[..., :1])], -1)
    bound = (tail.sqrt() - next_sigma * beta_norm).clamp_min(0) ** 2
    return as_given(bound.amax(-1), features, target)
