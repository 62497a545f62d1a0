"""Test error of least squares on random features: deterministic equivalents and exact finite formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.arrays import on_host
from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.theory.generalization.predict.labelled import as_matrix

__all__ = ["FeatureRisk", "gaussian_features_risk", "random_features_risk"]


@dataclass(frozen=True)
class FeatureRisk:
    """Predicted errors of random-feature regression; floats, or arrays over the numbers of features.

    Attributes:
        test_mse: expected squared error on a new noisy sample.
        train_mse: expected mean squared error on the training samples.
        gamma: γ, the effective regularisation of the eigenvalues: modes with λ_i ≫ γ are learned.
        kappa: κ, that of the kernel of the finitely many features.
        learned: z = Σ λ_i/(λ_i + γ), the effective number of learned modes; min(n, N) without ridge.
    """

    test_mse: Any
    train_mse: Any
    gamma: Any
    kappa: Any
    learned: Any


def gaussian_features_risk(samples: int, features: Any, *, seen: Any, unseen: Any = 0.0, noise: float = 0.0) -> Any:
    """Exact test error of minimum-norm least squares on p of D Gaussian features, y = x·β + noise.

    With β_T the coefficients on the p chosen features and s² = ‖β_Tᶜ‖² + σ²,

        p ≤ n − 2:            s² (1 + p/(n − p − 1))
        n − 1 ≤ p ≤ n + 1:    ∞
        p ≥ n + 2:            ‖β_T‖² (1 − n/p) + s² (1 + n/(p − n − 1)).

    Exact for every finite n, p (independent standard normal features), not an asymptotic formula.

    Args:
        samples: n.
        features: p ≥ 0, a number or an array.
        seen: ‖β_T‖², likewise (broadcast).
        unseen: ‖β_Tᶜ‖², likewise.
        noise: σ², the variance of the label noise.

    Returns:
        E (y − prediction)² on a new noisy sample; float, or array for arrays.

    Raises:
        ArgumentError: negative or non-finite arguments.

    Reference: belkin2020two Thm 1.

    Example:
        >>> gaussian_features_risk(40, [10, 40, 80], seen=[0.125, 0.5, 1.0], unseen=[0.875, 0.5, 0.0]).round(4).tolist()
        [1.1767, inf, 0.5]
    """
    named = {"features": features, "seen": seen, "unseen": unseen}
    p, on, off = np.broadcast_arrays(*(_numbers(value, name, 0) for name, value in named.items()))
    n, s2 = _number(samples, "samples", 1), off + _number(noise, "noise", 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = s2 * (1 + p / (n - p - 1))
        above = on * (1 - n / p) + s2 * (1 + n / (p - n - 1))
    at = np.where(s2 > 0, np.inf, np.where(p < n, 0.0, on * np.maximum(0.0, 1 - n / np.maximum(p, 1))))
    risk = np.where(p <= n - 2, below, np.where(p >= n + 2, above, at))
    return float(risk) if risk.ndim == 0 else risk


def random_features_risk(
    eigenvalues: Any,
    coefficients2: Any,
    samples: int,
    features: Any,
    *,
    ridge: float = 0.0,
    noise: float = 0.0,
    tail: float = 0.0,
) -> FeatureRisk:
    """Deterministic equivalent of the errors of (ridge) least squares on N random features.

    Let the mean kernel E φ(x)φ(x′) have eigenvalues λ_i and the target the coefficients v_i in its eigenfunctions. With n
    samples, N features and the penalty ridge·‖a‖² on the summed squared error (δ = ridge/N on the normalised kernel), κ and γ
    solve

        n = Σ λ_i/(λ_i + γ) + δ/κ,        N = Σ λ_i/(λ_i + γ) + N κ/γ,

    and with z = Σ λ_i/(λ_i + γ), q = Σ (λ_i/(λ_i + γ))²

        E_test = [Σ (γ/(λ_i + γ) − κ λ_i/(λ_i + γ)² · N/(N − q)) v_i² + σ²] / (1 − (q (N − 2z) + z²)/(n (N − q))),
        E_train = (δ/(n κ))² E_test.

    Without ridge z = min(n, N), and E_test diverges at N = n when σ² > 0 or the target has a part that is not learned. N = ∞
    is kernel (ridge) regression. Valid asymptotically for features that behave like Gaussian ones with the same covariance
    (n, N and the number of relevant modes large together); for isotropic data and a linear target it is the theorem of Mei and
    Montanari.

    Args:
        eigenvalues: ``(M,)``, λ_i > 0.
        coefficients2: ``(M,)``, v_i²; energy of the target outside the modes belongs into ``noise``, which then stands for both.
        samples: n.
        features: N, a number or an array; ``numpy.inf`` for the kernel limit.
        ridge: λ ≥ 0, as in `double_descent`.
        noise: σ², label noise plus the energy of the target in the tail.
        tail: Σ λ_i over infinitely many further eigenvalues, each negligible; they act as a ridge of their own.

    Returns:
        `FeatureRisk`: floats, or arrays over ``features``.

    Raises:
        ArgumentError: negative or non-finite arguments (but for N = ∞) or shapes that do not match; or, without ridge and tail,
            fewer modes than min(n, N).
        NumericalError: no γ within the range of floats solves the equations.

    Cost: O(M) per step of a bracketing root search, per number of features.

    Reference: simon2024 Eq. 5–8 (the framework); mei2022 Thm 2 (its isotropic case).

    Example:
        >>> risk = random_features_risk(np.full(100, 0.01), np.full(100, 0.01), 300, [150.0, 300.0, 3000.0], tail=0.5, noise=0.01)
        >>> bool(risk.test_mse[1] > 5 * risk.test_mse[2]), risk.learned.round(9).tolist()
        (True, [150.0, 300.0, 300.0])
    """
    lam, v2 = as_matrix(eigenvalues, "eigenvalues", ndim=1), as_matrix(coefficients2, "coefficients2", ndim=1)
    if lam.shape != v2.shape:
        raise ArgumentError(f"eigenvalues and coefficients2 must have one entry per mode, got {lam.shape} and {v2.shape}")
    if np.any(lam <= 0) or np.any(v2 < 0):
        raise ArgumentError("eigenvalues must be positive and coefficients2 non-negative; drop modes with eigenvalue 0")
    counts, n = _numbers(features, "features", 1, infinite=True), _number(samples, "samples", 1)
    penalty, sigma2, rest = (_number(v, name, 0) for name, v in {"ridge": ridge, "noise": noise, "tail": tail}.items())
    rows = [_risk(lam, v2, n, float(count), penalty, sigma2, rest) for count in np.atleast_1d(counts).ravel()]
    columns = [np.array(column).reshape(counts.shape) for column in zip(*rows, strict=True)]
    return FeatureRisk(*(float(c) if counts.ndim == 0 else c for c in columns))


def _numbers(value: Any, name: str, least: float, infinite: bool = False) -> np.ndarray:
    """A number or an array of them as float64; a missing value (None, NaN) would make a root search run for ever."""
    try:
        array = np.asarray(on_host(value))
    except ValueError:  # rows of unequal length
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise ArgumentError(f"{name} must be a real number or an array of them, got {value!r}")
    array = array.astype(np.float64)
    good = (array >= least) & (np.isfinite(array) | (infinite & np.isposinf(array)))
    if not good.all():
        finite = "" if infinite else " and finite"
        raise ArgumentError(f"{name} must be at least {least:g}{finite}, got {array[~good].ravel()[0]}")
    return array


def _number(value: Any, name: str, least: float) -> float:
    array = _numbers(value, name, least)
    if array.size != 1:
        raise ArgumentError(f"{name} must be one number, got shape {array.shape}")
    return float(array.item())


def _risk(
    lam: np.ndarray, v2: np.ndarray, n: float, count: float, ridge: float, noise: float, tail: float
) -> tuple[float, float, float, float, float]:
    """(test, train, γ, κ, z) for one number of features."""
    infinite = np.isinf(count)
    delta = ridge if infinite else ridge / count
    gamma = _gamma(lam, n, count, delta, tail)
    share = lam / (lam + gamma)
    z, q = float(share.sum()) + tail / gamma, float((share**2).sum())
    if ridge == 0:
        z = min(n, count)
    # κ = γ(1 − z/N) and n − z = δ/κ; of the two forms of each the one that does not cancel.
    if n < count:
        kappa = gamma * (1 - z / count)
        rest = delta / kappa
    else:
        rest = n - z
        kappa = delta / rest if rest > 0 else gamma * (1 - z / count)
    # With N = ∞: N/(N − q) = 1 and (q(N − 2z) + z²)/(N − q) = q.
    inflate, used = (1.0, q) if infinite else (count / (count - q), (q * (count - 2 * z) + z**2) / (count - q))
    missed = gamma / (lam + gamma) - kappa * lam / (lam + gamma) ** 2 * inflate
    numerator = float(missed @ v2) + noise
    room = 1 - used / n
    if room <= 1e-14:
        return (np.inf if numerator > 0 else 0.0), 0.0, gamma, kappa, z
    test = numerator / room
    return test, (rest / n) ** 2 * test, gamma, kappa, z


def _gamma(lam: np.ndarray, n: float, count: float, delta: float, tail: float) -> float:
    """The root γ of z(γ) + δ/κ(γ) = n, with κ = γ(1 − z/N); of z(γ) = min(n, N) without ridge."""

    def learned(gamma: float) -> float:
        return float((lam / (lam + gamma)).sum()) + tail / gamma

    least = min(n, count)
    if delta == 0:
        if tail == 0 and len(lam) <= least:
            raise ArgumentError(
                f"without ridge and tail there must be more modes than min(samples, features) = {least:g}, got {len(lam)} "
                "eigenvalues; pass the tail or a ridge"
            )
        return _decreasing_root(lambda gamma: learned(gamma) - least)
    # κ > 0 needs z < N, that is γ above the root of z(γ) = N, where there is one.
    bounded = np.isfinite(count) and (tail > 0 or len(lam) > count)
    floor = _decreasing_root(lambda gamma: learned(gamma) - count) if bounded else 0.0

    def excess(gamma: float) -> float:
        kappa = gamma * (1 - learned(gamma) / count)
        return learned(gamma) + delta / kappa - n if kappa > 0 else np.inf

    return floor if floor > 0 and excess(floor * (1 + 1e-13)) < 0 else _decreasing_root(excess, floor * (1 + 1e-13))


def _decreasing_root(f: Callable[[float], float], least: float = 0.0) -> float:
    """The root above ``least`` of a decreasing function of a positive number that starts positive there, on a log scale."""
    from scipy.optimize import brentq

    low = high = max(least, 1e-300) if least > 0 else 1.0
    while np.isfinite(high) and not f(high) <= 0:
        high *= 8
    while least == 0 and low > 0 and not f(low) > 0:
        low /= 8
    if not (low > 0 and np.isfinite(high)):
        raise NumericalError(
            "no effective regularisation within the range of floats solves n = z(γ) + δ/κ(γ); rescale the eigenvalues"
        )
    return float(np.exp(brentq(lambda log: min(f(np.exp(log)), 1e300), np.log(low), np.log(high), xtol=1e-15, rtol=8.9e-16)))
