"""Margins and angles: how far a classifier is from the data, and from the direction that theory names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.core.arrays import as_float64, as_given
from theodolite.core.errors import ArgumentError
from theodolite.core.measurement import Judgement, Observation
from theodolite.core.quantity import quantity

if TYPE_CHECKING:
    import torch

__all__ = ["angle_to", "margin", "output_margin"]


def _real(value: Any, name: str, device: torch.device | None = None) -> torch.Tensor:
    """As float64; whole numbers are numbers too."""
    import torch

    array = value if isinstance(value, torch.Tensor) else torch.as_tensor(np.asarray(value))
    return as_float64(array if array.is_complex() else array.to(torch.float64), name, at_least=1, device=device)


def _direction(vectors: torch.Tensor, name: str, meant: str) -> torch.Tensor:
    """Vectors times powers of two that bring them near unit size, which changes no direction and lets no square vanish."""
    import torch

    size = vectors.abs().amax(dim=-1, keepdim=True)
    if not bool((size > 0).all()):
        where = (size[..., 0] == 0).nonzero()[0].tolist()
        raise ArgumentError(f"{name} must not be zero: {meant}" + (f", but row {tuple(where)} is" if where else ""))
    # A product of two, because the reciprocal of a subnormal number is no float.
    power = -torch.frexp(size).exponent
    half = torch.div(power, 2, rounding_mode="floor")
    return torch.ldexp(torch.ldexp(vectors, half), power - half)


def margin(w: Any, x: Any, y: Any) -> Any:
    """Margin of linear classifiers: min_n y_n w·x_n / ‖w‖, the signed distance of the hyperplane w to the nearest point.

    It is at most 1/‖ŵ‖, the maximum margin (`theodolite.theory.generalization.max_margin`); negative when a point is
    misclassified.

    Args:
        w: ``(..., d)``, one or many separators through the origin, not zero, as in ``flow.w`` at positive times.
        x: ``(N, d)`` points.
        y: ``(N,)`` labels, −1 or +1.

    Returns:
        ``(...)``.

    Raises:
        ArgumentError: shapes that do not match, labels other than ±1, or a w of length zero, which is no hyperplane.

    Cost: O(N d) per separator.

    Reference: soudry2018 §2.

    Example:
        >>> float(margin(np.array([1.0, 0.0]), np.array([[2.0, 1.0], [-3.0, 5.0]]), np.array([1, -1])))
        2.0
    """
    separators = _real(w, "w")
    points, labels = _real(x, "x", separators.device), _real(y, "y", separators.device)
    if points.ndim != 2 or labels.shape != points.shape[:1] or separators.shape[-1] != points.shape[1]:
        raise ArgumentError(
            f"w, x and y must have shapes (..., d), (N, d) and (N,), got {tuple(separators.shape)}, {tuple(points.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if not bool((labels.abs() == 1).all()):
        raise ArgumentError("y must hold −1 and +1 only; for classes 0 and 1 pass 2·y − 1")
    separators = _direction(separators, "w", "it is no hyperplane, and has no distance")
    least = (separators @ (points * labels[:, None]).T).amin(dim=-1)
    return as_given(least / separators.norm(dim=-1), w, x, y)


def angle_to(w: Any, direction: Any) -> Any:
    """Angle between vectors in radians, accurate for small angles: atan2(‖w − (w·u) u‖, w·u) with u the unit direction.

    The arc cosine of the normalised product cannot tell angles below 2e-8 from zero; this can.

    Args:
        w: ``(..., d)``, not zero.
        direction: ``(d,)`` or ``(..., d)``, not zero.

    Returns:
        ``(...)``, in [0, π].

    Raises:
        ArgumentError: a w or a direction of length zero, or shapes that do not match.

    Cost: O(d) per vector.

    Reference: soudry2018 Fig. 1.

    Example:
        >>> float(angle_to(np.array([1.0, 1e-12]), np.array([1.0, 0.0])))
        1e-12
    """
    import torch

    vectors = _real(w, "w")
    target = _real(direction, "direction", vectors.device)
    if vectors.shape[-1] != target.shape[-1]:
        raise ArgumentError(f"w and direction must have the same last dimension, got {vectors.shape[-1]} and {target.shape[-1]}")
    vectors = _direction(vectors, "w", "it has no angle")
    target = _direction(target, "direction", "no angle is defined to it")
    unit = target / target.norm(dim=-1, keepdim=True)
    # Off the direction, projected twice: one projection leaves a rounding error of eps‖w‖ along it.
    along = (vectors * unit).sum(dim=-1)
    off = vectors - along[..., None] * unit
    off = off - (off * unit).sum(dim=-1, keepdim=True) * unit
    return as_given(torch.atan2(off.norm(dim=-1), along), w, direction)


def judge_output_margin(seen: Observation) -> Judgement:
    """Whether all samples are classified correctly; nothing where the targets are no class labels."""
    if not seen.facts.get("classes", False):
        return Judgement("", "", "note")
    if seen.value > 0:
        return Judgement("separated", "", "good")
    advice = "not all of these samples are classified correctly; margin bounds and the implicit bias speak of separated data only"
    return Judgement("not separated", advice, "note")


@quantity(symbol="γ", reference="bartlett2017", judge=judge_output_margin)
def output_margin(outputs: Any, targets: Any) -> Any:
    """Classification margin of a network: the least over samples of f_y − max_{k≠y} f_k; for one output, of sign(target)·f.

    Positive exactly when all samples are classified correctly. Not normalised by any norm of the weights: for a network that is
    homogeneous of degree L divide by ‖θ‖^L (or a product of layer norms) before comparing two.

    Args:
        outputs: ``(..., N, K)``.
        targets: ``(..., N, K)``, one-hot rows (the class is the largest entry), or ±1 for K = 1.

    Returns:
        ``(...)``.

    Raises:
        ArgumentError: shapes that differ.

    Cost: O(N K).

    Reference: bartlett2017 §2.

    Example:
        >>> float(output_margin(np.array([[2.0, 0.5], [0.0, 3.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])))
        1.5
    """
    import torch

    f = as_float64(outputs, "outputs", at_least=2)
    t = _real(targets, "targets", f.device)
    if f.shape[-2:] != t.shape[-2:]:
        raise ArgumentError(f"outputs and targets must have the same shape, got {tuple(f.shape)} and {tuple(t.shape)}")
    if f.shape[-1] == 1:
        return (torch.sign(t) * f)[..., 0].amin(dim=-1)
    t = t.expand_as(f)
    label = t.argmax(dim=-1, keepdim=True)
    own = f.gather(-1, label)[..., 0]
    rival = f.scatter(-1, label, -torch.inf).amax(dim=-1)
    return (own - rival).amin(dim=-1)
