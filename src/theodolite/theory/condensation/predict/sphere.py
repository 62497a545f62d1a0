"""Attracting orientations for inputs of any dimension: projected flow from many starts, then an exact polish.

Orientations follow u′ = ± P_u ∇Φ(u), P_u = I − u uᵀ, up to a positive factor; so the flow's orbits, and with them the basins,
depend on Φ alone. From many uniform starts the flow is followed by arc length; its end points are grouped and polished: for a
monomial by the symmetric higher-order power method with adaptive shift, at kinks by an active set with exact multipliers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from theodolite.theory.condensation.predict.multiplicity import LeadingTerm

__all__ = ["Attractors", "Potential", "attractors"]

Array = npt.NDArray[np.float64]

#: Arc-length steps of the flow, in radians: coarse to leave the start, fine to settle.
STEPS = np.repeat([0.05, 0.02, 0.01, 0.004], [100, 80, 80, 120])
#: Orientations nearer than this (radians) after the flow belong to one attractor.
GROUP = 0.05
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

    def gradient(self, u: Array, blur: float = 0.0) -> Array:
        """∇Φ at rows of u, (S, D); ``blur`` > 0 smooths a kink over |u·x_i| < blur·‖x_i‖."""
        z = u @ self.x.T  # (S, n)
        slope = self.term.slope(z)
        if blur and self.term.order == 1 and not self.term.smooth:
            share = np.clip(0.5 + 0.5 * z / (blur * np.linalg.norm(self.x, axis=1)), 0.0, 1.0)
            slope = self.term.right * share - self.term.left * (1 - share)
        return (slope * self.y) @ self.x / len(self.y)

    def curvature(self, u: Array) -> Array:
        """Hessian of Φ at one smooth point u, (D, D), divided by order − 1 (order at least 2)."""
        z = self.x @ u
        second = self.term.order * np.where(z > 0, self.term.right, self.term.left) * np.abs(z) ** (self.term.order - 2)
        return (self.x.T * (second * self.y)) @ self.x / len(self.y)

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

    Cost: O(S n D) per step, 380 steps; an eigen-solve of D × D per polishing step and attractor.
    """
    block = max(1, 4_000_000 // max(len(potential.y), 1))
    ends = np.concatenate([_flow(potential, starts[i : i + block]) for i in range(0, len(starts), block)])
    groups = _group(ends, GROUP)
    vectors: list[Array] = []
    basin: list[int] = []
    flat = False
    lost = 0
    kinked = potential.term.order == 1
    for representative, members in groups:
        polished = _active_set(potential, representative) if kinked else _power_iteration(potential, representative)
        verdict = "none" if polished is None else ("strict" if kinked else _nature(potential, polished))
        if polished is None or verdict != "strict":
            flat |= verdict == "flat"
            lost += members
            continue
        for k, known in enumerate(vectors):
            if np.linalg.norm(known - polished) < SAME:
                basin[k] += members
                break
        else:
            vectors.append(polished)
            basin.append(members)
    count = len(starts)
    shape = (len(vectors), potential.x.shape[1])
    return Attractors(np.array(vectors).reshape(shape), np.array(basin) / count, flat, lost / count)


def _flow(potential: Potential, u: Array) -> Array:
    """End points of u′ = P_u ∇Φ, by arc length with Heun steps; a step that turns back is halved for its start."""
    factor = np.ones(len(u))
    before = np.zeros_like(u)
    for step in STEPS:
        blur = 2 * step
        tangent, strength = _direction(potential, u, blur)
        turned = (tangent * before).sum(1) < 0
        factor = np.where(turned, 0.5 * factor, np.minimum(1.0, 1.3 * factor))
        move = (step * factor * (strength > 1e-13 * potential.size))[:, None]
        trial = _unit(u + move * tangent)
        second, _ = _direction(potential, trial, blur)
        u = _unit(u + 0.5 * move * (tangent + second))
        before = tangent
    return u


def _direction(potential: Potential, u: Array, blur: float) -> tuple[Array, Array]:
    """Unit tangent of the flow and the length of the projected gradient."""
    gradient = potential.gradient(u, blur)
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
    for _ in range(iterations):
        hessian = (p - 1) * potential.curvature(u) / p
        shift = max(0.0, tau - float(np.linalg.eigvalsh(hessian)[0]))
        new = potential.gradient(u[None])[0] / p + shift * u
        length = np.linalg.norm(new)
        if length == 0.0:
            return None
        new /= length
        change = np.linalg.norm(new - u)
        u = new
        if change < 1e-9:
            return _newton(potential, u)
    return None


def _newton(potential: Potential, u: Array) -> Array:
    """Three Newton steps for the critical point, on the tangent space."""
    p = potential.term.order
    for _ in range(3):
        gradient = potential.gradient(u[None])[0]
        rayleigh = gradient @ u
        basis = _tangent_basis(u)
        system = basis.T @ ((p - 1) * potential.curvature(u)) @ basis - rayleigh * np.eye(len(u) - 1)
        step = np.linalg.lstsq(system, basis.T @ gradient, rcond=1e-10)[0]
        if np.linalg.norm(step) > 1e-3:
            break
        u = _unit(u - basis @ step)
    return u


def _nature(potential: Potential, u: Array) -> str:
    """``strict`` for an isolated local maximum, ``flat`` for one with a direction of no curvature, else ``none``."""
    p = potential.term.order
    value = float(potential.value(u[None])[0])
    basis = _tangent_basis(u)
    inner = basis.T @ ((p - 1) * potential.curvature(u)) @ basis - p * value * np.eye(len(u) - 1)
    top = float(np.linalg.eigvalsh(inner)[-1])
    if top < -1e-7 * potential.size:
        return "strict"
    return "flat" if abs(top) <= 1e-7 * potential.size and abs(value) > 1e-7 * potential.size else "none"


def _tangent_basis(u: Array) -> Array:
    """Orthonormal basis (D, D − 1) of the complement of u, by a Householder reflection."""
    v = u.copy()
    v[0] += np.copysign(1.0, u[0])
    return (np.eye(len(u)) - 2 * np.outer(v, v) / (v @ v))[:, 1:]


def _active_set(potential: Potential, u: Array) -> Array | None:
    """The local maximum of a kinked Φ of order one near u, exact, or None when there is none.

    Let K be the inputs with u·x_i = 0. On their complement Φ is linear, Φ(u) = u·D, so the maximum is u = P_K D/‖P_K D‖. It is a
    maximum across the kinks iff D + (1/n) Σ_K y_i θ_i x_i = ‖P_K D‖ u with slopes θ_i strictly between those of the two sides
    and y_i (right + left) < 0 (a concave ridge). Inputs enter and leave K until both hold.
    """
    x, y, term = potential.x, potential.y, potential.term
    count, dimension = x.shape
    norms = np.linalg.norm(x, axis=1)
    low, high = sorted((term.right, -term.left))
    ridge = y * (term.right + term.left) < 0
    z = (x @ u) / norms
    active = (np.abs(z) < 2.5 * STEPS[-1]) & ridge
    side = np.where(z >= 0, 1.0, -1.0)
    for _ in range(4 * dimension + 20):
        slopes = np.where(side > 0, term.right, -term.left)
        free = ~active
        field = (y[free] * slopes[free]) @ x[free] / count
        normals = x[active]
        basis = np.linalg.svd(normals)[2][np.linalg.matrix_rank(normals) :].T if active.any() else np.eye(dimension)
        inside = basis @ (basis.T @ field)
        length = np.linalg.norm(inside)
        if basis.shape[1] == 0:
            active[np.flatnonzero(active)[np.argmax(np.abs(z[active]))]] = False
            continue
        if basis.shape[1] == 1:  # the kinks alone fix the orientation, up to its sign
            new = basis[:, 0] * np.copysign(1.0, basis[:, 0] @ u)
        elif length > 1e-12 * potential.size:
            new = inside / length
        else:
            return None
        z = (x @ new) / norms
        wrong = free & (z * side < -1e-12)
        if wrong.any():
            worst = int(np.argmax(np.where(wrong, np.abs(z), -1)))
            side[worst] = -side[worst]
            active[worst] = bool(ridge[worst])
            u = new
            continue
        if active.any():
            rayleigh = field @ new
            theta = np.linalg.lstsq(normals.T, count * (rayleigh * new - field), rcond=None)[0] / y[active]
            excess = np.maximum(low - theta, theta - high)
            if excess.max() > 0:
                leaving = np.flatnonzero(active)[int(np.argmax(excess))]
                nearer_right = abs(theta[int(np.argmax(excess))] - term.right) < abs(theta[int(np.argmax(excess))] + term.left)
                side[leaving] = 1.0 if nearer_right else -1.0
                active[leaving] = False
                u = new
                continue
        return new if _is_maximum(potential, new) else None
    return None


def _is_maximum(potential: Potential, u: Array) -> bool:
    """Whether Φ falls from u along each of many small random tangents (and their opposites)."""
    rng = np.random.default_rng(0)
    tangents = rng.standard_normal((64, len(u)))
    tangents = _unit(tangents - (tangents @ u)[:, None] * u)
    around = _unit(u + 1e-4 * np.concatenate([tangents, -tangents]))
    return bool((potential.value(around) < potential.value(u[None])[0] + 1e-12 * potential.size).all())
