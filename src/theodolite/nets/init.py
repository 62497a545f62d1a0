"""Initialisers of the papers, in place and with explicit generators, in the manner of `torch.nn.init`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from theodolite.core.errors import ArgumentError, UnsupportedError

__all__ = [
    "as_domain",
    "deterministic_init_",
    "deterministic_weights",
    "uniform_density_init_",
    "uniform_density_weights",
]


class Bounded(Protocol):
    """A domain that knows the box around it, as those of the piecewise-linear topic (``box(-1, 1, dim=2)``)."""

    @property
    def bounds(self) -> Any:
        """Pairs (low, high), (d, 2)."""


Domain = Sequence[float] | Sequence[Sequence[float]] | Bounded
M = TypeVar("M", bound=nn.Module)


def as_domain(domain: Domain, dim: int | None = None) -> torch.Tensor:
    """A box as (d, 2) float64: one pair (low, high) per axis; a single pair serves every axis of ``dim``.

    Anything with ``bounds`` (a domain of the piecewise-linear topic) is taken by these.

    Raises:
        ArgumentError: not pairs with low < high, or of another dimension than ``dim``.

    Example:
        >>> as_domain((-1, 1), dim=2).tolist()
        [[-1.0, 1.0], [-1.0, 1.0]]
    """
    try:
        box = torch.as_tensor(getattr(domain, "bounds", domain), dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(f"domain must be pairs (low, high), one per axis, got {domain!r}") from None
    if box.shape == (2,):
        box = box.expand(dim or 1, 2).clone()
    if box.ndim != 2 or box.shape[1] != 2 or not bool((box[:, 0] < box[:, 1]).all()) or not bool(torch.isfinite(box).all()):
        raise ArgumentError(f"domain must be pairs (low, high) with low < high, finite, one per axis, got {domain!r}")
    if dim is not None and box.shape[0] != dim:
        raise ArgumentError(f"domain must have one pair per input, {dim}, got {box.shape[0]}")
    return box


def deterministic_weights(width: int, domain: Domain, gamma: float | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """First-layer weights (width, d) and biases (width,) whose transition planes spread evenly over the box, without randomness.

    In one dimension neuron j is σ(γ(x − x_j)) with x_j equispaced on the interval, ends included, and γ = width/length by default, so
    that neighbouring transitions just touch. In d dimensions the directions a_j and offsets r_j of σ(γ(a_j·(x − c) + r_j)) are the
    points of a Sobol sequence, mapped to the sphere and to [0, R], where c and R are the centre and radius of the ball around the box.

    Args:
        width: number of neurons.
        domain: the box, pairs (low, high).
        gamma: γ > 0; default width^(1/d)/(2R), which is width/length in one dimension.

    Example:
        >>> w, b = deterministic_weights(3, (-1, 1))
        >>> w.flatten().tolist(), b.tolist()
        ([1.5, 1.5, 1.5], [1.5, 0.0, -1.5])
    """
    box = as_domain(domain)
    dim = box.shape[0]
    center, radius = box.mean(1), float((box[:, 1] - box[:, 0]).norm() / 2)
    gamma = width ** (1 / dim) / (2 * radius) if gamma is None else gamma
    _check(width, gamma)
    if dim == 1:
        knots = torch.linspace(float(box[0, 0]), float(box[0, 1]), width, dtype=torch.float64) if width > 1 else center
        return torch.full((width, 1), gamma, dtype=torch.float64), gamma * (0.0 - knots)
    points = torch.quasirandom.SobolEngine(dim + 1).draw(width + 1, dtype=torch.float64)[1:]  # the first point is a corner
    normal = torch.erfinv(2 * points[:, :dim].clamp(1e-12, 1 - 1e-12) - 1) * math.sqrt(2)
    # A quantile at the median gives a zero coordinate; all of them at once has no direction.
    normal[normal.norm(dim=1) == 0] = 1.0
    directions = normal / normal.norm(dim=1, keepdim=True)
    return gamma * directions, gamma * (radius * points[:, dim] - directions @ center)


def uniform_density_weights(
    width: int, domain: Domain, gamma: float = 1.0, generator: torch.Generator | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """First-layer weights (width, d) and biases (width,) of neurons σ(γ(a·(x − c) + r)): transition planes of uniform density.

    a is uniform on the unit sphere and r uniform on [0, R], with c and R the centre and radius of the ball around the box; positive r
    suffices because a is symmetric.

    Args:
        width: number of neurons.
        domain: the box, pairs (low, high).
        gamma: γ > 0, how steep a transition is.
        generator: source of randomness; None uses torch's default generator.

    Reference:
        zhang2023transnet; yang2024 Ex. 4.2.

    Example:
        >>> w, b = uniform_density_weights(5, [(0, 1), (0, 1)], generator=torch.Generator().manual_seed(0))
        >>> w.shape, bool(torch.allclose(w.norm(dim=1), torch.ones(5, dtype=torch.float64)))
        (torch.Size([5, 2]), True)
    """
    box = as_domain(domain)
    _check(width, gamma)
    center, radius = box.mean(1), float((box[:, 1] - box[:, 0]).norm() / 2)
    normal = torch.randn(width, box.shape[0], dtype=torch.float64, generator=generator)
    directions = normal / normal.norm(dim=1, keepdim=True)
    offsets = radius * torch.rand(width, dtype=torch.float64, generator=generator)
    return gamma * directions, gamma * (offsets - directions @ center)


def deterministic_init_(model: M, domain: Domain, gamma: float | None = None) -> M:
    """Set the first linear layer of ``model`` to `deterministic_weights`, in place; other layers stay as they are.

    Args:
        model: any module whose first `torch.nn.Linear` (in registration order) reads the input.
        domain: box of the inputs, pairs (low, high); one pair serves every axis.
        gamma: γ > 0; default (width of the layer)^(1/d)/(2R), i.e. n/2 on [−1, 1].

    Returns:
        The model.

    Raises:
        UnsupportedError: the model has no linear layer with a bias, or that layer's weight or bias is computed by a parametrization
            (`torch.nn.utils.parametrizations`) or a hook; the model is left as it was.
        ArgumentError: a domain that does not fit, or γ ≤ 0.

    Reference:
        yang2024 Ex. 4.1 (its exact formula is not published; this one is stated in full above).

    Example:
        >>> net = deterministic_init_(nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)), (-1, 1))
        >>> net[0].bias.tolist()
        [1.5, 0.0, -1.5]
    """
    layer = _first_linear(model)
    box = as_domain(domain, layer.in_features)
    _assign(layer, *deterministic_weights(layer.out_features, box.tolist(), gamma))
    return model


def uniform_density_init_(model: M, domain: Domain, gamma: float = 1.0, generator: torch.Generator | None = None) -> M:
    """Set the first linear layer of ``model`` to `uniform_density_weights`, in place; other layers stay as they are.

    Args:
        model: any module whose first `torch.nn.Linear` (in registration order) reads the input.
        domain: box of the inputs, pairs (low, high); one pair serves every axis.
        gamma: γ > 0.
        generator: source of randomness.

    Returns:
        The model.

    Raises:
        UnsupportedError: the model has no linear layer with a bias, or that layer's weight or bias is computed by a parametrization
            (`torch.nn.utils.parametrizations`) or a hook; the model is left as it was.
        ArgumentError: a domain that does not fit, or γ ≤ 0.

    Reference:
        zhang2023transnet; yang2024 Ex. 4.2.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        >>> net is uniform_density_init_(net, (-1, 1), generator=torch.Generator().manual_seed(0))
        True
    """
    layer = _first_linear(model)
    box = as_domain(domain, layer.in_features)
    _assign(layer, *uniform_density_weights(layer.out_features, box.tolist(), gamma, generator))
    return model


def _check(width: int, gamma: float) -> None:
    if width < 1:
        raise ArgumentError(f"width must be at least 1, got {width}")
    if not (gamma > 0 and math.isfinite(gamma)):
        raise ArgumentError(f"gamma must be positive and finite, got {gamma}")


def _first_linear(model: nn.Module) -> nn.Linear:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            if module.bias is None:
                raise UnsupportedError("the first linear layer has no bias, which this initialisation sets; give it one")
            _check_plain(module)
            return module
    raise UnsupportedError(f"{type(model).__name__} has no nn.Linear layer to initialise")


def _check_plain(layer: nn.Linear) -> None:
    """A weight that is computed from other tensors (weight or spectral normalisation, pruning) is lost when written to."""
    own = dict(layer.named_parameters(recurse=False, remove_duplicate=False))
    derived = [name for name in ("weight", "bias") if name not in own]
    if derived:
        raise UnsupportedError(
            f"the first linear layer must own its weight and bias, but its {' and '.join(derived)} is computed by a parametrization "
            "or a hook, so that nothing can be written to it; initialise the layer before it is normalised or pruned"
        )


def _assign(layer: nn.Linear, weight: torch.Tensor, bias: torch.Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
