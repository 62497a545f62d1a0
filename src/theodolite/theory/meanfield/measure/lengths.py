"""Lengths and correlations of pre-activations, and the local slopes χ, of a network of finite width."""

from __future__ import annotations

from typing import Any

import torch

from theodolite.core.arrays import as_float64
from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.core.quantity import quantity
from theodolite.maths.activation import Activation, identify
from theodolite.theory.meanfield.measure.judges import judge_chi_1, judge_correlation, judge_q_length

__all__ = ["chi", "chi_1", "correlation", "q_length"]


@quantity(symbol="q", reference="poole2016 Eq. 2", judge=judge_q_length)
def q_length(preactivations: Any) -> Any:
    """Squared length of a layer's pre-activations per unit: q = (1/(N n)) Σ_a Σ_i z_ai².

    Args:
        preactivations: (..., N, n), N inputs and n units.

    Returns:
        (...), averaged over the inputs.

    Raises:
        ArgumentError: fewer than two dimensions, or non-finite entries.

    Cost: one pass.

    Example:
        >>> float(q_length(torch.tensor([[1.0, -1.0], [2.0, 2.0]])))
        2.5
    """
    z = as_float64(preactivations, "preactivations", at_least=2)
    return (z * z).mean((-2, -1))


def _mean_over_pairs(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Mean of u_a·v_b over the pairs a ≠ b, (...): all pairs are (Σu)·(Σv), so that no N × N matrix is needed."""
    n = u.shape[-2]
    if n < 2:
        raise ArgumentError("preactivations must hold at least two inputs, between which something can be correlated, got 1")
    return ((u.sum(-2) * v.sum(-2)).sum(-1) - (u * v).sum((-2, -1))) / (n * (n - 1))


@quantity(symbol="c", reference="poole2016 Eq. 4", judge=judge_correlation)
def correlation(preactivations: Any) -> Any:
    """Mean correlation of the pre-activations of two different inputs: c_ab = z_a·z_b / (|z_a||z_b|), averaged over pairs a ≠ b.

    Not centred: it is the cosine that the correlation map C(c) is about. The share c of the squared signal is common to all inputs, and
    1 − c tells them apart: a report calls inputs close from c = 0.9 and merged from c = 0.999.

    Args:
        preactivations: (..., N, n), N ≥ 2.

    Returns:
        (...).

    Raises:
        ArgumentError: a single input, or an input whose pre-activations are all 0.

    Cost: O(N n).

    Example:
        >>> float(correlation(torch.tensor([[1.0, 0.0], [0.0, 3.0], [0.0, 1.0]]))).__round__(12)
        0.333333333333
    """
    z = as_float64(preactivations, "preactivations", at_least=2)
    norms = z.norm(dim=-1, keepdim=True)
    if bool((norms == 0).any()):
        raise ArgumentError("preactivations must not vanish for any input: a zero vector has no direction")
    unit = z / norms
    return _mean_over_pairs(unit, unit)


def _activation(architecture: Any) -> Activation:
    """The one activation of a network, from a lens's architecture; or the callable itself."""
    if not hasattr(architecture, "hidden"):
        return identify(architecture)
    found = {identify(layer.activation).name: identify(layer.activation) for layer in architecture.hidden}
    if len(found) != 1:
        names = ", ".join(sorted(found)) or "none"
        raise UnsupportedError(
            f"χ needs one activation for all hidden layers, found: {names}; call it layer by layer with that one"
        )
    return next(iter(found.values()))


def _slopes(preactivations: Any, outgoing: Any, architecture: Any) -> tuple[torch.Tensor, torch.Tensor]:
    z = as_float64(preactivations, "preactivations", at_least=2)
    weight = as_float64(outgoing, "outgoing", at_least=2, device=z.device)
    if weight.shape[-1] != z.shape[-1]:
        raise ArgumentError(f"outgoing must have one column per unit, {z.shape[-1]}, got shape {tuple(weight.shape)}")
    slope = torch.from_numpy(_activation(architecture).prime(z.detach().cpu().numpy())).to(z.device)
    return slope, (weight * weight).mean(-2)  # (..., N, n), (..., n)


@quantity(symbol="χ₁", reference="schoenholz2017 Eq. 5", fill={"outgoing": "reading"}, judge=judge_chi_1)
def chi_1(preactivations: Any, outgoing: Any, architecture: Any) -> Any:
    """Growth of squared perturbations from one layer's pre-activations to the next: χ₁ = (1/K) Σ_ki W_ki² ⟨φ′(z_i)²⟩.

    ‖W diag φ′(z)‖_F²/K, averaged over inputs; tends to σ_w² E φ′(√q z)² with width.

    Args:
        preactivations: (..., N, n).
        outgoing: (..., K, n), the weights that read the layer; for a convolution their root of the sum of squares over positions.
        architecture: the lens's architecture, or the activation φ itself.

    Returns:
        (...).

    Raises:
        UnsupportedError: hidden layers of different activations, or one that jumps.
        ArgumentError: shapes that do not fit.

    Cost: one pass.

    Example:
        >>> float(chi_1(torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 5.0]]), torch.relu))
        4.0
    """
    slope, weight = _slopes(preactivations, outgoing, architecture)
    return ((slope * slope).mean(-2) * weight).sum(-1)


@quantity(symbol="χ", reference="schoenholz2017 Eq. 5", fill={"outgoing": "reading"})
def chi(preactivations: Any, outgoing: Any, architecture: Any) -> Any:
    """Growth of the difference of two inputs per layer: χ = (1/K) Σ_ki W_ki² ⟨φ′(z_ai) φ′(z_bi)⟩, averaged over pairs a ≠ b.

    Tends to χ(c) = σ_w² E φ′(u)φ′(v) at the layer's correlation with width.

    Args:
        preactivations: (..., N, n), N ≥ 2.
        outgoing: (..., K, n), the weights that read the layer; for a convolution their root of the sum of squares over positions.
        architecture: the lens's architecture, or the activation φ itself.

    Returns:
        (...).

    Raises:
        UnsupportedError: hidden layers of different activations, or one that jumps.
        ArgumentError: shapes that do not fit, or a single input.

    Cost: O(N n).

    Example:
        >>> float(chi(torch.tensor([[1.0, -1.0], [3.0, 2.0]]), torch.tensor([[2.0, 5.0]]), torch.relu))
        4.0
    """
    slope, weight = _slopes(preactivations, outgoing, architecture)
    return _mean_over_pairs(slope * weight[..., None, :], slope)
