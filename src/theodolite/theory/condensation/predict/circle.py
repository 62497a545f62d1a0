"""Attracting orientations for one-dimensional inputs: everything happens on the circle, and is solved exactly.

A point of the circle is u(θ) = (cos θ, sin θ) = (w, b)/‖(w, b)‖; an input x enters as (x, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from theodolite.theory.condensation.predict.multiplicity import LeadingTerm

__all__ = ["Extrema", "extrema_of_pieces", "monomial_extrema", "sector_extrema"]

Array = npt.NDArray[np.float64]

TURN = 2 * np.pi
#: Two roots nearer than this (radians) are one multiple root, at which Φ need not have an extremum.
COINCIDENT = 1e-6


@dataclass(frozen=True)
class Extrema:
    """Angles of local maxima and minima on the circle, each with the share of the circle whose flow ends there."""

    maxima: Array
    minima: Array
    basin_maxima: Array
    basin_minima: Array


def extrema_of_pieces(angles: Array, slopes: npt.NDArray[np.int_]) -> Extrema:
    """Extrema of a function on the circle that is monotone between consecutive ``angles``.

    Args:
        angles: (K,) increasing in [0, 2π).
        slopes: (K,) sign of the derivative on the piece from angle k to angle k + 1 (cyclically); 0 where it is flat.
    """
    found: dict[int, tuple[list[float], list[float]]] = {1: ([], []), -1: ([], [])}
    count = len(angles)
    lengths = np.diff(np.append(angles, angles[:1] + TURN)) if count else np.empty(0)
    for k in range(count):
        before = int(slopes[k - 1])
        if before == 0 or int(slopes[k]) != -before:
            continue
        reach = 0.0
        j = k - 1
        while slopes[j % count] == before and k - j <= count:  # uphill pieces behind (downhill ones for a minimum)
            reach += lengths[j % count]
            j -= 1
        j = k
        while slopes[j % count] == -before and j - k < count:
            reach += lengths[j % count]
            j += 1
        found[before][0].append(float(angles[k]))
        found[before][1].append(reach / TURN)
    return Extrema(np.array(found[1][0]), np.array(found[-1][0]), np.array(found[1][1]), np.array(found[-1][1]))


def monomial_extrema(x: Array, y: Array, p: int) -> tuple[Extrema, bool]:
    """Extrema of Φ_p(θ) = (1/n) Σ_i y_i (x_i cos θ + sin θ)^p, and whether Φ_p is constant.

    With x_i = ρ_i (cos φ_i, sin φ_i), Φ_p is a trigonometric polynomial with the frequencies p, p − 2, …, −p, so its critical
    angles are the roots on the unit circle of a polynomial of degree p in e^{2iθ}: at most p lines, an orientation and its
    opposite each, whatever the data.

    Args:
        x: (n, 2) inputs with the bias folded in.
        y: (n,).
        p: multiplicity, at least 1.
    """
    rho, phi = np.hypot(x[:, 0], x[:, 1]), np.arctan2(x[:, 1], x[:, 0])
    frequency = p - 2 * np.arange(p + 1)
    binomial = np.array([1.0])
    for k in range(1, p + 1):
        binomial = np.append(binomial, binomial[-1] * (p - k + 1) / k)
    moments = (y * rho**p) @ np.exp(-1j * np.outer(phi, frequency)) / len(y)
    fourier = binomial / 2.0**p * moments
    varying = np.abs(fourier) * (frequency != 0)
    scale = np.mean(np.abs(y) * rho**p)
    if varying.max() <= 1e-10 * scale or scale == 0.0:
        return Extrema(*(np.empty(0) for _ in range(4))), True

    def derivative(theta: Array, order: int) -> Array:
        waves = np.exp(1j * np.outer(theta, frequency))
        return np.real(waves @ ((1j * frequency) ** order * fourier))

    roots = np.roots(frequency * fourier)  # highest power of e^{2iθ} first, as np.roots wants it
    roots = roots[np.abs(np.abs(roots) - 1) < 1e-4]
    lines = np.angle(roots) / 2
    for _ in range(4):  # Newton; a multiple root is left where it is
        curvature = derivative(lines, 2)
        steep = np.abs(curvature) > 1e-7 * scale * p**2
        lines = lines - np.where(steep, derivative(lines, 1) / np.where(steep, curvature, 1.0), 0.0)
    angles = np.sort(np.concatenate([lines, lines + np.pi]) % TURN)
    if not len(angles):
        return Extrema(*(np.empty(0) for _ in range(4))), True
    gaps = np.diff(np.append(angles, angles[0] + TURN))
    angles = angles[gaps > COINCIDENT]
    middle = angles + np.diff(np.append(angles, angles[:1] + TURN)) / 2
    return extrema_of_pieces(angles, np.sign(derivative(middle, 1)).astype(int)), False


def sector_extrema(x: Array, y: Array, term: LeadingTerm) -> tuple[Extrema, bool]:
    """Extrema of G(θ) = (1/n) Σ_i y_i φ(u·x_i) for a kinked φ of order one (ReLU: φ(z) = z₊), and whether G is constant.

    The 2n angles at which some u·x_i vanishes cut the circle into sectors. In a sector G(u) = u·D with a constant vector D, so
    it has an extremum inside iff ±D/|D| lies in it; on a cut, iff the slope changes sign there. Where D = 0 neurons are dead.

    Args:
        x: (n, 2) inputs with the bias folded in.
        y: (n,).
        term: leading term of order 1.

    Cost: O(n²) additions, blockwise.
    """
    phi = np.arctan2(x[:, 1], x[:, 0])
    cuts = np.unique(np.round(np.concatenate([phi - np.pi / 2, phi + np.pi / 2]) % TURN, 14))
    widths = np.diff(np.append(cuts, cuts[0] + TURN))
    cuts = cuts[widths > 1e-13]
    ends = np.append(cuts[1:], cuts[0] + TURN)
    middle = 0.5 * (cuts + ends)
    fields = np.concatenate(
        [
            (term.slope(np.stack([np.cos(part), np.sin(part)], 1) @ x.T) * y) @ x / len(y)
            for part in np.array_split(middle, max(1, len(middle) * len(y) // 2_000_000))
        ]
    )  # (sectors, 2)
    scale = np.mean(np.abs(y) * np.hypot(x[:, 0], x[:, 1])) * max(abs(term.left), abs(term.right))
    length = np.hypot(fields[:, 0], fields[:, 1])
    alive = length > 1e-11 * scale
    top = np.arctan2(fields[:, 1], fields[:, 0])
    breaks = [cuts]
    for extremum in (top, top + np.pi):
        inside = cuts + (extremum - cuts) % TURN
        breaks.append(inside[alive & (inside > cuts + 1e-12) & (inside < ends - 1e-12)] % TURN)
    angles = np.sort(np.concatenate(breaks))
    centre = angles + np.diff(np.append(angles, angles[:1] + TURN)) / 2
    sector = np.searchsorted(cuts, centre % TURN, side="right") - 1  # −1 is the last sector, which wraps around
    slope = length[sector] * np.sin(top[sector] - centre)
    signs = np.where(alive[sector], np.sign(slope), 0).astype(int)
    found = extrema_of_pieces(angles, signs)
    return found, not (len(found.maxima) or len(found.minima))
