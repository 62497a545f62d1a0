"""Where does an initialisation stand in the phase diagram? Read off numbers, a name, or a two-layer model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.theory.condensation.predict.coordinates import Coordinates, named_coordinates, scaling_exponents

__all__ = ["coordinates"]


def coordinates(std_a: Any, std_w: Any = None, alpha: Any = 1.0, width: Any = None) -> Coordinates:
    """Coordinates (γ, γ′) of an initialisation: γ = −log(β₁β₂/α)/log m, γ′ = −log(β₁/β₂)/log m.

    Three ways to call it: with numbers, ``coordinates(std_a, std_w, alpha, width)``; with a name, ``coordinates("ntk")``, for
    the limit of infinite width; with a two-layer model, ``coordinates(model)``, which takes β₁ and β₂ as the root mean squares
    of its outgoing and incoming weights (biases included where they are drawn, that is not all zero). A constant factor c of a
    scale shifts a finite-width coordinate by log c / log m: compare two widths to tell a shift from an exponent.

    Args:
        std_a: β₁, standard deviation of the outgoing weights (number or array); or a name; or a model of two affine layers.
        std_w: β₂, standard deviation of the incoming weights.
        alpha: α in f = (1/α) Σ a σ(w·x); a model's own forward is taken to have α = 1 unless given.
        width: m ≥ 2.

    Returns:
        `Coordinates`, which unpacks as ``gamma, gamma_prime``.

    Raises:
        ArgumentError: a scale that is not positive, a width below 2, or a missing number.
        UnknownNameError: a name that is not known; the nearest ones are listed.
        UnsupportedError: a model that has not exactly two affine layers.

    Source: Luo et al. (2021), Eq. (6)–(7).

    Example:
        >>> coordinates(1.0, 1.0, 10.0, 100), coordinates("ntk")
        (Coordinates(gamma=0.5, gamma_prime=0.0), Coordinates(gamma=0.5, gamma_prime=0.0))
    """
    if isinstance(std_a, str):
        return named_coordinates(std_a)
    if isinstance(std_a, nn.Module):
        incoming, outgoing = _two_layers(std_a)
        return scaling_exponents(_scale(outgoing), _scale(incoming), alpha, incoming.shape[0])
    for name, value in (("std_w", std_w), ("width", width)):
        if value is None:
            raise ArgumentError(f"{name} is missing: coordinates(std_a, std_w, alpha, width), or pass a model or a name")
    return scaling_exponents(std_a, std_w, alpha, width)


def _two_layers(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Incoming weights with their biases as last column (m, D), and outgoing weights (K, m)."""
    affine = [m for m in model.modules() if isinstance(m, nn.Linear)]
    if len(affine) == 2 and affine[1].in_features == affine[0].out_features:
        first, second = affine
        incoming = first.weight.detach().double()
        if first.bias is not None and bool((first.bias != 0).any()):
            incoming = torch.cat([incoming, first.bias.detach().double()[:, None]], 1)
        return incoming, second.weight.detach().double()
    raise UnsupportedError(
        f"model must be a two-layer network (two nn.Linear, the second reading the first), got {len(affine)} linear layers in "
        f"{type(model).__name__}; the diagram is about two-layer networks: pass the standard deviations instead"
    )


def _scale(weights: Tensor) -> float:
    return float(weights.square().mean().sqrt())
