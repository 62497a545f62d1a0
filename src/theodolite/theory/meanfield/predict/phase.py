"""The ordered and the chaotic phase, for one point or for a plane of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.core.errors import ArgumentError
from theodolite.maths.activation import identify
from theodolite.maths.gaussian import check_variance
from theodolite.maths.resolution import Array
from theodolite.theory.meanfield.predict.arguments import broadcasting
from theodolite.theory.meanfield.predict.depth import length_scale
from theodolite.theory.meanfield.predict.fixed_points import fixed_correlation, fixed_variance
from theodolite.theory.meanfield.predict.maps import TINY, chi_1
from theodolite.theory.meanfield.predict.moments import mean, moment_table

__all__ = ["PhaseDiagram", "phase", "phase_diagram"]


@broadcasting("sigma_w2", "sigma_b2")
def phase(activation: Any, sigma_w2: Any, sigma_b2: Any, *, tolerance: float = 1e-7) -> Any:
    """``"ordered"`` (χ₁ < 1: correlations go to 1, gradients vanish), ``"chaotic"`` (χ₁ > 1) or ``"critical"``.

    Args:
        activation: φ.
        sigma_w2: variance of the weights times fan-in.
        sigma_b2: variance of the biases.
        tolerance: |χ₁ − 1| up to which a point counts as critical.

    Returns:
        The name; an array of names where a variance is an array.

    Raises:
        NumericalError: q has no fixed point.
        ArgumentError: arguments out of range.

    Reference: poole2016, Sec. 3.

    Example:
        >>> phase("tanh", 1.3, 0.05), phase("tanh", 2.5, 0.05), phase("relu", 2.0, 0.0)
        ('ordered', 'chaotic', 'critical')
    """
    excess = chi_1(activation, sigma_w2, sigma_b2) - 1.0
    if abs(excess) <= tolerance:
        return "critical"
    return "chaotic" if excess > 0 else "ordered"


@dataclass(frozen=True, repr=False)
class PhaseDiagram:
    """Mean-field theory on a grid; every array has shape (len(sigma_w2), len(sigma_b2)).

    Attributes:
        sigma_w2: variances of the weights, broadcast to the grid.
        sigma_b2: variances of the biases, broadcast to the grid.
        q_star: fixed variances; infinite where the variance diverges.
        chi_1: slopes of the correlation map at 1; where q diverges, their limit for large q.
        c_star: fixed correlations; NaN where q diverges.
        xi_q: depth scale of the variance.
        xi_c: depth scale of the correlation.
        xi_grad: depth scale of the gradient.
    """

    sigma_w2: Array
    sigma_b2: Array
    q_star: Array
    chi_1: Array
    c_star: Array
    xi_q: Array
    xi_c: Array
    xi_grad: Array

    @property
    def phase(self) -> NDArray[np.str_]:
        """Names of the phases."""
        words = np.where(self.chi_1 > 1.0, "chaotic", "ordered")
        return np.where(np.abs(self.chi_1 - 1.0) <= 1e-7, "critical", words)

    def __repr__(self) -> str:
        chaotic = float((self.chi_1 > 1).mean())
        return f"PhaseDiagram({' × '.join(map(str, self.q_star.shape))} points, {chaotic:.0%} chaotic)"


def phase_diagram(activation: Any, sigma_w2: Any, sigma_b2: Any) -> PhaseDiagram:
    """q*, χ₁, c* and all depth scales on a grid of (σ_w², σ_b²).

    Args:
        activation: φ.
        sigma_w2: variances of the weights, shape (m,); or an array that broadcasts with ``sigma_b2``.
        sigma_b2: variances of the biases, shape (n,); two vectors span an (m, n) grid.

    Returns:
        A `PhaseDiagram`. Where the variance diverges q* is infinite, c* NaN.

    Raises:
        ArgumentError: arguments out of range.
        UnsupportedError: φ jumps.

    Cost: a table per activation (0.1 s, and some seconds where variances are so large that Hermite series do not converge, or curved
    pieces meet in kinks), then about 5 µs per point.

    Reference: poole2016, Fig. 1; schoenholz2017, Fig. 1.

    Example:
        >>> plane = phase_diagram("tanh", [1.0, 2.0, 3.0], [0.01, 0.1])
        >>> plane.q_star.shape, plane.phase[:, 0].tolist()
        ((3, 2), ['ordered', 'chaotic', 'chaotic'])
    """
    w, b = check_variance(sigma_w2, "sigma_w2"), check_variance(sigma_b2, "sigma_b2")
    _ = identify(activation).prime  # refuses a φ that jumps, with the reason
    if not w.size or not b.size:
        raise ArgumentError(f"sigma_w2 and sigma_b2 must not be empty, got shapes {w.shape} and {b.shape}")
    if w.ndim == 1 and b.ndim == 1:
        w, b = w[:, None], b[None, :]
    w, b = (np.ascontiguousarray(a) for a in np.broadcast_arrays(w, b))
    q = fixed_variance(activation, w, b, 1.0, diverging=np.inf).ravel()
    finite = np.isfinite(q)
    at = np.where(finite, np.maximum(q, TINY), 2.0**30)
    table = moment_table(activation)
    slope_, (_, growth) = table.slope(at)[0], table.second(at)
    chi = w.ravel() * slope_
    average = _interpolated_mean(activation, at)
    c, chi_c = np.full(q.shape, np.nan), np.full(q.shape, np.nan)
    floor = b.ravel() + w.ravel() * average**2
    c[finite], chi_c[finite] = fixed_correlation(activation, at[finite], w.ravel()[finite], chi[finite], floor[finite])
    parallel = w.ravel() * growth / at
    columns = (q, chi, c, length_scale(parallel), length_scale(chi_c), np.abs(length_scale(chi)))
    return PhaseDiagram(w, b, *(column.reshape(w.shape) for column in columns))


def _interpolated_mean(activation: Any, q: Array) -> Array:
    """E φ(√q z); its square matters only for whether C(0) vanishes, so that odd functions need no table."""
    few = np.unique(q[np.linspace(0, len(q) - 1, min(len(q), 16)).astype(int)])
    if np.abs(mean(activation, few)).max() < 1e-15 * np.sqrt(few.max()):
        return np.zeros_like(q)
    # Without a zero mean C(0) > 0 wherever q > 0, and its size is not needed.
    return np.full_like(q, np.sqrt(q.max()))
