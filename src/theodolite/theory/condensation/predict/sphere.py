"""Attracting orientations for inputs of any dimension: projected flow from many starts, then an exact polish.

Orientations follow u′ = ± P_u ∇Φ(u), P_u = I − u uᵀ, up to a positive factor; so the flow's orbits, and with them the basins,
depend on Φ alone. From many uniform starts the flow is followed by arc length; its end points are grouped and polished by the
symmetric higher-order power method with adaptive shift. At kinks of order one the flow is exact, arc by arc (`ridges`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from theodolite.theory.condensation.predict.multiplicity import LeadingTerm

__all__ = ["Attractors", "Potential", "attractors"]

Array = npt.NDArray[np.float64]

#: Arc-length step of the flow in radians, and how many at most.
STEP, STEPS = 0.05, 200
#: A start whose step has been halved below this share has arrived.
SETTLED = 0.2
#: Starts times samples that are followed together: their temporaries stay in the cache.
BLOCK = 16_384
#: Orientations nearer than this (radians) after the flow belong to one attractor.
GROUP = 0.1
#: Orientations nearer than this after the polish are the same.
SAME = 1e-5


@dataclass(frozen=True)
class Potential:
    """Φ(u) = (1/n) Σ_i y_i φ(u·x_i) for a homogeneous φ.

    Attributes:
        x: (n, D) inputs with the bias folded in.
        y: (n,).
        term: φ.
    """

    x: Array
    y: Array
    term: LeadingTerm

    def value(self, u: Array) -> Array:
        """Φ at rows of u, (S,)."""
        return self.term.value(u @ self.x.T) @ self.y / len(self.y)

    def gradient(self, u: Array) -> Array:
        """∇Φ at rows of u, (S, D)."""
        return (self.term.slope(u @ self.x.T) * self.y) @ self.x / len(self.y)

    def curvature(self, u: Array) -> Array:
        """Hessian of Φ at one smooth point u, (D, D); order at least 2."""
        return (self.x.T * (self.term.second(self.x @ u) * self.y)) @ self.x / len(self.y)

    @property
    def size(self) -> float:
        """An upper bound of |Φ| on the sphere."""
        bound = max(abs(self.term.left), abs(self.term.right))
        return float(bound * np.mean(np.abs(self.y) * np.linalg.norm(self.x, axis=1) ** self.term.order))


@dataclass(frozen=True)
class Attractors:
    """Local maxima of a potential on the sphere.

    Attributes:
        vectors: (K, D) unit orientations.
        basin: (K,) share of the sphere whose flow ends there.
        flat: whether some end point is not isolated (a direction of no curvature): a continuum of extrema.
        lost: share of the starts that end at no isolated maximum (dead sectors, half-stable points).
    """

    vectors: Array
    basin: Array
    flat: bool
    lost: float


def attractors(potential: Potential, starts: Array) -> Attractors:
    """Local maxima of Φ on the unit sphere that the flow reaches from ``starts`` (S, D).

    Cost: O(S n D) per step, some 40 steps; at kinks O(n D) per arc, some n/4 arcs per start.
    """
    if potential.term.order == 1:
        return _along_ridges(potential, starts)
    block = max(16, BLOCK // len(potential.y))
    ends = np.concatenate([_flow(potential, starts[i : i + block]) for i in range(0, len(starts), block)])
    found: list[tuple[Array, int]] = []
    flat = False
    for representative, members in _group(ends, GROUP):
        polished = _power_iteration(potential, representative)
        nature = "none" if polished is None else _nature(potential, polished)
        flat |= nature == "flat"
        if polished is not None and nature == "strict":
            found.append((polished, members))
    return _collect(found, len(starts), starts.shape[1], flat)


def _along_ridges(potential: Potential, starts: Array) -> Attractors:
    from theodolite.theory.condensation.predict.ridges import follow

    term = potential.term
    most_events = 20 * len(potential.y) + 200
    ends, status = follow(starts, np.ascontiguousarray(potential.x), potential.y, term.left, term.right, most_events)
    return _collect(_group(ends[status == 1], SAME), len(starts), starts.shape[1], False)


def _collect(found: list[tuple[Array, int]], starts: int, dimension: int, flat: bool) -> Attractors:
    """Attractors from orientations with the number of starts that ended there; equal ones are joined."""
    vectors: list[Array] = []
    counts: list[int] = []
    for vector, members in found:
        for k, known in enumerate(vectors):
            if np.linalg.norm(known - vector) < SAME:
                counts[k] += members
                break
        else:
            vectors.append(vector)
            counts.append(members)
    basin = np.array(counts, dtype=np.float64) / starts
    return Attractors(np.array(vectors).reshape(len(vectors), dimension), basin, flat, 1.0 - float(basin.sum()))


def _flow(potential: Potential, starts: Array) -> Array:
    """End points of u′ = P_u ∇Φ, by arc length with Heun steps, halved where the flow turns back; it is left once settled."""
    ends = starts.copy()
    moving, u, factor = np.arange(len(starts)), starts.copy(), np.ones(len(starts))
    for _ in range(STEPS):
        tangent, strength = _direction(potential, u)
        move = (STEP * factor)[:, None]
        second, _ = _direction(potential, _unit(u + move * tangent))
        u = _unit(u + 0.5 * move * (tangent + second))
        back = (tangent * second).sum(1) < 0  # the step passes over a maximum
        factor = np.where(back, 0.5 * factor, np.minimum(1.0, 1.3 * factor))
        ends[moving] = u
        going = (factor > SETTLED) & (strength > 1e-13 * potential.size)
        moving, u, factor = moving[going], u[going], factor[going]
        if not len(moving):
            break
    return ends


def _direction(potential: Potential, u: Array) -> tuple[Array, Array]:
    """Unit tangent of the flow and the length of the projected gradient."""
    gradient = potential.gradient(u)
    tangent = gradient - (gradient * u).sum(1, keepdims=True) * u
    length = np.linalg.norm(tangent, axis=1)
    return tangent / np.maximum(length, 1e-300)[:, None], length


def _unit(u: Array) -> Array:
    return u / np.linalg.norm(u, axis=-1, keepdims=True)


def _group(u: Array, radius: float) -> list[tuple[Array, int]]:
    """Greedy groups of orientations within ``radius`` of a representative, with their sizes."""
    groups: list[tuple[Array, int]] = []
    left = u
    while len(left):
        near = np.linalg.norm(left - left[0], axis=1) < radius
        groups.append((left[near].mean(0) / np.linalg.norm(left[near].mean(0)), int(near.sum())))
        left = left[~near]
    return groups


def _power_iteration(potential: Potential, u: Array, iterations: int = 2000) -> Array | None:
    """Symmetric higher-order power method with adaptive shift: u ← A u^{p−1} + α u, normalised; None if it does not settle.

    The shift α = max(0, τ − λ_min(H)), H = (p − 1) A u^{p−2}, makes the shifted function convex at u, so that Φ rises at every
    step (Kolda & Mayo 2014). Near a strict maximum it converges linearly, and Newton's method finishes.
    """
    p = potential.term.order
    tau = 1e-6 * potential.size
    for k in range(iterations):
        hessian = potential.curvature(u) / p
        shift = max(0.0, tau - float(np.linalg.eigvalsh(hessian)[0]))
        new = potential.gradient(u[None])[0] / p + shift * u
        length = np.linalg.norm(new)
        if length == 0.0:
            return None
        new /= length
        change = np.linalg.norm(new - u)
        u = new
        if change < 1e-3 and (change < 1e-9 or k % 10 == 9):
            # Newton's method is tried from time to time: it saves the slow tail of linear convergence.
            found = _newton(potential, u)
            if np.linalg.norm(found - u) < 0.05 and _critical(potential, found) and _nature(potential, found) == "strict":
                return found
            if change < 1e-9:
                return u
    return None


def _newton(potential: Potential, u: Array) -> Array:
    """Newton steps for the critical point, on the tangent space."""
    for _ in range(6):
        gradient = potential.gradient(u[None])[0]
        rayleigh = gradient @ u
        basis = _tangent_basis(u)
        system = basis.T @ potential.curvature(u) @ basis - rayleigh * np.eye(len(u) - 1)
        step = np.linalg.lstsq(system, basis.T @ gradient, rcond=1e-10)[0]
        if np.linalg.norm(step) > 1e-3:
            break
        u = _unit(u - basis @ step)
    return u


def _critical(potential: Potential, u: Array) -> bool:
    """Whether the projected gradient vanishes at u, up to rounding."""
    return bool(_direction(potential, u[None])[1][0] <= 1e-10 * potential.term.order * potential.size)


def _nature(potential: Potential, u: Array) -> str:
    """``strict`` for an isolated local maximum, ``flat`` for one with a direction of no curvature, else ``none``."""
    p = potential.term.order
    value = float(potential.value(u[None])[0])
    basis = _tangent_basis(u)
    if not basis.shape[1]:
        return "strict"  # the sphere of a line is two points
    inner = basis.T @ potential.curvature(u) @ basis - p * value * np.eye(len(u) - 1)
    top = float(np.linalg.eigvalsh(inner)[-1])
    if top < -1e-7 * potential.size:
        return "strict"
    return "flat" if abs(top) <= 1e-7 * potential.size and abs(value) > 1e-7 * potential.size else "none"


def _tangent_basis(u: Array) -> Array:
    """Orthonormal basis (D, D − 1) of the complement of u, by a Householder reflection."""
    v = u.copy()
    v[0] += np.copysign(1.0, u[0])
    return (np.eye(len(u)) - 2 * np.outer(v, v) / (v @ v))[:, 1:]
