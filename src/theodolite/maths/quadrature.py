"""Quadrature rules on boxes: points (N, dim) and weights (N,) such that ∫ f ≈ Σ_i w_i f(x_i).

Which one: Gauss–Legendre for smooth integrands (in a few dimensions), the trapezoid rule for kinked ones such as ReLU features,
Sobol points from about four dimensions on. All return float64 tensors, and all take the measure by name: ``"lebesgue"``
(dx: the weights sum to the volume of the box, the convention of mass matrices ∫ φ_i φ_j dx) or ``"probability"`` (dx divided by
the volume: the weights sum to one, as those of an empirical measure do).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from theodolite.core.errors import ArgumentError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Rule: TypeAlias = tuple[torch.Tensor, torch.Tensor]

__all__ = ["gauss_legendre", "sobol", "trapezoid"]

Bound: TypeAlias = float | Sequence[float]
Measure: TypeAlias = Literal["lebesgue", "probability"]

#: Most points that a rule may have: a tensor rule grows as n^dim, and beyond this it is a mistake, not a wish.
MOST_POINTS = 50_000_000


def trapezoid(low: Bound, high: Bound, n: int, dim: int = 1, *, measure: Measure = "lebesgue") -> Rule:
    """Composite trapezoid rule with ``n`` equispaced nodes per axis, ends included, in tensor product.

    On [a, b] the nodes are a + i h, h = (b − a)/(n − 1), with weights h, halved at both ends. Exact for piecewise-linear
    functions with breaks on the nodes; error (b − a) h² max|f″| / 12 for f ∈ C², O(h²) also across kinks, exponentially small
    for smooth periodic f.

    Args:
        low: lower end of the box, one number for all axes or one per axis.
        high: upper end of the box, likewise.
        n: nodes per axis, at least 2; N = n^dim in all.
        dim: number of axes; may be left out when ``low`` or ``high`` is a sequence.
        measure: ``"lebesgue"`` (weights sum to the volume) or ``"probability"`` (to one).

    Returns:
        (points, weights): float64 tensors of shapes (N, dim) and (N,); the last axis runs fastest.

    Raises:
        ArgumentError: fewer than two nodes, an empty or non-finite interval, lengths that do not agree, or an unknown measure.

    Cost: O(n^dim · dim) time and memory.

    Example:
        >>> points, weights = trapezoid(-1.0, 1.0, 201)
        >>> points.shape, round(float(weights @ abs(points[:, 0])), 12)
        (torch.Size([201, 1]), 1.0)
    """
    box = _box(low, high, dim)
    _check_count(n, len(box), least=2)
    nodes = np.linspace(0.0, 1.0, n)
    weights = np.full(n, 1.0 / (n - 1))
    weights[[0, -1]] *= 0.5
    return _tensor_rule(nodes, weights, box, measure)


def gauss_legendre(low: Bound, high: Bound, n: int, dim: int = 1, *, measure: Measure = "lebesgue") -> Rule:
    """Gauss–Legendre rule with ``n`` nodes per axis in tensor product: exact for polynomials of degree 2n − 1 in each variable.

    Converges exponentially for analytic integrands, only as O(1/n) to O(1/n²) across kinks; use `trapezoid` there.

    Args:
        low: lower end of the box, one number for all axes or one per axis.
        high: upper end of the box, likewise.
        n: nodes per axis, at least 1; N = n^dim in all.
        dim: number of axes; may be left out when ``low`` or ``high`` is a sequence.
        measure: ``"lebesgue"`` (weights sum to the volume) or ``"probability"`` (to one).

    Returns:
        (points, weights): float64 tensors of shapes (N, dim) and (N,); the last axis runs fastest, all weights are positive.

    Raises:
        ArgumentError: no nodes, an empty or non-finite interval, lengths that do not agree, or an unknown measure.

    Cost: O(n³) for the nodes (an eigenproblem), O(n^dim · dim) time and memory for the grid.

    Example:
        >>> points, weights = gauss_legendre(0.0, 1.0, 3, dim=2)
        >>> points.shape, round(float(weights @ (points[:, 0] ** 4 * points[:, 1] ** 5)), 14) == round(1 / 30, 14)
        (torch.Size([9, 2]), True)
    """
    box = _box(low, high, dim)
    _check_count(n, len(box), least=1)
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return _tensor_rule((nodes + 1.0) / 2.0, weights / 2.0, box, measure)


def sobol(
    low: Bound, high: Bound, n: int, dim: int = 1, *, measure: Measure = "lebesgue", generator: torch.Generator | None = None
) -> Rule:
    """Quasi-Monte-Carlo rule on the first ``n`` points of a Sobol sequence, with equal weights.

    Without a generator the rule is deterministic: the points are shifted by half their spacing, so that each coordinate takes
    the values (k + ½)/2^m, the midpoint rule (unshifted, the sequence starts at the corner and has a bias of order 1/n). With one
    they are scrambled, which makes the rule unbiased. Error O((log n)^dim / n) for functions of bounded variation.

    Args:
        low: lower end of the box, one number for all axes or one per axis.
        high: upper end of the box, likewise.
        n: number of points, best a power of two (the sequence is balanced there).
        dim: number of axes; may be left out when ``low`` or ``high`` is a sequence.
        measure: ``"lebesgue"`` (weights sum to the volume) or ``"probability"`` (to one).
        generator: source of a scrambling; None for the deterministic rule.

    Returns:
        (points, weights): float64 tensors of shapes (n, dim) and (n,).

    Raises:
        ArgumentError: no points, more axes than the direction numbers provide, a bad box or an unknown measure.

    Cost: O(n · dim) time and memory.

    Example:
        >>> points, weights = sobol(-1.0, 1.0, 1024, 5)
        >>> points.shape, abs(float(weights @ points.cos().prod(1)) / 1.682942**5 - 1) < 0.01
        (torch.Size([1024, 5]), True)
    """
    import torch

    box = _box(low, high, dim)
    _check_count(n, 1, least=1)
    axes = len(box)
    if axes > torch.quasirandom.SobolEngine.MAXDIM:
        raise ArgumentError(f"dim must be at most {torch.quasirandom.SobolEngine.MAXDIM} for Sobol points, got {axes}")
    seed = None if generator is None else int(torch.randint(2**62, (), generator=generator, device=generator.device))
    engine = torch.quasirandom.SobolEngine(axes, scramble=generator is not None, seed=seed)
    unit = engine.draw(n, dtype=torch.float64)
    if generator is None:
        unit = unit + 0.5 / 2 ** int(np.ceil(np.log2(n)))
    low_, high_ = torch.from_numpy(box[:, 0]), torch.from_numpy(box[:, 1])
    volume = _volume(box, measure)
    return low_ + (high_ - low_) * unit, torch.full((n,), volume / n, dtype=torch.float64)


def _box(low: Bound, high: Bound, dim: int) -> NDArray[np.float64]:
    """The box as an array (dim, 2), its ends checked."""
    ends = [np.asarray(end, dtype=np.float64) for end in (low, high)]
    lengths = {end.size for end in ends if end.ndim} | ({dim} if dim != 1 else set())
    if any(end.ndim > 1 for end in ends) or len(lengths) > 1 or dim < 1:
        raise ArgumentError(
            "low and high must be numbers or sequences with one number per axis, "
            f"got shapes {ends[0].shape} and {ends[1].shape} with dim={dim}"
        )
    axes = lengths.pop() if lengths else 1
    box = np.stack([np.broadcast_to(end, (axes,)) for end in ends], axis=1)
    if not np.isfinite(box).all() or not (box[:, 0] < box[:, 1]).all():
        raise ArgumentError(f"low must be less than high, both finite, on every axis, got low={low}, high={high}")
    return box


def _check_count(n: int, axes: int, least: int) -> None:
    if isinstance(n, bool) or int(n) != n or n < least:
        raise ArgumentError(f"n must be an integer of at least {least}, got {n!r}")
    if n**axes > MOST_POINTS:
        raise ArgumentError(
            f"n^dim must be at most {MOST_POINTS:.0e} points, got {n}^{axes}; take fewer nodes per axis, or the sobol rule, "
            "whose number of points does not grow with the dimension"
        )


def _volume(box: NDArray[np.float64], measure: str) -> float:
    if measure == "lebesgue":
        return float(np.prod(box[:, 1] - box[:, 0]))
    if measure == "probability":
        return 1.0
    raise ArgumentError(f"measure must be 'lebesgue' or 'probability', got {measure!r}")


def _tensor_rule(nodes: NDArray[np.float64], weights: NDArray[np.float64], box: NDArray[np.float64], measure: str) -> Rule:
    """The tensor product of a rule on [0, 1] (weights summing to one), stretched to ``box``."""
    import torch

    axes = [low + (high - low) * nodes for low, high in box]
    for axis, (_, high) in zip(axes, box, strict=True):
        axis[nodes == 1.0] = high  # low + (high − low) may round past the end of the interval
    points = np.stack([grid.ravel() for grid in np.meshgrid(*axes, indexing="ij")], axis=1)
    product = np.ones(1)
    for _ in box:
        product = np.multiply.outer(product, weights).ravel()
    return torch.from_numpy(points), torch.from_numpy(product * _volume(box, measure))
