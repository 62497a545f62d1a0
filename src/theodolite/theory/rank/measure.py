"""What a layer's features show: ε-rank and the other effective dimensions, all from one spectrum.

Convention: features Φ are (…, N, n), one row per sample and one column per neuron; the mass matrix is M = Φᵀ diag(w) Φ with
w = 1/N unless quadrature weights are given (`theodolite.maths.quadrature` has rules with the Lebesgue or the probability measure).
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import numpy as np
import torch

from theodolite.core.arrays import as_float64, as_given, check_finite
from theodolite.core.errors import ArgumentError, NumericalError, TheodoliteWarning
from theodolite.core.quantity import quantity
from theodolite.maths.spectrum import (
    SAFETY,
    Spectrum,
    gram,
    gram_spectrum,
    mass_matrix,
    mass_spectrum,
    singular_spectrum,
    weighted,
)
from theodolite.theory.rank.arguments import check_choice, check_features, check_flag
from theodolite.theory.rank.judges import judge_epsilon_rank, judge_numerical_rank, judge_stable_rank
from theodolite.theory.rank.unit_scale import at_unit_scale, weighted_at_unit_scale

__all__ = [
    "effective_rank",
    "epsilon_rank",
    "numerical_rank",
    "participation_ratio",
    "rank_interval",
    "seed_epsilon_rank",
    "spectrum",
    "stable_rank",
]

Mode = Literal["absolute", "relative", "function"]


@quantity(symbol="λ_i", reference="yang2024 §2", fill={"weights": "sample_weights"})
def spectrum(features: Any, weights: Any = None, *, center: bool = False, method: Literal["svd", "gram"] = "svd") -> Any:
    """Eigenvalues of the mass matrix M = Φᵀ diag(w) Φ, in descending order.

    Args:
        features: Φ, (…, N, n).
        weights: quadrature weights, (N,) or (…, N), not negative; None is the empirical measure w = 1/N.
        center: subtract the weighted mean of each neuron first (then M is a covariance matrix).
        method: ``"svd"`` resolves eigenvalues down to about n u² λ_1, ``"gram"`` down to about n u λ_1 but several times faster.

    Returns:
        (…, n) eigenvalues, not negative.

    Raises:
        ArgumentError: non-finite or integer features, negative weights, shapes that do not match, no neurons, another method.
        NumericalError: the squares of the features overflow.

    Cost:
        O(N n²) time; ``"gram"`` needs O(n²) memory beside the features.

    Reference:
        yang2024 §2.

    Example:
        >>> spectrum([[1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [1.0, -1.0]]).tolist()
        [1.0, 1.0]
    """
    check_choice(method, "method", ("svd", "gram"))
    check_flag(center, "center")
    phi, w, dtype = check_features(features, weights)
    scaled = weighted(phi, w, center)
    eigenvalues = (mass_spectrum(scaled, dtype) if method == "gram" else singular_spectrum(scaled, dtype)).eigenvalues
    if not math.isfinite(eigenvalues.sum().item()) and bool(eigenvalues.isinf().any()):
        raise NumericalError("the squares of the features overflow, and so do the eigenvalues of their mass matrix; rescale them")
    return eigenvalues


def rank_interval(
    features: Any,
    weights: Any = None,
    *,
    eps: float = 1e-3,
    mode: Mode = "absolute",
    outgoing: Any = None,
    allow_underdetermined: bool = False,
) -> tuple[Any, Any]:
    """Least and greatest ε-rank that rounding of the features and of the eigen-solve allows.

    Same arguments as `epsilon_rank`; both ends are equal when no eigenvalue lies within the resolution of ε.

    Returns:
        (low, high), each of shape (…) and integer.

    Example:
        >>> low, high = rank_interval([[1.0, 0.0], [0.0, 1e-9]], eps=1e-3)
        >>> int(low), int(high)
        (1, 1)
    """
    found, threshold = _resolved(features, weights, eps, mode, outgoing, allow_underdetermined)
    low, high = found.count_interval(threshold)
    return as_given(low, features, weights), as_given(high, features, weights)


@quantity(
    symbol="r_ε",
    reference="yang2024 §2",
    fill={"weights": "sample_weights"},
    interval=rank_interval,
    judge=judge_epsilon_rank,
)
def epsilon_rank(
    features: Any,
    weights: Any = None,
    *,
    eps: float = 1e-3,
    mode: Mode = "absolute",
    outgoing: Any = None,
    allow_underdetermined: bool = False,
) -> Any:
    """ε-rank: the number of eigenvalues of the mass matrix Φᵀ diag(w) Φ strictly greater than ε.

    It is not invariant under φ → cφ, β → β/c, an exact symmetry of ReLU networks; hence three modes.

    Args:
        features: Φ, (…, N, n).
        weights: quadrature weights, (N,) or (…, N), not negative; None is the empirical measure w = 1/N. The paper integrates
            with the Lebesgue measure of the domain: multiply by its volume, or use a rule of `theodolite.maths.quadrature`.
        eps: the threshold ε > 0.
        mode: ``"absolute"`` λ_i > ε (the paper); ``"relative"`` λ_i > ε λ_1; ``"function"`` for the functions β_j φ_j that the
            output is made of (with ``outgoing``), or for φ_j/‖φ_j‖ (without).
        outgoing: β, (n,) or (n, K): outgoing weights, for ``mode="function"``.
        allow_underdetermined: accept fewer samples than neurons; the rank is then at most N.

    Returns:
        (…) integers.

    Raises:
        ArgumentError: bad features or weights, ε ≤ 0, N < n without ``allow_underdetermined``, or ``outgoing`` that does not fit.

    Warns:
        TheodoliteWarning: ε lies below what the features' own rounding resolves; see `rank_interval`.

    Cost:
        O(N n²): a float64 Gram matrix where ε is above its noise floor, else QR and SVD of the weighted features.

    Reference:
        yang2024 §2.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(-1, 1, 101)[:, None]
        >>> int(epsilon_rank(np.cos(x * np.arange(8)), eps=1e-3))
        4
    """
    found, threshold = _resolved(features, weights, eps, mode, outgoing, allow_underdetermined)
    return found.count_above(threshold)


@quantity(symbol="erank", reference="roy2007", fill={"weights": "sample_weights"})
def effective_rank(
    features: Any, weights: Any = None, *, center: bool = False, of: Literal["singular", "eigen"] = "singular"
) -> Any:
    """Effective rank exp(H(p)), the exponential of the entropy of the normalised spectrum.

    Args:
        features: Φ, (…, N, n).
        weights: quadrature weights; None is the empirical measure.
        center: subtract the mean of each neuron first.
        of: ``"singular"`` p_i = σ_i/Σσ (Roy & Vetterli); ``"eigen"`` p_i = λ_i/Σλ.

    Returns:
        (…) values in [1, n]; 0 where all features vanish.

    Reference:
        roy2007 Def. 1.

    Example:
        >>> round(float(effective_rank([[1.0, 0.0], [0.0, 1.0]])), 12)
        2.0
    """
    check_choice(of, "of", ("singular", "eigen"))
    eigenvalues = _eigenvalues(features, weights, center)
    mass = eigenvalues.sqrt() if of == "singular" else eigenvalues
    total = mass.sum(-1, keepdim=True)
    p = mass / torch.where(total > 0, total, 1.0)
    entropy = -torch.special.xlogy(p, p).sum(-1)
    return torch.where(total[..., 0] > 0, entropy.exp(), 0.0)


@quantity(symbol="srank", reference="roy2007", fill={"weights": "sample_weights"}, judge=judge_stable_rank)
def stable_rank(features: Any, weights: Any = None, *, center: bool = False) -> Any:
    """Stable rank tr(M)/λ_1 = ‖A‖_F²/‖A‖₂² of the weighted features A.

    Args:
        features: Φ, (…, N, n).
        weights: quadrature weights; None is the empirical measure.
        center: subtract the mean of each neuron first.

    Returns:
        (…) values in [1, n]; 0 where all features vanish.

    Example:
        >>> float(stable_rank([[2.0, 0.0], [0.0, 1.0]]))
        1.25
    """
    eigenvalues = _eigenvalues(features, weights, center)
    largest = eigenvalues[..., 0]
    return eigenvalues.sum(-1) / torch.where(largest > 0, largest, 1.0)


@quantity(symbol="PR", reference="roy2007", fill={"weights": "sample_weights"})
def participation_ratio(features: Any, weights: Any = None, *, center: bool = False) -> Any:
    """Participation ratio (Σλ)²/Σλ² of the mass matrix's eigenvalues; needs no eigen-solve: (tr M)²/‖M‖_F².

    Args:
        features: Φ, (…, N, n).
        weights: quadrature weights; None is the empirical measure.
        center: subtract the mean of each neuron first (the convention of neuroscience).

    Returns:
        (…) values in [1, n]; 0 where all features vanish.

    Example:
        >>> float(participation_ratio([[1.0, 0.0], [0.0, 1.0]]))
        2.0
    """
    check_flag(center, "center")
    phi, w, _ = check_features(features, weights)
    scaled = weighted_at_unit_scale(phi, w, center)
    matrix = gram(scaled.mT if scaled.shape[-2] < scaled.shape[-1] else scaled)  # of equal trace and norm
    trace = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
    square = (matrix**2).sum((-2, -1))
    return trace**2 / torch.where(square > 0, square, 1.0)


@quantity(symbol="rank", reference="gu1996", fill={"weights": "sample_weights"}, judge=judge_numerical_rank)
def numerical_rank(features: Any, weights: Any = None, *, center: bool = False) -> Any:
    """Numerical rank #{σ_i > max(N, n) u σ_1} of the weighted features, u the unit roundoff of the features' dtype.

    Args:
        features: Φ, (…, N, n).
        weights: quadrature weights; None is the empirical measure.
        center: subtract the mean of each neuron first.

    Returns:
        (…) integers in [0, n].

    Example:
        >>> int(numerical_rank([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]))
        1
    """
    check_flag(center, "center")
    phi, w, dtype = check_features(features, weights)
    sigma = singular_spectrum(weighted_at_unit_scale(phi, w, center)).eigenvalues.sqrt()
    bar = max(phi.shape[-2:]) * torch.finfo(dtype).eps * sigma[..., :1]
    return (sigma > bar).sum(-1)


def seed_epsilon_rank(features: Any, g: Any, eps: float = 1e-3) -> int:
    """The recipe of the source notes, kept for comparison: sort samples by the mean of g, then a trapezoid rule of constant step.

    The rule is only right when the mean of g over its columns is an equispaced grid in one dimension; elsewhere the result depends on
    the scale of g. Use `epsilon_rank` with weights of `theodolite.maths.quadrature` instead.

    Args:
        features: Φ, (N, n).
        g: values (N, d) whose row means order the samples and set the step (max − min)/(N − 1 + 1e-8).
        eps: the threshold ε.

    Returns:
        The number of eigenvalues of DᵀWD greater than ε.

    Cost:
        O(N n²), without the dense N × N weight matrix of the original.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(-1, 1, 50)[:, None]
        >>> seed_epsilon_rank(np.cos(x * np.arange(6)), x)
        4
    """
    phi, _, _ = check_features(features, None)
    values = as_float64(g, "g", ndim=2, device=phi.device)
    if values.shape[0] != phi.shape[0] or phi.ndim != 2:
        raise ArgumentError(f"g must have one row per sample of features {tuple(phi.shape)}, got {tuple(values.shape)}")
    order, index = values.mean(1).sort()
    step = (order[-1] - order[0]) / (len(order) - 1 + 1e-8)
    w = torch.full_like(order, float(step))
    w[0] = w[-1] = step / 2
    matrix = gram(weighted(phi[index], w))
    return int((torch.linalg.eigvalsh(matrix) > eps).sum())


def _mass_matrix(phi: torch.Tensor, w: torch.Tensor | None) -> torch.Tensor:
    """The mass matrix, which shows whether features are finite without a pass of its own: their squares are on its diagonal."""
    matrix = mass_matrix(phi, w)
    if not math.isfinite(matrix.diagonal(dim1=-2, dim2=-1).sum().item()):
        check_finite(phi, "features")
    return matrix


def _eigenvalues(features: Any, weights: Any, center: bool) -> torch.Tensor:
    """Eigenvalues of the mass matrix up to a common factor."""
    check_flag(center, "center")
    phi, w, dtype = check_features(features, weights)
    return mass_spectrum(weighted_at_unit_scale(phi, w, center), dtype).eigenvalues


def _resolved(
    features: Any, weights: Any, eps: float, mode: str, outgoing: Any, allow_underdetermined: bool
) -> tuple[Spectrum, torch.Tensor]:
    """The spectrum that decides the ε-rank, by the cheapest method that resolves ε, and the threshold (…)."""
    phi, w, dtype = check_features(features, weights, finite=False)
    samples, n = phi.shape[-2:]
    if not isinstance(eps, (int, float, np.number)) or not eps > 0:
        raise ArgumentError(f"eps must be positive, got {eps!r}")
    check_choice(mode, "mode", ("absolute", "relative", "function"))
    check_flag(allow_underdetermined, "allow_underdetermined")
    if outgoing is not None and mode != "function":
        raise ArgumentError(f"outgoing weights are used by mode='function' only, got mode={mode!r}")
    if samples < n:
        check_finite(phi, "features")
    if samples < n and not allow_underdetermined:
        raise ArgumentError(
            f"features has fewer samples than neurons, N={samples} < n={n}, so the rank is bounded by N; "
            "give more samples, or pass allow_underdetermined=True"
        )
    if mode == "function":
        check_finite(phi, "features")
        phi = _unit_functions(phi, w) if outgoing is None else _output_functions(weighted(phi, w), outgoing)
        w = phi.new_ones(phi.shape[-2])  # the columns hold the weights already
    if mode == "relative":
        check_finite(phi, "features")
        phi, w = at_unit_scale(phi, (-2, -1)), None if w is None else at_unit_scale(w, (-1,), even=True)
    wide = phi.shape[-2] < n
    found = mass_spectrum(weighted(phi, w), dtype) if wide else gram_spectrum(_mass_matrix(phi, w), dtype)
    threshold = _threshold(found, eps, mode)
    # The Gram matrix squares the condition number: below its floor only the singular values of A itself can tell.
    if bool((threshold <= 1e3 * found.floor / SAFETY).any()):
        found = singular_spectrum(weighted(phi, w), dtype)
        threshold = _threshold(found, eps, mode)
        if bool((threshold <= found.resolution()).any()):
            warnings.warn(
                f"eps={eps:g} is below the resolution {found.resolution().max().item():.1e} of these {dtype} features; "
                "the count is not meaningful there (rank_interval tells which counts are possible)",
                TheodoliteWarning,
                stacklevel=4,
            )
    return found, threshold


def _threshold(found: Spectrum, eps: float, mode: str) -> torch.Tensor:
    largest = found.eigenvalues[..., 0]
    return largest * eps if mode == "relative" else torch.full_like(largest, eps)


def _unit_functions(phi: torch.Tensor, w: torch.Tensor | None) -> torch.Tensor:
    """Columns √w φ_j/‖√w φ_j‖; zero where the neuron vanishes."""
    scaled = weighted(at_unit_scale(phi, (-2,)), None if w is None else at_unit_scale(w, (-1,), even=True))
    norms = scaled.norm(dim=-2, keepdim=True)
    return scaled / torch.where(norms > 0, norms, 1.0)


def _output_functions(scaled: torch.Tensor, outgoing: Any) -> torch.Tensor:
    """Columns √w φ_j β_jk, one block of rows per output k, so that their Gram is M ∘ ββᵀ."""
    n = scaled.shape[-1]
    beta = as_float64(outgoing, "outgoing", at_least=1, device=scaled.device)
    if beta.ndim == 1:
        beta = beta[:, None]
    if beta.shape[-2] != n:
        raise ArgumentError(f"outgoing must have shape ({n},) or ({n}, K), one row per neuron, got {tuple(beta.shape)}")
    blocks = scaled[..., None, :, :] * beta.mT[..., :, None, :]  # (…, K, N, n)
    return blocks.flatten(-3, -2)
