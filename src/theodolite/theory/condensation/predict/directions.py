"""Directions of initial condensation, predicted from the data alone, before any training."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from theodolite.core.arrays import as_float64
from theodolite.core.errors import ArgumentError, TheodoliteWarning
from theodolite.theory.condensation.predict.circle import Extrema, monomial_extrema, sector_extrema
from theodolite.theory.condensation.predict.multiplicity import LeadingTerm, kink_in_words, leading_term
from theodolite.theory.condensation.predict.sphere import Potential, attractors

__all__ = ["Directions", "predict_directions"]

Array = npt.NDArray[np.float64]

#: Eigenvalues nearer than this share of the largest, and moments smaller than this share of their terms, are degenerate.
DEGENERATE = 1e-9


@dataclass(frozen=True)
class Directions:
    """Attracting orientations of the initial stage, strongest first.

    Attributes:
        vectors: (K, D) unit orientations (w, b)/‖(w, b)‖; both signs are listed.
        sign: (K,) sign of the outgoing weight of the neurons that are drawn there.
        strength: (K,) the extremal value Φ(u) = (1/n) Σ_i y_i φ(u·x_i), φ(z) = z^p, or the one-sided leading term at a kink.
        growing: (K,) whether neurons there grow (sign · coefficient · Φ > 0); others shrink and turn away.
        basin: (K,) share of the sphere that flows there, for neurons of that sign: sums to one over each sign, less what
            ends at no isolated orientation (dead sectors, half-stable points).
        p: multiplicity; None at a kink.
        method: how they were found: ``p = 1``, ``p = 2``, ``roots``, ``sectors``, ``power iteration`` or ``flow``.
        centred: whether the target's mean was subtracted, because σ(0) ≠ 0.
    """

    vectors: Array
    sign: npt.NDArray[np.int_]
    strength: Array
    growing: npt.NDArray[np.bool_]
    basin: Array
    p: int | None
    method: str
    centred: bool

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def count(self) -> int:
        """Number of distinct growing orientations: what a trained network shows."""
        return len(_distinct(self.vectors[self.growing], lines=False))

    @property
    def lines(self) -> int:
        """Number of distinct lines that they span, an orientation and its opposite being one."""
        return len(_distinct(self.vectors[self.growing], lines=True))

    @property
    def angles(self) -> Array:
        """(K,) angles atan2(b, w) for one-dimensional inputs.

        Raises:
            ArgumentError: the orientations do not lie in the plane.
        """
        if self.vectors.shape[1] != 2:
            raise ArgumentError(f"angles exist for one-dimensional inputs only, got orientations in R^{self.vectors.shape[1]}")
        return np.arctan2(self.vectors[:, 1], self.vectors[:, 0])

    def __str__(self) -> str:
        head = f"{self.count} growing orientations on {self.lines} lines ({self.method})"
        rows = [
            f"  sign {s:+d}  Φ = {value:+.4g}  basin {share:.3f}  {'grows' if grows else 'shrinks'}"
            for s, value, share, grows in zip(self.sign, self.strength, self.basin, self.growing, strict=True)
        ]
        return "\n".join([head, *rows])


def predict_directions(
    x: Any, y: Any, activation: Callable[[Any], Any] | str, *, starts: int | None = None, seed: int = 0
) -> Directions:
    """Orientations to which the neurons of a small two-layer network condense at the initial stage of training.

    While f ≈ 0 the residual is −y, and with σ(z) ≈ σ(0) + c z^p each orientation follows u′ = sgn(a c) |·| P_u ∇Φ(u),
    Φ(u) = (1/n) Σ_i y_i (u·x_i)^p: neurons with a·c > 0 go to local maxima of Φ on the sphere, the others to local minima, and
    they grow iff a·c·Φ > 0. Closed forms: p = 1: ± Σ y_i x_i; p = 2: extremal eigenvectors of (1/n) Σ y_i x_i x_iᵀ;
    one-dimensional inputs: roots of a polynomial of degree p; kinks (ReLU) in one dimension: activation sectors. Else the
    projected flow is followed from ``starts`` uniform orientations and polished by the tensor power method with adaptive shift
    (kinks: by an active set). If σ(0) ≠ 0 the output's mean is fitted first, and the centred target y − mean(y) is used.

    Domain: gradient flow, or neuron-wise normalised gradient descent, while |w·x| is far below ``multiplicity(σ).radius`` and the
    loss has hardly moved. Plain gradient flow with p ≥ 2 blows up first in the strongest direction, which then hides the others;
    Adam follows the sign of the gradient instead. The bound of 2p orientations holds for p ≤ 2 and for one-dimensional inputs.

    Args:
        x: (n,) or (n, d) inputs; the bias is folded in as (x, 1).
        y: (n,) or (n, 1) targets.
        activation: elementwise callable or name.
        starts: number of starts of the flow (the basins' standard error is below 1/(2 √starts)); None: 2048, fewer (down to 64)
            where that would take more than seconds.
        seed: of the starts.

    Returns:
        `Directions`, strongest first, growing ones before shrinking ones.

    Raises:
        ArgumentError: shapes that do not fit, several outputs, or a NaN in x or y.
        UnsupportedError: the activation jumps or has an infinite derivative at zero, or is constant near it.

    Warns:
        TheodoliteWarning: the moment tensor is degenerate (zero, isotropic, or with equal extremal eigenvalues), so that the
            extrema are not isolated and no direction is preferred; or the activation has a kink at zero, so that no multiplicity
            bounds the number of directions.

    Cost: closed forms O(n d²); kinks in one dimension O(n²); else O(starts · n · d) per step, some 40 steps. Kinks in more
    dimensions are compiled at their first use on a machine, which takes some seconds.

    Source: Zhou et al. (2022), Thm 1–2 for p = 1 and one-dimensional inputs; Maennel et al. (2018) for ReLU; the rest is the
    same field's extrema, by Kolda & Mayo (2014).

    Example:
        >>> import torch
        >>> found = predict_directions([[-1.0], [0.0], [2.0]], [1.0, 0.5, 1.0], torch.tanh)
        >>> found.vectors.round(3).tolist(), found.sign.tolist()
        ([[0.371, 0.928], [-0.371, -0.928]], [1, -1])
    """
    inputs, targets = _data(x, y)
    if starts is not None and starts < 1:
        raise ArgumentError(f"starts must be at least 1, got {starts}")
    term, found = leading_term(activation)
    centred = abs(found.value_at_zero) > 1e-12
    if centred:
        targets = targets - targets.mean()
    if found.kink:
        only = "" if _homogeneous(activation, term) else ", valid only while |w·x| is small"
        warnings.warn(
            f"{kink_in_words(found)}: directions are those of its leading one-sided term{only}, and the bound 2p does not apply",
            TheodoliteWarning,
            stacklevel=2,
        )
    potential = Potential(inputs, targets, term)
    parts, degenerate, method = _extrema(potential, found.p, starts or _affordable(inputs, term), seed)
    if degenerate:
        warnings.warn(
            f"the moment tensor of order {term.order} is degenerate"
            + (" (of the centred target)" if centred else "")
            + ": it vanishes, is isotropic, or has extrema that are not isolated, so that part or all of the sphere prefers no "
            "direction; perturb the targets, or do not expect condensation there",
            TheodoliteWarning,
            stacklevel=2,
        )
    vectors = np.array([v for v, _, _ in parts]).reshape(-1, inputs.shape[1])
    kind = np.array([1 if is_max else -1 for _, is_max, _ in parts], dtype=np.int64)
    basin = np.array([share for _, _, share in parts])
    strength = potential.value(vectors)
    growing = kind * strength > 1e-10 * potential.size
    sign = kind if found.p is None else kind * int(np.sign(found.coefficient))
    order = np.lexsort((-kind, -np.abs(strength).round(12), ~growing))
    return Directions(vectors[order], sign[order], strength[order], growing[order], basin[order], found.p, method, centred)


Parts = list[tuple[Array, bool, float]]  # orientation, whether it is a maximum, basin


def _extrema(potential: Potential, p: int | None, starts: int, seed: int) -> tuple[Parts, bool, str]:
    """Extrema of Φ on the sphere by the most direct way there is, whether it is degenerate, and the name of the way."""
    inputs, targets, term = potential.x, potential.y, potential.term
    if p == 1:
        parts = _first_moment(inputs, targets)
        return parts, not parts, "p = 1"
    if p == 2:
        return *_second_moment(inputs, targets), "p = 2"
    if inputs.shape[1] == 2 and (p is not None or term.order == 1):
        extrema, degenerate = sector_extrema(inputs, targets, term) if p is None else monomial_extrema(inputs, targets, p)
        return _on_the_circle(extrema), degenerate, "sectors" if p is None else "roots"
    return *_by_flow(potential, starts, seed), "flow" if p is None else "power iteration"


def _data(x: Any, y: Any) -> tuple[Array, Array]:
    """Inputs (n, d + 1) with the bias folded in, and targets (n,), checked."""
    inputs = as_float64(x, "x", at_least=1)
    targets = as_float64(y, "y", at_least=1)
    inputs = inputs[:, None] if inputs.ndim == 1 else inputs.flatten(1)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1:
        raise ArgumentError(
            f"y must have one number per sample, got shape {tuple(targets.shape)}; predict each output by itself, y[:, k]"
        )
    if len(inputs) != len(targets) or not len(inputs):
        raise ArgumentError(f"x and y must have the same positive number of samples, got {len(inputs)} and {len(targets)}")
    array = inputs.detach().cpu().numpy()
    return np.concatenate([array, np.ones((len(array), 1))], axis=1), targets.detach().cpu().numpy()


def _homogeneous(activation: Any, term: LeadingTerm) -> bool:
    """Whether σ(z) − σ(0) is its leading one-sided term everywhere, not only near zero."""
    from theodolite.maths.activation import identify

    z = np.linspace(-3, 3, 25)
    function = identify(activation).function
    values = function(z) - function(np.zeros(1))
    return bool(np.abs(values - term.value(z)).max() <= 1e-9 * max(1.0, np.abs(values).max()))


def _first_moment(x: Array, y: Array) -> Parts:
    moment = y @ x / len(y)
    length = np.linalg.norm(moment)
    if length <= DEGENERATE * np.mean(np.abs(y) * np.linalg.norm(x, axis=1)) or length == 0.0:
        return []
    return [(moment / length, True, 1.0), (-moment / length, False, 1.0)]


def _second_moment(x: Array, y: Array) -> tuple[Parts, bool]:
    matrix = (x.T * y) @ x / len(y)
    values, vectors = np.linalg.eigh(matrix)
    scale = max(np.abs(values).max(), np.mean(np.abs(y) * (x**2).sum(1)) * 1e-3)
    parts: Parts = []
    for k, neighbour, is_max in ((-1, -2, True), (0, 1, False)):
        if abs(values[k] - values[neighbour]) <= DEGENERATE * scale:
            continue
        v = vectors[:, k] * np.copysign(1.0, vectors[np.argmax(np.abs(vectors[:, k])), k])
        parts += [(v, is_max, 0.5), (-v, is_max, 0.5)]
    return parts, len(parts) < 4


def _on_the_circle(extrema: Extrema) -> Parts:
    parts: Parts = []
    for angles, basins, is_max in (
        (extrema.maxima, extrema.basin_maxima, True),
        (extrema.minima, extrema.basin_minima, False),
    ):
        parts += [(np.array([np.cos(t), np.sin(t)]), is_max, float(b)) for t, b in zip(angles, basins, strict=True)]
    return parts


def _by_flow(potential: Potential, starts: int, seed: int) -> tuple[Parts, bool]:
    import torch

    from theodolite.core.seed import generator

    if potential.size == 0.0:
        return [], True
    # Φ depends on u·x_i only, so growing extrema lie in the span of the inputs, with the basins of the whole sphere.
    _, singular, span = np.linalg.svd(potential.x, full_matrices=False)
    span = span[singular > 1e-12 * singular[0]]  # (r, D)
    term = potential.term
    inner = Potential(potential.x @ span.T, potential.y, term)
    shape = (starts, len(span))
    uniform = torch.randn(shape, generator=generator(seed, "condensation.predict_directions"), dtype=torch.float64).numpy()
    uniform /= np.linalg.norm(uniform, axis=1, keepdims=True)

    def local(signed: Potential, is_max: bool) -> tuple[Parts, bool]:
        found = attractors(signed, uniform)
        parts = [(v @ span, is_max, float(b)) for v, b in zip(found.vectors, found.basin, strict=True)]
        if len(span) < potential.x.shape[1]:  # a shrinking extremum of the span is a saddle of the sphere: outside, Φ rises to 0
            parts = [part for part in parts if signed.value(part[0][None] @ span.T)[0] > 0]
        return parts, found.flat

    parts, flat = local(inner, True)
    if term.smooth and term.order % 2:  # Φ(−u) = −Φ(u): minima are the opposites of the maxima
        parts += [(-v, False, b) for v, _, b in list(parts)]
        return parts, flat or not parts
    minima, flat_minima = local(Potential(inner.x, -inner.y, term), False)
    return parts + minima, flat or flat_minima or not (parts or minima)


def _affordable(x: Array, term: LeadingTerm) -> int:
    """2048 starts, or as many as take some seconds: an arc costs O(n D) and a start has about n/4 of them; a step O(n D), about 80."""
    count, dimension = x.shape
    per_start = count * dimension * (count / 4 if term.order == 1 else 80)
    return int(np.clip(2e9 / per_start, 64, 2048))


def _distinct(vectors: Array, *, lines: bool) -> list[Array]:
    """Representatives of orientations (or lines) that differ by more than 1e-4."""
    kept: list[Array] = []
    for v in vectors:
        if not any(np.linalg.norm(v - k) < 1e-4 or (lines and np.linalg.norm(v + k) < 1e-4) for k in kept):
            kept.append(v)
    return kept
