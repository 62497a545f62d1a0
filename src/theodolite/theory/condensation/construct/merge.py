"""Merging condensed neurons: a smaller network that computes the same function, with a certificate."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.maths.activation import identify

__all__ = ["MergeCertificate", "merge_neurons"]


@dataclass(frozen=True)
class LayerMerge:
    """What was merged in one hidden layer.

    Attributes:
        name: name of the incoming affine module.
        before: neurons before.
        after: neurons after.
        homogeneous: whether the activation is positively 1-homogeneous, so that orientations decide.
        widest_deg: largest angle between a merged neuron and the one that stands for it, in degrees.
        error_bound: ‖change of the next layer's preactivations‖ ≤ error_bound · ‖(h, 1)‖ for every input h of this layer.
    """

    name: str
    before: int
    after: int
    homogeneous: bool
    widest_deg: float
    error_bound: float


@dataclass(frozen=True)
class MergeCertificate:
    """What `merge_neurons` did, and how far the new network can be from the old one.

    Attributes:
        layers: one `LayerMerge` per hidden layer.
        exact: every merged group is parallel (or equal, without homogeneity) to rounding: the functions agree for all inputs.
        error_bound: for a network with one hidden layer, ‖f(x) − f̃(x)‖ ≤ error_bound · ‖(x, 1)‖ for every x; None for deeper
            ones, whose layers' bounds stand in ``layers``.
    """

    layers: tuple[LayerMerge, ...]
    exact: bool
    error_bound: float | None

    @property
    def before(self) -> int:
        """Hidden neurons before."""
        return sum(layer.before for layer in self.layers)

    @property
    def after(self) -> int:
        """Hidden neurons after."""
        return sum(layer.after for layer in self.layers)

    def __str__(self) -> str:
        how = "exactly" if self.exact else f"up to {self.error_bound:.2e}·‖(x, 1)‖" if self.error_bound is not None else "nearly"
        return f"{self.before} → {self.after} neurons, {how} the same function"


def merge_neurons(model: nn.Module, tolerance: float = 1e-6) -> tuple[nn.Module, MergeCertificate]:
    """A smaller copy of a network in which neurons of one orientation are merged, with a certificate.

    For a positively 1-homogeneous σ (ReLU, leaky ReLU, |z|, identity) neurons w_k = r_k u of one orientation u obey
    Σ_k a_k σ(r_k u·x) = (Σ_k a_k r_k) σ(u·x): one neuron with a = (Σ a_k r_k)/r and w = r u computes the same, exactly. The new
    neuron is balanced, ‖a‖ = ‖w‖. For other activations only neurons with equal weights can be merged: Σ_k a_k σ(w·x).
    Neurons with zero incoming weights are folded into the next bias, those with zero outgoing weights are dropped.

    Within ``tolerance`` the orientation (or weight) that stands for a group is its mean, weighted by amplitude, and the
    certificate bounds the error: Σ_k ‖a_k‖ L ‖w_k − r_k u‖ per unit of ‖(x, 1)‖, with L the Lipschitz constant of σ.

    Args:
        model: an ``nn.Sequential`` (nested ones allowed) of affine layers and elementwise activations; it is left unchanged.
        tolerance: greatest angle, in radians, between a neuron and the first of its group; for activations that are not
            1-homogeneous the greatest relative distance ‖w_k − w‖/‖w‖.

    Returns:
        (model, certificate): the smaller copy, and a `MergeCertificate`.

    Raises:
        ArgumentError: a tolerance outside [0, π/4], or non-finite weights.
        UnsupportedError: a module that is not a chain of affine layers and elementwise activations.

    Cost: O(m² D) per hidden layer of m neurons.

    Source: exact identity; Chen & Xu (2024) use it to reduce widths.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> with torch.no_grad():
        ...     _ = net[0].weight.copy_(torch.tensor([[1.0, 2.0], [2.0, 4.0], [1.0, 0.0]])); _ = net[0].bias.zero_()
        >>> small, certificate = merge_neurons(net, 1e-6)
        >>> small[0].out_features, certificate.exact
        (2, True)
    """
    if not (math.isfinite(tolerance) and 0 <= tolerance <= math.pi / 4):
        raise ArgumentError(f"tolerance must lie in [0, π/4] radians, got {tolerance}")
    small = copy.deepcopy(model)
    layers = tuple(
        _merge_layer(name, first, activation, second, tolerance) for name, first, activation, second in _hidden_layers(small)
    )
    if not layers:
        raise UnsupportedError("model has no hidden layer (affine, activation, affine) whose neurons could be merged")
    rounding = 1e-6 if next(small.parameters()).dtype != torch.float64 else 1e-12
    exact = all(math.radians(layer.widest_deg) <= rounding for layer in layers)
    return small, MergeCertificate(layers, exact, layers[0].error_bound if len(layers) == 1 else None)


def _hidden_layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear, nn.Module, nn.Linear]]:
    """Affine–activation–affine triples of a chain, first to last."""
    chain = list(_flat("", model))
    for name, module in chain:
        if not isinstance(module, nn.Linear) and any(True for _ in module.parameters(recurse=True)) and _is_layer(module):
            raise UnsupportedError(
                f"merge_neurons cannot treat {name or 'the model'} ({type(module).__name__}): use nn.Linear layers"
            )
    affine = [k for k, (_, module) in enumerate(chain) if isinstance(module, nn.Linear)]
    for here, following in itertools.pairwise(affine):
        between = [(n, m) for n, m in chain[here + 1 : following] if not isinstance(m, (nn.Identity, nn.Flatten, nn.Dropout))]
        if len(between) > 1:
            raise UnsupportedError(
                f"between {chain[here][0]} and {chain[following][0]} there must be one activation, got "
                + ", ".join(type(m).__name__ for _, m in between)
            )
        activation = between[0][1] if between else nn.Identity()
        yield chain[here][0], chain[here][1], activation, chain[following][1]  # type: ignore[misc]


def _is_layer(module: nn.Module) -> bool:
    return not isinstance(module, nn.PReLU)


def _flat(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, nn.Sequential):
        for child_name, child in module.named_children():
            yield from _flat(f"{name}.{child_name}".lstrip("."), child)
    elif isinstance(module, nn.Linear) or not list(module.children()):
        yield name, module
    else:
        raise UnsupportedError(
            f"model must be an nn.Sequential of affine layers and activations, got {type(module).__name__} at "
            f"{name or 'the top'}; write it as a chain, or merge its Sequential parts one by one"
        )


def _merge_layer(name: str, first: nn.Linear, activation: nn.Module, second: nn.Linear, tolerance: float) -> LayerMerge:
    """Merge the neurons of ``first`` in place."""
    function = identify(activation)
    homogeneous, lipschitz = _homogeneous(function), _lipschitz(function)
    rows = torch.cat([first.weight.detach(), _bias(first)[:, None]], 1).double()  # (m, D)
    out = second.weight.detach().double()  # (K, m)
    if not (bool(torch.isfinite(rows).all()) and bool(torch.isfinite(out).all())):
        raise ArgumentError(f"weights of {name} and of the layer after it must be finite")
    norms, sizes = rows.norm(dim=1), out.norm(dim=0)
    constant = (norms == 0) & (sizes > 0)
    shift = out[:, constant].sum(1) * float(function(np.zeros(1))[0])
    groups = _groups(rows, norms, (norms > 0) & (sizes > 0), tolerance, homogeneous)
    new_rows, new_out, widest, bound = [], [], 0.0, 0.0
    for group in groups:
        row, column = _merged(rows[group], out[:, group], homogeneous)
        stand_in = (norms[group] / row.norm())[:, None] * row if homogeneous else row.expand(len(group), -1)
        errors = (rows[group] - stand_in).norm(dim=1)
        moved = float((sizes[group] * errors).sum())
        bound += moved * lipschitz if moved else 0.0  # at a jump the slope is infinite
        widest = max(widest, float((errors / norms[group]).max()))
        new_rows.append(row)
        new_out.append(column)
    # A layer needs a neuron: one that does nothing stands for an empty layer.
    incoming = torch.stack(new_rows) if groups else torch.zeros_like(rows[:1])
    outgoing = torch.stack(new_out, 1) if groups else torch.zeros_like(out[:, :1])
    _install(first, incoming[:, :-1], incoming[:, -1])
    _install(second, outgoing, _bias(second).double() + shift)
    return LayerMerge(name, len(rows), len(incoming), homogeneous, math.degrees(widest), bound)


def _groups(rows: Tensor, norms: Tensor, alive: Tensor, tolerance: float, homogeneous: bool) -> list[Tensor]:
    """Indices of neurons that may be merged: each within the tolerance of the first (longest) of its group."""
    points = rows / norms.clamp_min(torch.finfo(torch.float64).tiny)[:, None] if homogeneous else rows
    chord = 2 * math.sin(tolerance / 2) if homogeneous else tolerance
    left = torch.argsort(norms, descending=True, stable=True)
    left = left[alive[left]]
    groups = []
    while len(left):
        scale = 1.0 if homogeneous else float(norms[left[0]])
        near = (points[left] - points[left[0]]).norm(dim=1) <= chord * scale + 1e-15
        groups.append(left[near])
        left = left[~near]
    return groups


def _merged(rows: Tensor, out: Tensor, homogeneous: bool) -> tuple[Tensor, Tensor]:
    """Incoming row and outgoing column of the neuron that stands for a group."""
    if len(rows) == 1:
        return rows[0], out[:, 0]
    sizes, norms = out.norm(dim=0), rows.norm(dim=1)
    if not homogeneous:
        return (sizes[:, None] * rows).sum(0) / sizes.sum(), out.sum(1)
    direction = (sizes[:, None] * rows).sum(0)
    direction = direction / direction.norm()
    total = (out * norms).sum(1)
    length = total.norm().sqrt()  # balanced: ‖a‖ = ‖w‖
    if float(length) == 0.0:
        return direction, total
    return length * direction, total / length


def _install(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Give an affine layer new weights, and the sizes that go with them; a bias appears only where one is needed."""
    dtype, device, trainable = layer.weight.dtype, layer.weight.device, layer.weight.requires_grad
    layer.weight = nn.Parameter(weight.to(dtype=dtype, device=device).contiguous(), requires_grad=trainable)
    layer.out_features, layer.in_features = weight.shape
    if layer.bias is not None or bool((bias != 0).any()):
        layer.bias = nn.Parameter(bias.to(dtype=dtype, device=device), requires_grad=trainable)


def _bias(layer: nn.Linear) -> Tensor:
    return layer.bias.detach() if layer.bias is not None else layer.weight.new_zeros(layer.out_features)


def _homogeneous(function: Any) -> bool:
    """Whether σ(c z) = c σ(z) for all c > 0: linear on either side of zero, and zero there."""
    one = function(np.array([-1.0, 0.0, 1.0]))
    z = np.array([-37.0, -3.0, -0.1, -1e-4, 0.0, 1e-4, 0.1, 3.0, 37.0])
    expected = np.where(z > 0, one[2] * z, -one[0] * z)
    return bool(one[1] == 0.0 and np.abs(function(z) - expected).max() <= 1e-12 * max(1.0, np.abs(expected).max()))


def _lipschitz(function: Any) -> float:
    """Largest slope of σ on [−40, 40], with the grid's own curvature as a margin."""
    if function.jumps:
        return math.inf
    z = np.linspace(-40, 40, 160_001)
    slopes = np.abs(function.derivative(z))
    margin = float(np.abs(np.diff(slopes[np.abs(z) < 40])).max()) if function.slopes is None else 0.0
    return float(slopes.max()) + margin
