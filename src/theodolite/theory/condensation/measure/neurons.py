"""Orientations and amplitudes of neurons, and how far a layer has moved. A neuron is a row of weights, its bias the last entry."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from theodolite.core.arrays import as_float64
from theodolite.core.errors import ArgumentError, TheodoliteWarning
from theodolite.core.quantity import quantity

__all__ = [
    "amplitude",
    "cosine_similarity_matrix",
    "orientation",
    "orientation_entropy",
    "relative_distance",
    "similarity_order",
]

#: Relative distances below this are dominated by the rounding of float32 weights (u = 6e-8 each).
FLOAT32_RESOLUTION = 1e-6


@quantity(symbol="w/‖w‖", reference="luo2021")
def orientation(weights: Tensor) -> Tensor:
    """Orientations of neurons: the angle atan2(b, w) in the plane, the unit vector w/‖w‖ otherwise.

    The angle is in (−π, π], 0 for w > 0 and b = 0. (The form sign(b)·arccos(w/‖w‖) gives 0 at b = 0 for both signs of w, and
    loses half of the digits near w/‖w‖ = ±1.)

    Args:
        weights: (…, m, D) incoming weights, one row per neuron, the bias as last entry.

    Returns:
        (…, m) angles in radians if D = 2, else (…, m, D) unit vectors.

    Raises:
        ArgumentError: a zero row, whose orientation is undefined, or non-finite weights.

    Source: Luo et al. (2021), Sec. 3.

    Example:
        >>> import numpy as np
        >>> orientation(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, -2.0]])).round(3).tolist()
        [0.0, 3.142, -1.571]
    """
    rows = as_float64(weights, "weights", at_least=2)
    _refuse_zero_rows(rows)
    if rows.shape[-1] == 2:
        # Negative zeros would put neurons of bias −0.0 at −π instead of π.
        return torch.atan2(rows[..., 1] + 0.0, rows[..., 0])
    return rows / rows.norm(dim=-1, keepdim=True)


@quantity(symbol="|a| ‖w‖", reference="luo2021")
def amplitude(weights: Tensor, outgoing: Tensor) -> Tensor:
    """Amplitudes ‖a_k‖ · ‖w_k‖ of neurons: the size of the contribution a_k σ(w_k·x) of a 1-homogeneous neuron.

    Args:
        weights: (…, m, D) incoming weights, the bias as last entry.
        outgoing: (…, K, m) weights by which the next layer reads them, or (…, m) for a single output.

    Returns:
        (…, m), not negative.

    Raises:
        ArgumentError: numbers of neurons that do not fit, or non-finite entries.

    Example:
        >>> import numpy as np
        >>> amplitude(np.array([[3.0, 4.0], [0.0, 1.0]]), np.array([[-2.0, 0.5]])).tolist()
        [10.0, 0.5]
    """
    rows = as_float64(weights, "weights", at_least=2)
    out = as_float64(outgoing, "outgoing", at_least=1, device=rows.device)
    if out.ndim < rows.ndim:
        out = out.unsqueeze(-2)
    if out.shape[-1] != rows.shape[-2]:
        raise ArgumentError(
            f"outgoing must have one column per neuron: got {out.shape[-1]} columns for {rows.shape[-2]} rows of weights"
        )
    return out.norm(dim=-2) * rows.norm(dim=-1)


@quantity(symbol="D(u, v)", reference="zhou2022")
def cosine_similarity_matrix(weights: Tensor) -> Tensor:
    """Cosine similarities u_k·u_l of the neurons' orientations; blocks of ±1 are condensed neurons.

    Args:
        weights: (…, m, D) incoming weights, the bias as last entry.

    Returns:
        (…, m, m), symmetric, in [−1, 1], ones on the diagonal.

    Raises:
        ArgumentError: a zero row, whose orientation is undefined, or non-finite weights.

    Source: Zhou et al. (2022), Eq. (3).

    Example:
        >>> import numpy as np
        >>> cosine_similarity_matrix(np.array([[1.0, 0.0], [-2.0, 0.0], [0.0, 3.0]])).tolist()
        [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    rows = as_float64(weights, "weights", at_least=2)
    _refuse_zero_rows(rows)
    unit = rows / rows.norm(dim=-1, keepdim=True)
    cosine = (unit @ unit.mT).clamp(-1.0, 1.0)
    cosine = 0.5 * (cosine + cosine.mT) + 0.0
    return cosine.diagonal_scatter(torch.ones_like(rows[..., 0]), dim1=-2, dim2=-1)


def similarity_order(similarity: Any) -> Any:
    """Order of the neurons by the leading eigenvector of their cosine similarity matrix, so that condensed ones stand together.

    The matrix is symmetric: `eigh` (a general solver may return complex eigenvectors).

    Args:
        similarity: (m, m).

    Returns:
        (m,) permutation.

    Source: Zhou et al. (2022), App. A.

    Example:
        >>> import numpy as np
        >>> sorted(similarity_order(np.eye(3)).tolist())
        [0, 1, 2]
    """
    from theodolite.core.arrays import as_given

    matrix = as_float64(similarity, "similarity", ndim=2)
    leading = torch.linalg.eigh(matrix).eigenvectors[:, -1]
    # The sign of an eigenvector is arbitrary: make its largest entry positive.
    leading = leading * torch.sign(leading[leading.abs().argmax()])
    return as_given(torch.argsort(leading, descending=True, stable=True), similarity)


@quantity(symbol="RD", reference="luo2021 Def. 1")
def relative_distance(weights: Tensor, initial_weights: Tensor) -> Tensor:
    """Relative distance ‖W − W₀‖_F / ‖W₀‖_F of a layer's incoming weights from their start.

    Small in the linear regime, O(1) in the critical, large in the condensed one; at a single width it decides little: the regime
    is the sign of the slope of log RD over log m.

    Args:
        weights: (…, m, D).
        initial_weights: (…, m, D).

    Returns:
        (…), not negative.

    Raises:
        ArgumentError: shapes that differ, all initial weights zero, or non-finite entries.

    Warns:
        TheodoliteWarning: float32 (or shorter) weights whose distance is below 1e-6, the rounding of the weights themselves.

    Source: Luo et al. (2021), Eq. (10).

    Example:
        >>> import numpy as np
        >>> float(relative_distance(np.full((2, 2), 3.0), np.full((2, 2), 2.0)))
        0.5
    """
    now = as_float64(weights, "weights", at_least=2)
    start = as_float64(initial_weights, "initial_weights", at_least=2, device=now.device)
    if now.shape[-2:] != start.shape[-2:]:
        raise ArgumentError(f"initial_weights must have the shape of weights, got {tuple(start.shape)} and {tuple(now.shape)}")
    size = torch.linalg.matrix_norm(start)
    if bool((size == 0).any()):
        raise ArgumentError("initial_weights must not all be zero: the relative distance from zero is undefined")
    distance = torch.linalg.matrix_norm(now - start) / size
    if _short(weights) or _short(initial_weights):
        unresolved = (distance > 0) & (distance < FLOAT32_RESOLUTION)
        if bool(unresolved.any()):
            warnings.warn(
                f"the relative distance {float(distance[unresolved].min()):.1e} is below the resolution of "
                f"{str(getattr(weights, 'dtype', '')).removeprefix('torch.')} weights (about 1e-6): train in float64, or keep "
                "the difference W − W₀ itself",
                TheodoliteWarning,
                stacklevel=3,
            )
    return distance


@quantity(symbol="H", reference="luo2021", fill={"amplitudes": "amplitudes"})
def orientation_entropy(weights: Tensor, amplitudes: Tensor | None = None, *, bins: int = 72) -> Tensor:
    """Entropy of the amplitude-weighted distribution of orientations, as a share of its maximum: 1 spread out, 0 condensed.

    In the plane: −Σ_b q_b log q_b / log(bins), q_b the amplitude in a bin of 360°/bins. In higher dimension D: the von Neumann
    entropy −tr(ρ log ρ)/log D of ρ = Σ_k q_k u_k u_kᵀ, in which an orientation and its opposite are one line.

    Args:
        weights: (…, m, D) incoming weights, the bias as last entry.
        amplitudes: (…, m) weights of the neurons, not negative; None: ‖w_k‖.
        bins: number of bins in the plane.

    Returns:
        (…), in [0, 1].

    Raises:
        ArgumentError: all amplitudes zero, a negative one, fewer than two bins, or D = 1.

    Example:
        >>> import numpy as np
        >>> float(orientation_entropy(np.array([[1.0, 0.5], [2.0, 1.0]])))
        0.0
    """
    unit, share = weighted_orientations(weights, amplitudes)
    if unit.shape[-1] == 2:
        if bins < 2:
            raise ArgumentError(f"bins must be at least 2, got {bins}")
        turn = torch.atan2(unit[..., 1] + 0.0, unit[..., 0]) / (2 * math.pi)
        # Bins are centred on multiples of their width, so that neurons at 0° or 90° do not fall on an edge.
        place = torch.floor((turn + 0.5 / bins) % 1.0 * bins).long().clamp_max(bins - 1)
        mass = torch.zeros(*share.shape[:-1], bins, dtype=share.dtype, device=share.device).scatter_add(-1, place, share)
        return _entropy(mass) / math.log(bins)
    if unit.shape[-1] < 2:
        raise ArgumentError("weights must have at least two columns (a bias is the last one): on a line there is no orientation")
    density = (unit * share[..., None]).mT @ unit
    return _entropy(torch.linalg.eigvalsh(density).clamp_min(0)) / math.log(unit.shape[-1])


def weighted_orientations(weights: Any, amplitudes: Any) -> tuple[Tensor, Tensor]:
    """Unit rows (zero where the row is zero) and their shares of the total amplitude (summing to one)."""
    rows = as_float64(weights, "weights", at_least=2)
    norms = rows.norm(dim=-1)
    mass = norms if amplitudes is None else as_float64(amplitudes, "amplitudes", at_least=1, device=rows.device)
    if mass.shape[-1] != rows.shape[-2]:
        raise ArgumentError(
            f"amplitudes must have one entry per neuron: got {mass.shape[-1]} for {rows.shape[-2]} rows of weights"
        )
    if bool((mass < 0).any()):
        raise ArgumentError("amplitudes must not be negative; take |a|·‖w‖")
    mass = torch.where(norms > 0, mass, 0.0)  # a neuron without orientation carries none
    total = mass.sum(-1, keepdim=True)
    if bool((total == 0).any()):
        raise ArgumentError("weights must hold a neuron of non-zero weight and amplitude: the orientation of zero is undefined")
    return rows / norms.clamp_min(torch.finfo(torch.float64).tiny)[..., None], mass / total


def _entropy(mass: Tensor) -> Tensor:
    return torch.special.entr(mass).sum(-1).clamp_min(0.0)


def _short(value: Any) -> bool:
    return str(getattr(value, "dtype", "")).removeprefix("torch.") in ("float32", "float16", "bfloat16")


def _refuse_zero_rows(rows: Tensor) -> None:
    zero = (rows == 0).all(-1)
    if bool(zero.any()):
        index = tuple(zero.nonzero()[0].tolist())
        raise ArgumentError(
            f"weights must have no zero row, got one at index {index}: its orientation is undefined; leave such neurons out "
            "(weights[weights.any(-1)])"
        )
