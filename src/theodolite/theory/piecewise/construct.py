"""What exact regions let one build: the three-layer network, merged regions, networks without neurons that do nothing."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.theory.piecewise.certificate import certify_regions
from theodolite.theory.piecewise.domains import Domain, identity_map
from theodolite.theory.piecewise.facets import FacetTable
from theodolite.theory.piecewise.measure import Certify, regions
from theodolite.theory.piecewise.program import Affine, Array
from theodolite.theory.piecewise.regions import Regions
from theodolite.theory.piecewise.shallow import Shallow
from theodolite.theory.piecewise.stored import StoredRegions

__all__ = ["MergedRegions", "Simplified", "always_on_neurons", "dead_neurons", "merge_regions", "simplify", "to_shallow"]


class _Left(Enum):
    """What stands for a domain that was left out; None is all of ℝᵈ."""

    OUT = "left out"


def _told_apart(model: nn.Module, domain: Domain | None) -> Regions:
    """Regions with their patterns as they are over ℚ, where that can be had: for d ≤ 6."""
    try:
        return regions(model, domain, certify="filtered")
    except UnsupportedError:
        return regions(model, domain)


def _regions_of(
    model: nn.Module | Regions | StoredRegions, domain: Domain | _Left | None, certify: Certify | None = None
) -> Regions:
    """The regions of a network on the domain that it needs, or given regions as they are, in memory."""
    if isinstance(model, StoredRegions):
        model = model.load()
    if isinstance(model, Regions):
        if domain is _Left.OUT or domain is model.domain:
            return model
        raise ArgumentError(
            f"domain must be left out with regions, which have one of their own ({model.domain!r}), got {domain!r}"
        )
    if domain is _Left.OUT:
        raise ArgumentError("domain must be given with a network, e.g. td.box(-1, 1, dim=2), or None for all of ℝᵈ; got none")
    return _told_apart(model, domain) if certify is None else regions(model, domain, certify=certify)


def to_shallow(
    model: nn.Module | Regions | StoredRegions,
    domain: Domain | _Left | None = _Left.OUT,
    *,
    mode: Literal["exact", "paper", "finite"] = "exact",
    certify: Certify = "none",
) -> Shallow:
    """A deep piecewise-linear network on a domain as a network of three layers, functionally identical.

    Layer 1 holds the half-spaces H x + c of all regions, layer 2 selects the region (S) and holds its affine map, layer 3 is a row
    of ±1; see `theodolite.theory.piecewise.shallow`. Layer 3 has no parameters to learn and layer 2 two rows per region and output:
    the network is large, a white box rather than a speed-up.

    ============= ================================== ==========================================================================
    mode          selector                           equal to the deep network
    ============= ================================== ==========================================================================
    ``paper``     S ∈ {0, −∞}, honest 0 · ∞ = 0       off the facets; on a facet the literal sum counts both sides
    ``exact``     the first region least violated     everywhere on the domain, boundaries and lower-dimensional patterns included
    ``finite``    ±1 and a finite margin M            off the boundaries of lower-dimensional patterns (vertices, for d = 2)
    ============= ================================== ==========================================================================

    "Identical" holds over ℚ, with weights unrounded (`Shallow.rational`); the float64 module rounds the composed maps, and agrees
    with the deep network to a few ulps of the magnitudes involved. Without certificates, boundaries nearer than about 1e-11 of the
    domain (of neurons that are all but equal) may count as one.

    Args:
        model: a network, or its `Regions`.
        domain: where, as for `regions` (None is all of ℝᵈ); left out with `Regions`. The shallow network takes its coordinates.
        mode: see above.
        certify: as for `regions`; other than ``none``, the partition and equality at all vertices are then proved over ℚ.

    Returns:
        `Shallow`, with ``certificate`` None for ``certify="none"``.

    Raises:
        ArgumentError: a network without a domain, or regions with another one.
        UnsupportedError: mode ``finite`` on an unbounded domain, or what `regions` refuses.

    Reference: villani2023.

    Example:
        >>> from theodolite.theory.piecewise.domains import box
        >>> net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).double()
        >>> with torch.no_grad():
        ...     _ = net[0].weight.copy_(torch.tensor([[1.0], [-1.0]])), net[0].bias.zero_()
        ...     _ = net[2].weight.fill_(1.0), net[2].bias.zero_()            # |x|
        >>> flat = to_shallow(net, box(-1, 1, dim=1), certify="exact")
        >>> flat(torch.tensor([[-0.5], [0.25]])).tolist(), bool(flat.certificate)
        ([[0.5], [0.25]], True)
    """
    if mode not in ("exact", "paper", "finite"):
        raise ArgumentError(f"mode must be 'exact', 'paper' or 'finite', got {mode!r}")
    found = _regions_of(model, domain, certify)
    found._need_all("a shallow network")
    if mode == "finite" and found.domain is None:
        raise UnsupportedError("mode='finite' needs a bounded domain, on which the margin M bounds the network; use mode='exact'")
    certificate = None
    if certify != "none":
        found._need_vertices("certificates")
        certificate = certify_regions(found)
    return Shallow(FacetTable.of(found, oriented=mode != "finite"), mode, certificate)


@dataclass(frozen=True, eq=False, repr=False)
class MergedRegions:
    """Connected unions of regions on which the network is one affine map.

    Attributes:
        regions: the activation regions.
        labels: (R,): the union that each of them belongs to.
    """

    regions: Regions
    labels: Array

    @property
    def count(self) -> int:
        """Number of connected linear pieces: at most the number of activation regions, at least the number of distinct maps."""
        return int(self.labels.max(initial=-1)) + 1

    @cached_property
    def groups(self) -> list[Array]:
        """The regions of each union."""
        order = np.argsort(self.labels, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.labels))[:-1])

    @property
    def affine(self) -> tuple[Array, Array]:
        """A (count, outputs, d) and b (count, outputs)."""
        first = np.array([g[0] for g in self.groups])
        weight, bias = self.regions.affine
        return weight[first], bias[first]

    @property
    def volumes(self) -> Array:
        """Volume of each union."""
        return np.bincount(self.labels, weights=self.regions.volumes)

    def __repr__(self) -> str:
        return f"{self.count} connected linear pieces from {self.regions.count} activation regions"


def merge_regions(found: Regions | StoredRegions) -> MergedRegions:
    """Join neighbouring regions with the same affine map: a switch that flips between them makes no difference.

    Activation regions, distinct affine maps and connected pieces are three numbers: ``count``, ``pieces`` and the count of this.

    Args:
        found: from `regions`.

    Example:
        >>> from theodolite.theory.piecewise.domains import box
        >>> net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).double()
        >>> with torch.no_grad():
        ...     _ = net[0].weight.copy_(torch.tensor([[1.0], [1.0]])), net[0].bias.copy_(torch.tensor([0.0, -0.5]))
        ...     _ = net[2].weight.copy_(torch.tensor([[1.0, 0.0]]))          # the second neuron is not read
        >>> merge_regions(regions(net, box(-1, 1, dim=1)))
        2 connected linear pieces from 3 activation regions
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if isinstance(found, StoredRegions):
        found = found.load()
    if not isinstance(found, Regions):
        raise ArgumentError(f"found must be what td.piecewise.regions returns, got {type(found).__name__}")
    pairs = found.neighbours
    classes = found.map_classes
    same = pairs[classes[pairs[:, 0]] == classes[pairs[:, 1]]]
    graph = coo_matrix((np.ones(len(same)), (same[:, 0], same[:, 1])), shape=(found.count,) * 2)
    return MergedRegions(found, connected_components(graph, directed=False)[1].astype(int))


def dead_neurons(model: nn.Module | Regions | StoredRegions, domain: Domain | _Left | None = _Left.OUT) -> Array:
    """Pattern columns (neurons) that are off on the whole domain, exactly: nowhere in it is their pre-activation positive.

    Args:
        model: a network, or its `Regions`, which are taken as they are: those with ``certify="none"`` may miss thin regions.
        domain: where, as for `regions` (None is all of ℝᵈ); left out with `Regions`.

    Raises:
        ArgumentError: a network without a domain, or regions with another one.
    """
    return _regions_of(model, domain).dead


def always_on_neurons(model: nn.Module | Regions | StoredRegions, domain: Domain | _Left | None = _Left.OUT) -> Array:
    """Pattern columns (neurons) that are on in all regions of the domain: they act as linear units there.

    Args:
        model: a network, or its `Regions`, which are taken as they are: those with ``certify="none"`` may miss thin regions.
        domain: where, as for `regions` (None is all of ℝᵈ); left out with `Regions`.

    Raises:
        ArgumentError: a network without a domain, or regions with another one.
    """
    return _regions_of(model, domain).always_on


class Simplified(nn.Sequential):
    """A chain without the neurons that are constant on a domain.

    Attributes:
        removed: for every hidden layer, by its position in the original chain, the neurons that were removed.
    """

    removed: dict[int, list[int]]


def simplify(model: nn.Module, domain: Domain | None) -> Simplified:
    """The network without its neurons whose output is constant on the domain, exactly the same function there.

    Dead ReLUs go; so do saturated hard activations and neurons without inputs. A constant other than zero moves into the next bias
    (rounded once). Neurons that are always on are linear, not constant, and stay. Regions are told apart exactly for d ≤ 6; beyond, by
    linear programs, a neuron that is on nowhere but in regions thinner than 1e-9 counts as off.

    Args:
        model: a chain (`torch.nn.Sequential`) of Linear layers and elementwise activations.
        domain: where, as for `regions`.

    Returns:
        A new chain; the given one is left alone.

    Raises:
        UnsupportedError: the model is not such a chain.

    Example:
        >>> from theodolite.theory.piecewise.domains import box
        >>> net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).double()
        >>> with torch.no_grad():
        ...     _ = net[0].weight.copy_(torch.tensor([[1.0], [1.0]])), net[0].bias.copy_(torch.tensor([0.0, -3.0]))
        >>> simplify(net, box(-1, 1, dim=1)).removed
        {0: [1]}
    """
    import copy

    layers = list(model) if type(model) is nn.Sequential else []
    linear = [k for k, m in enumerate(layers) if isinstance(m, nn.Linear)]
    if not linear:
        got = f"{type(model).__name__} without Linear layers" if layers else type(model).__name__
        raise UnsupportedError(f"simplify takes an nn.Sequential of Linear layers and activations, got {got}")
    for k, module in enumerate(layers):
        if type(module) is not nn.Linear and type(module) not in _ELEMENTWISE:
            raise UnsupportedError(
                f"simplify takes chains of Linear and elementwise activations, got {type(module).__name__} at {k}"
            )
    found = _told_apart(model, domain)
    found._need_all("a simplification")
    simplified = Simplified(*(copy.deepcopy(m) for m in layers))
    simplified.train(model.training)
    simplified.removed = {}
    names = list(model._modules)
    for here, after in itertools.pairwise(linear):
        value = _constants(found, names[after])
        gone = np.isfinite(value)
        if gone.any():
            if gone.all():
                gone[0] = False  # a layer of width zero is no layer
            simplified.removed[here] = [int(j) for j in np.flatnonzero(gone)]
            _remove(simplified[here], simplified[after], gone, value)
    return simplified


#: Regions whose maps are worked out at a time.
SLICE = 4096

#: Modules between the layers of a chain that is simplified: each entry of their output depends on the same entry of their input.
_ELEMENTWISE = {
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, nn.Hardsigmoid, nn.Softshrink, nn.Threshold, nn.RReLU),
    *(nn.Identity, nn.Dropout),
}


def _constants(found: Regions, layer: str) -> Array:
    """What a layer reads, where it is the same constant in all regions; NaN for entries that are not."""
    program = found.program
    index = next((i for i, s in enumerate(program.steps) if isinstance(s, Affine) and s.name == layer), None)
    if index is None:
        raise UnsupportedError(f"simplify does not find layer {layer!r} among the steps of the network")
    source = program.steps[index].sources[0]  # type: ignore[union-attr]
    starts = [identity_map(found.dim)] if found.domain is None else [chart.start for chart in found.domain.charts]
    constant: Array | None = None
    same = np.ones(0, dtype=bool)
    for chart, start in enumerate(starts):
        mine = np.flatnonzero(found.charts == chart)
        for low in range(0, len(mine), SLICE):
            patterns = found.patterns[mine[low : low + SLICE]].astype(np.uint8)
            maps = next(values[source] for i, _, values in program.affine_values(start, patterns) if i == index)
            if constant is None:
                constant, same = maps[0, -1], np.ones(maps.shape[2], dtype=bool)
            same &= (maps[:, :-1] == 0).all(axis=(0, 1)) & (maps[:, -1] == constant).all(axis=0)
    assert constant is not None, "a domain has a region"
    return np.where(same, constant, np.nan)


@torch.no_grad()
def _remove(here: Any, after: Any, gone: Array, value: Array) -> None:
    keep = torch.from_numpy(np.flatnonzero(~gone))
    moved = torch.from_numpy(np.where(gone, np.nan_to_num(value), 0.0)).to(after.weight)
    shift = after.weight @ moved
    if after.bias is not None:
        after.bias = nn.Parameter(after.bias + shift, requires_grad=after.bias.requires_grad)
    elif bool(shift.any()):
        after.bias = nn.Parameter(shift)
    here.weight = nn.Parameter(here.weight[keep].clone())
    if here.bias is not None:
        here.bias = nn.Parameter(here.bias[keep].clone())
    here.out_features = len(keep)
    after.weight = nn.Parameter(after.weight[:, keep].clone())
    after.in_features = len(keep)
