"""Dynamical isometry: the spectrum of JJᵀ for the input–output Jacobian J = D_L W_L … D_1 W_1 at initialisation.

D_l = diag φ′(z_l), W_l square with Gaussian entries of variance σ_w²/N or σ_w times a Haar orthogonal matrix; N → ∞ first, all
factors free (Pennington et al. 2017, 2018; proved by Pastur 2020 and Collins & Hayase 2023), variance already at its fixed point q.
The spectrum is that of squared singular values of J.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from theodolite.core.arrays import on_host
from theodolite.core.errors import ArgumentError
from theodolite.maths.activation import Activation, identify
from theodolite.maths.free_layers import free_product_density, free_product_moments
from theodolite.maths.free_product import product_density, product_edge
from theodolite.maths.gaussian import check_variance
from theodolite.maths.resolution import Array
from theodolite.maths.squared_slope import SquaredSlope
from theodolite.theory.meanfield.predict.arguments import broadcasting, check_count, common_shape
from theodolite.theory.meanfield.predict.moments import fourth_slope_moment, slope_moment
from theodolite.theory.meanfield.predict.slope_density import slope_density

__all__ = [
    "JacobianMoments",
    "SpectralEdges",
    "fuss_catalan_moment",
    "isometry_variance",
    "jacobian_density",
    "jacobian_moments",
    "layers_density",
    "layers_moments",
    "residual_edges",
    "s_max",
    "universality",
]

Weights = Literal["gaussian", "orthogonal"]


def _is_gaussian(weights: str) -> bool:
    if weights not in ("gaussian", "orthogonal"):
        raise ArgumentError(f"weights must be 'gaussian' or 'orthogonal', got {weights!r}")
    return weights == "gaussian"


@dataclass(frozen=True)
class JacobianMoments:
    """Moments of the spectrum of JJᵀ.

    Attributes:
        mean: (σ_w² E φ′²)^L = χ₁^L.
        variance: mean² · L · (E φ′⁴/(E φ′²)² − 1 − s₁), s₁ = −1 for Gaussian weights and 0 for orthogonal ones.
    """

    mean: Any
    variance: Any


def _depths(depth: Any) -> Array:
    return np.asarray(np.vectorize(functools.partial(check_count, name="depth"), otypes=[float])(depth))


def jacobian_moments(activation: Any, q: Any, sigma_w2: Any, depth: Any, weights: Weights = "gaussian") -> JacobianMoments:
    """Mean and variance of the spectrum of JJᵀ; exact for free factors at every depth.

    Args:
        activation: φ.
        q: variance of all pre-activations, usually q*.
        sigma_w2: variance of the weights times fan-in (orthogonal: squared gain).
        depth: number of layers L; q, sigma_w2 and depth broadcast.
        weights: ``"gaussian"`` or ``"orthogonal"``.

    Raises:
        ArgumentError: arguments out of range.
        UnsupportedError: φ jumps.

    Reference: pennington2018, Eq. 21.

    Example:
        >>> moments = jacobian_moments("relu", 1.0, 2.0, depth=8, weights="orthogonal")
        >>> moments.mean, round(moments.variance, 12)
        (1.0, 8.0)
    """
    gaussian = _is_gaussian(weights)
    v, w = check_variance(q, positive=True), check_variance(sigma_w2, "sigma_w2")
    layers = _depths(depth)
    common_shape(q=v, sigma_w2=w, depth=layers)
    first, second = slope_moment(activation, v), fourth_slope_moment(activation, v)
    mean = (w * first) ** layers
    variance = mean**2 * layers * (second / first**2 - 1.0 + (1.0 if gaussian else 0.0))
    if all(np.ndim(a) == 0 for a in (q, sigma_w2, depth)):
        return JacobianMoments(float(mean), float(variance))
    return JacobianMoments(mean, variance)


def isometry_variance(activation: Any, q: Any, depth: Any) -> Any:
    """σ₀² = L (E φ′⁴/(E φ′²)² − 1): relative spectral variance with orthogonal weights, which decides the shape at large depth.

    Raises:
        ArgumentError: arguments out of range.

    Reference: pennington2018, Sec. 3.

    Example:
        >>> round(isometry_variance("tanh", 0.05, 32), 12)
        0.426234332699
    """
    moments = jacobian_moments(activation, q, 1.0, depth, "orthogonal")
    return moments.variance / moments.mean**2


def jacobian_density(lam: Any, activation: Any, q: Any, depth: Any, weights: Weights = "gaussian") -> Any:
    """Density of the spectrum of JJᵀ at squared singular values ``lam``, at the critical gain σ_w² = 1/E φ′².

    Only the continuous part: piecewise-linear activations add an atom at 0 (the largest over layers of the saturated fraction) and,
    with orthogonal weights and few saturated units, one at the upper edge. Right also where the solution of the spectral equation
    runs along the support of φ′², in the thin tails, where a fixed quadrature errs by percents.

    Args:
        lam: squared singular values, number or array.
        activation: φ.
        q: variance of all pre-activations.
        depth: number of layers; lam, q and depth broadcast.
        weights: ``"gaussian"`` or ``"orthogonal"``.

    Returns:
        A float for numbers, else an array; 0 outside the support, and infinite nowhere: atoms are left out.

    Raises:
        ArgumentError: arguments out of range.
        NumericalError: the spectral equation could not be solved at some point; it is named.

    Cost: about 0.2 s for 400 points, whatever the depth.

    Reference: pennington2018, Sec. 4.

    Example:
        >>> round(jacobian_density(1.0, "identity", 1.0, 1), 10) == round(3**0.5 / (2 * np.pi), 10)
        True
    """
    gaussian = _is_gaussian(weights)
    points, variances, layers = _points(lam), check_variance(q, positive=True), _depths(depth)
    shape = common_shape(lam=points, q=variances, depth=layers)
    points, variances, layers = (np.broadcast_to(a, shape) for a in (points, variances, layers))
    density = np.zeros(points.shape)
    for v, count in {(float(v), int(n)) for v, n in zip(variances.flat, layers.flat, strict=True)}:
        here = (variances == v) & (layers == count)
        density[here] = _density(points[here], identify(activation), v, count, gaussian)
    return float(density) if points.ndim == 0 else density


def _points(lam: Any) -> Array:
    points = np.asarray(on_host(lam))
    if points.dtype.kind not in "iuf" or not np.isfinite(points).all():
        raise ArgumentError(f"lam must be finite and real, got {lam!r}")
    return points.astype(np.float64)


def _density(points: Array, phi: Activation, q: float, depth: int, gaussian: bool) -> Array:
    y = SquaredSlope(phi, q)
    gain2 = 1.0 / y.moment(1)
    if not gaussian and y.discrete is not None and np.count_nonzero(y.discrete[1]) == 1:
        return np.zeros(len(points))  # |φ′| is constant: one atom
    if not gaussian and depth == 1:  # W drops out, and the equation has no continuous solution at the real axis
        return slope_density(points, phi, q, gain2)
    return product_density(points, y, gain2, depth, gaussian=gaussian)


@broadcasting("q", "depth")
def s_max(activation: Any, q: Any, depth: Any, weights: Weights = "gaussian") -> Any:
    """Upper edge of the spectrum of JJᵀ (the largest *squared* singular value), at the critical gain σ_w² = 1/E φ′².

    (L+1)^{L+1}/L^L for linear Gaussian nets, L^L/(L−1)^{L−1} for ReLU with orthogonal weights: both grow like e·L, so that neither
    gives isometry. Bounded only for orthogonal weights and L (E φ′⁴/(E φ′²)² − 1) bounded; infinite where φ′ is unbounded.

    Args:
        activation: φ.
        q: variance of all pre-activations, number or array.
        depth: number of layers, number or array.
        weights: ``"gaussian"`` or ``"orthogonal"``.

    Returns:
        A float for numbers, else an array.

    Raises:
        ArgumentError: arguments out of range.

    Reference: pennington2017, Eqs. 14 and 17.

    Example:
        >>> round(s_max("relu", 1.0, 2, "orthogonal"), 9), round(s_max("identity", 1.0, 1), 9)
        (4.0, 4.0)
    """
    gaussian = _is_gaussian(weights)
    y = SquaredSlope(identify(activation), float(check_variance(q, positive=True)))
    return product_edge(y, 1.0 / y.moment(1), check_count(depth, "depth"), gaussian=gaussian)


@dataclass(frozen=True)
class SpectralEdges:
    """Edges in squared singular values.

    Attributes:
        s_max: upper edge.
        s_min: lower edge; 0 where the spectrum reaches 0.

    Arrays where the argument was one.
    """

    s_max: Any
    s_min: Any


@broadcasting("variance")
def universality(variance: Any, kind: Literal["smooth", "bernoulli"] = "smooth") -> SpectralEdges:
    """Edges of the universal spectra at infinite depth, when σ₀² = L (E φ′⁴/(E φ′²)² − 1) has a limit.

    Smooth class (tanh, erf, smoothed ReLU), S = exp(−σ₀² z): λ± = (1 + z±)/z± · exp(σ₀² z±), z± = (−1 ± √(1 + 4/σ₀²))/2. Bernoulli
    class (hard tanh, shifted ReLU), S = exp(−σ₀² z/(1 + z)): exp(σ₀²), an atom of mass 1 − σ₀², for σ₀² ≤ 1, and e σ₀² above; its
    spectrum reaches down to 0. Convergence is slow, O(1/√L).

    Args:
        variance: σ₀², positive; number or array.
        kind: the class.

    Raises:
        ArgumentError: arguments out of range.

    Reference: pennington2018, Sec. 4.2 and 4.3.

    Example:
        >>> edges = universality(0.25)
        >>> round(edges.s_max, 10), round(edges.s_min, 10)
        (2.4237626004, 0.3213189208)
    """
    v = float(check_variance(variance, "variance", positive=True))
    if kind == "smooth":
        root = math.sqrt(1.0 + 4.0 / v)
        upper, lower = 0.5 * (root - 1.0), -0.5 * (root + 1.0)
        return SpectralEdges((1.0 + upper) / upper * math.exp(v * upper), (1.0 + lower) / lower * math.exp(v * lower))
    if kind == "bernoulli":
        return SpectralEdges(math.exp(v) if v <= 1.0 else math.e * v, 0.0)
    raise ArgumentError(f"kind must be 'smooth' or 'bernoulli', got {kind!r}")


@broadcasting("branch_variance")
def residual_edges(branch_variance: Any) -> SpectralEdges:
    """Edges of the spectrum of JJᵀ for J = ∏(I + W_l), weights of total variance c = ``branch_variance``, depth to infinity.

    S = exp(−c(1 + 2z)): mean eᶜ, relative variance 2c, and the edges are those of the smooth class at σ₀² = 2c, times eᶜ.

    Raises:
        ArgumentError: not positive.

    Reference: tarnowski2019.

    Example:
        >>> edges = residual_edges(0.5)
        >>> round(edges.s_max, 3), round(edges.s_min, 5)
        (8.008, 0.12487)
    """
    c = float(check_variance(branch_variance, "branch_variance", positive=True))
    edges = universality(2.0 * c, "smooth")
    return SpectralEdges(math.exp(c) * edges.s_max, math.exp(c) * edges.s_min)


def fuss_catalan_moment(k: int, depth: int) -> float:
    """k-th moment of JJᵀ for a linear net of ``depth`` Gaussian layers, σ_w² = 1: C((L+1)k, k)/(Lk + 1).

    Example:
        >>> [fuss_catalan_moment(k, 1) for k in (1, 2, 3)]
        [1.0, 2.0, 5.0]
    """
    return float(math.comb((depth + 1) * k, k)) / (depth * k + 1)


def _factors(singular_values: Sequence[Any], slopes: Sequence[Any]) -> list[Array]:
    if not len(singular_values):
        raise ArgumentError("singular_values must hold one array per layer, got none")
    factors = []
    for name, values in (("singular_values", singular_values), ("slopes", slopes)):
        for i, v in enumerate(values):
            squared = np.square(np.asarray(on_host(v), dtype=np.float64)).ravel()
            if not squared.size or not np.isfinite(squared).all() or squared.mean() == 0:
                raise ArgumentError(f"{name}[{i}] must hold finite numbers that are not all 0")
            factors.append(squared)
    return factors


def layers_moments(singular_values: Sequence[Any], slopes: Sequence[Any] = ()) -> JacobianMoments:
    """Mean and variance of the spectrum of JJᵀ from what the layers of a (trained) network have.

    Assumes only that the factors are free: their singular vectors are in general position with respect to each other.

    Args:
        singular_values: one array per weight matrix (square ones).
        slopes: one array of φ′(z) per activation layer, over units (and inputs).

    Raises:
        ArgumentError: an empty or non-finite array.

    Example:
        >>> layers_moments([[1.0, 1.0], [2.0, 2.0]]).mean
        4.0
    """
    return JacobianMoments(*free_product_moments(_factors(singular_values, slopes)))


def layers_density(lam: Any, singular_values: Sequence[Any], slopes: Sequence[Any] = (), *, smoothing: float = 1e-2) -> Any:
    """Density of the spectrum of JJᵀ from the singular values and slopes of a (trained) network's layers.

    The S-transforms of the samples are multiplied. Trained weights are no longer Gaussian; their measured spectra are all that
    this prediction uses, besides freeness, so that what it misses is alignment between layers.

    Args:
        lam: squared singular values of J, number or array.
        singular_values: one array per weight matrix (square ones).
        slopes: one array of φ′(z) per activation layer.
        smoothing: relative resolution in λ.

    Raises:
        ArgumentError: an empty or non-finite array.
        NumericalError: the spectral equation could not be solved.

    Cost: O(points × total sample size) per step, about 30 steps.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> s = np.linalg.svd(rng.standard_normal((200, 200)) / 200**0.5, compute_uv=False)
        >>> bool(abs(layers_density(1.0, [s], smoothing=0.1) - 3**0.5 / (2 * np.pi)) < 0.02)
        True
    """
    points = _points(lam)
    density = free_product_density(points.ravel(), _factors(singular_values, slopes), smoothing)
    return float(density[0]) if points.ndim == 0 else density.reshape(points.shape)
