"""Hermite coefficients of an activation, and Gaussian covariances from them by Mehler's formula.

E φ(√q1 u) φ(√q2 v) = Σ_n a_n(q1) a_n(q2) cⁿ,  a_n(q) = E φ(√q z) h_n(z),  h_n the normalised probabilists' Hermite polynomials.

By Parseval E φ² = Σ a_n², so the energy that is missing after N terms bounds the error at every correlation. For an analytic φ it
falls like exp(−const √(N/q)); for a kinked one like a power of N. Away from |c| = 1 that does not matter: whatever φ is, the tail is
below |c|ᴺ of √(E φ(√q1 z)² E φ(√q2 z)²), so that `SHORT` terms are complete to rounding for every |c| ≤ `REACH`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from theodolite.maths.activation import Activation
from theodolite.maths.gaussian import WINDOW, density
from theodolite.maths.resolution import Array

__all__ = ["MOST_TERMS", "REACH", "SOME_TERMS", "hermite_coefficients", "short_coefficients", "slope_coefficients"]

#: Terms after which the series is given up; and where it is for few correlations.
MOST_TERMS, SOME_TERMS = 1536, 512
#: Gauss–Legendre nodes per panel, and entries of a table of polynomials up to which it is kept (16 MB).
NODES, LARGEST_REMEMBERED = 32, 2_000_000
#: Missing energy, relative to E φ² and E φ′², up to which a series counts as converged.
TOLERANCE = 3e-14
#: Terms of a short series, and the correlation up to which it is complete: REACH^SHORT = 3e-17.
SHORT, REACH = 192, 0.82


def _rule(q_most: float, terms: int) -> tuple[Array, Array]:
    """Uniform panels on the window, fine enough for h_n with n ≤ terms and for features of width 1/√q."""
    width = min(1.0, 40.0 / math.sqrt(max(terms, 1)), 1.5 / math.sqrt(max(q_most, 1e-12)))
    # In steps of a quarter octave, so that neighbouring variances share nodes, and with them the polynomials there.
    count = 2 * math.ceil(WINDOW * 2.0 ** (0.25 * math.ceil(-4.0 * math.log2(width))))
    return _panels(count)


@lru_cache(maxsize=32)
def _panels(count: int) -> tuple[Array, Array]:
    edges = np.linspace(-WINDOW, WINDOW, count + 1)
    x, w = np.polynomial.legendre.leggauss(NODES)
    half = 0.5 * np.diff(edges)[:, None]
    z = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * x).ravel()
    return z, (half * w).ravel()


def hermite_coefficients(activation: Activation, q: Array, most: int = MOST_TERMS) -> tuple[Array, bool]:
    """Coefficients a_n(q) of a smooth activation for several variances at once.

    Args:
        activation: φ; one with kinks or jumps is not converged by definition.
        q: variances, shape (m,).
        most: terms after which the series is given up.

    Returns:
        (a, converged): array (m, N), N chosen so that the energies of φ and φ′ are complete to 3e-14; and whether N ≤ ``most`` did.

    Cost: O(N · nodes · m), about 10 ms for one variance and N = 500.

    Example:
        >>> from theodolite.maths.activation import identify
        >>> a, converged = hermite_coefficients(identify("tanh"), np.array([1.0]))
        >>> converged, round(float((a**2).sum()), 12)
        (True, 0.394294490398)
    """
    q = np.asarray(q, dtype=np.float64)
    # Features of width 1/√q need some 100 q terms.
    if activation.splits or not q.size or q.max() > MOST_TERMS:
        return np.zeros((q.size, 1)), False
    terms = 64
    if q.size > 2:
        # The largest variance needs the most terms.
        largest, converged = hermite_coefficients(activation, q[[q.argmax()]], most)
        if not converged:
            return np.zeros((q.size, 1)), False
        terms = largest.shape[1]
    while True:
        z, w = _rule(float(q.max()), terms)
        # sqrt of the density on both factors keeps the recursion within range at every n.
        root = np.sqrt(density(z))
        x = np.sqrt(q)[:, None] * z
        with np.errstate(over="ignore", invalid="ignore"):
            values = activation.function(x) * (w * root)
            energy = (activation.function(x) ** 2) @ (w * density(z))
            slope_energy = q * ((activation.derivative(x) ** 2) @ (w * density(z)))
        if not np.isfinite(values).all():
            return np.zeros((q.size, 1)), False
        a = values @ _polynomials(len(z) // NODES, terms).T
        missing = energy - (a**2).sum(1)
        slope_missing = slope_energy - ((a**2) @ np.arange(terms))
        small = (missing <= TOLERANCE * energy) & (slope_missing <= 4 * TOLERANCE * slope_energy + 1e-300)
        if small.all():
            return a, True
        if terms >= most or not _worthwhile(missing / energy, terms, most):
            return a, False
        terms = min(2 * terms, most)


def _worthwhile(missing: Array, terms: int, most: int) -> bool:
    """Whether exp(−const √N) decay, extrapolated from the energy missing now, can be complete within ``most`` terms."""
    worst = max(float(missing.max()), 1e-16)
    if worst >= 0.5:
        return False
    return math.log(worst) * math.sqrt(most / terms) < math.log(TOLERANCE) + 4.0


@lru_cache(maxsize=8)
def _small(count: int, terms: int) -> Array:
    z, _ = _panels(count)
    return _basis(z, np.sqrt(density(z)), terms)


def _polynomials(count: int, terms: int) -> Array:
    """`_basis` on the nodes of ``count`` panels, remembered while it is small: a recursion asks for the same ones at every layer."""
    if count * NODES * terms <= LARGEST_REMEMBERED:
        return _small(count, terms)
    z, _ = _panels(count)
    return _basis(z, np.sqrt(density(z)), terms)


def _basis(z: Array, root: Array, terms: int) -> Array:
    """h_n(z) √density for n < terms, by the three-term recursion z h_n = √(n+1) h_{n+1} + √n h_{n−1}."""
    basis = np.empty((terms, len(z)))
    basis[0] = root
    if terms > 1:
        basis[1] = z * root
    for n in range(1, terms - 1):
        basis[n + 1] = (z * basis[n] - math.sqrt(n) * basis[n - 1]) / math.sqrt(n + 1.0)
    return basis


def short_coefficients(f: Activation, q: float) -> Array:
    """The first `SHORT` coefficients E f(√q z) h_n(z) of any function, split at its kinks and jumps; for |c| ≤ `REACH`.

    Args:
        f: φ, or its derivative `Activation.prime`.
        q: variance.

    Returns:
        Array (SHORT,).

    Cost: about a millisecond.

    Example:
        >>> from theodolite.maths.activation import identify
        >>> a = short_coefficients(identify("relu"), 1.0)
        >>> round(float(a[0] * np.sqrt(2 * np.pi)), 12), round(float(a[1]), 12)
        (1.0, 0.5)
    """
    root = math.sqrt(max(q, 1e-300))
    features = np.clip(f.panels(WINDOW * root) / root, -WINDOW, WINDOW)
    # Unit panels, because h_n has some √n zeros per unit.
    breaks = np.unique(np.concatenate([np.arange(-WINDOW, WINDOW + 1.0), features]))
    x, w = np.polynomial.legendre.leggauss(NODES)
    half = 0.5 * np.diff(breaks)[:, None]
    z = (0.5 * (breaks[1:] + breaks[:-1])[:, None] + half * x).ravel()
    weight = np.sqrt(density(z))
    return np.asarray(_basis(z, weight, SHORT) @ (f.function(math.sqrt(q) * z) * (half * w).ravel() * weight))


def slope_coefficients(a: Array, q: Array) -> Array:
    """Coefficients of φ′(√q z): √q d_n = √(n+1) a_{n+1}."""
    n = np.arange(1, a.shape[1])
    return a[:, 1:] * np.sqrt(n) / np.sqrt(np.maximum(q, 1e-300))[:, None]
