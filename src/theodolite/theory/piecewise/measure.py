"""What a network shows: its exact linear regions on a domain, and the patterns that given points visit."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import nn

from theodolite.core.errors import ArgumentError, TheodoliteError, UnsupportedError
from theodolite.core.measurement import Judgement, Observation
from theodolite.core.quantity import quantity
from theodolite.draw.progress import progress
from theodolite.maths.activation import identify
from theodolite.theory.piecewise.arguments import integer
from theodolite.theory.piecewise.cells import Cells
from theodolite.theory.piecewise.cutting import cut_regions
from theodolite.theory.piecewise.domains import Domain, identity_map
from theodolite.theory.piecewise.enumeration import pack_patterns
from theodolite.theory.piecewise.lowering import lower
from theodolite.theory.piecewise.program import Program
from theodolite.theory.piecewise.regions import Regions
from theodolite.theory.piecewise.search import Leaf, search_regions
from theodolite.theory.piecewise.stored import StoredRegions, store_regions
from theodolite.theory.piecewise.unbounded import regions_everywhere

__all__ = ["dead_fraction", "regions", "switching_fraction", "visited_regions"]

#: Greatest dimension of the domain for which cells are enumerated with their vertices; beyond it linear programming takes over.
LARGEST_DIM = 6

#: The same for all of ℝᵈ: beyond it the cells of the 2 d + 1 charts are more work than linear programs, but for certificates.
CHARTS_DIM = 4

Certify = Literal["none", "filtered", "exact"]


@overload
def regions(
    model: nn.Module,
    domain: Domain | None,
    *,
    certify: Certify = ...,
    output: int | None = ...,
    max_regions: int | None = ...,
    executor: Executor | None = ...,
    out: None = ...,
) -> Regions: ...


@overload
def regions(
    model: nn.Module,
    domain: Domain | None,
    *,
    certify: Certify = ...,
    output: int | None = ...,
    executor: Executor | None = ...,
    out: Any,
) -> StoredRegions: ...


def regions(
    model: nn.Module,
    domain: Domain | None,
    *,
    certify: Certify = "none",
    output: int | None = None,
    max_regions: int | None = None,
    executor: Executor | None = None,
    out: Any = None,
) -> Regions | StoredRegions:
    """All activation regions with interior of a piecewise-linear network on a domain, with their affine maps.

    d = 1 by breakpoints, d = 2 by polygon cutting, 3 ≤ d ≤ 6 by cutting polytopes along their edges, all depth first in bounded
    memory; all of ℝᵈ, d ≤ 4 (certified: 6), likewise, in 2 d + 1 charts that reach to infinity; beyond, and with ``max_regions`` on
    all of ℝᵈ, by linear programming over half-spaces (HiGHS), which may miss regions thinner than 1e-9.

    Args:
        model: any module of Linear, convolution, BatchNorm (eval mode), ReLU, LeakyReLU, PReLU, abs, hardtanh, ReLU6, hard sigmoid,
            max and average pooling, reshapes, residual additions, concatenations and constant factors; the rest is refused by name.
            It is taken in eval mode, whichever it is in, and left as it is.
        domain: from `box`, `segment`, `polyline`, `slice2d` or `polygon`; None for all of ℝᵈ (d is read off the Linear layers).
        certify: ``none``: float64; on a bounded domain a sign below its own error counts as zero, so that regions thinner than
            this may be missed: about 1e-12 of the domain, up to 1e-7 for deep networks or weights of very different sizes. Beyond
            that, where such signs do not fit together (d ≥ 3), and on all of ℝᵈ, exact arithmetic decides them. ``filtered``: where a
            sign is below its error in the worst case, exact arithmetic decides; nearly as fast for boundaries in general position and
            up to ten layers, beyond which the worst case is far from what happens. ``exact``: exact arithmetic throughout.
        output: keep only this output of the network (flattened index).
        max_regions: stop cleanly after this many; the result then has ``complete == False``.
        executor: any `concurrent.futures.Executor` (threads, processes, Dask's) for large jobs; subtrees of the enumeration are its
            tasks. The regions are the same, but for such as ``none`` may miss, and their maps up to rounding.
        out: a folder or fsspec URL for a zarr store, for more regions than memory holds: the tasks write their subtrees there
            themselves. Calling again with the same network, domain and ``out`` computes only what is missing.

    Returns:
        `Regions`; with ``out`` a `StoredRegions`, which reads them tile by tile.

    Raises:
        UnsupportedError: an operation that is not piecewise linear; certificates for d > 6.
        ArgumentError: non-finite weights, a domain of the wrong dimension, a bad option.
        StoreError: ``out`` belongs to another job, or cannot be written.

    Cost: 0.03 ms and 0.7 to 1.8 µs per segment (d = 1, width ≤ 64), 0.03 ms and 0.3 to 1.4 µs per region (d = 2, width ≤ 64; 2.5 µs
    at width 256), 4 to 15 µs per cell (d = 3); 0.6 ms to trace a model of one's own Python code. The layers' maps are corrected from
    one region to the next where their patterns differ in few places; only the first region of a parent takes a product with the next
    layer's weights. On all of ℝᵈ 2 to 4 ms and 5 to 25 µs per region; 2 to 6 ms per region by linear programming. Once per
    installation numba compiles, 20 to 30 seconds.

    Example:
        >>> hat = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> with torch.no_grad():
        ...     _ = hat[0].weight.copy_(torch.tensor([[1.0], [1.0], [1.0]])), hat[0].bias.copy_(torch.tensor([0.0, -1.0, -2.0]))
        >>> from theodolite.theory.piecewise.domains import box
        >>> found = regions(hat, box(-1, 3, dim=1))
        >>> found.count, [float(x) for x in found.volumes]
        (4, [1.0, 1.0, 1.0, 1.0])
    """
    _check_options(domain, certify, max_regions)
    if executor is not None:
        from theodolite.lab.blocks import check_executor

        check_executor(executor)
    program = _program(model, domain, output)
    if domain is None or domain.dim > LARGEST_DIM:
        return _not_on_a_box(program, domain, certify, max_regions, executor is not None or out is not None)
    if out is None:
        return cut_regions(program, domain, certify, max_regions, executor)
    if max_regions is not None:
        raise ArgumentError("max_regions has no place with out, which resumes until all regions are there; leave one of them out")
    return store_regions(program, domain, certify, executor, out)


def _check_options(domain: Domain | None, certify: str, max_regions: int | None) -> None:
    if domain is not None and not isinstance(domain, Domain):
        raise ArgumentError(
            f"domain must come from td.box, td.segment, td.polyline, td.slice2d or td.polygon, or be None for all of ℝᵈ; "
            f"got {type(domain).__name__}"
        )
    if certify not in ("none", "filtered", "exact"):
        raise ArgumentError(f"certify must be 'none', 'filtered' or 'exact', got {certify!r}")
    if max_regions is not None:
        integer(max_regions, "max_regions", instead=" or None")


def _program(model: nn.Module, domain: Domain | None, output: int | None) -> Program:
    """The program of the model; without a domain, for inputs of the size that one of its Linear layers takes."""
    if domain is not None:
        return lower(model, domain.input_shape, output)
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)] if isinstance(model, nn.Module) else []
    sizes = list(dict.fromkeys(layer.in_features for layer in layers))
    if not sizes:
        raise ArgumentError("domain must be given for a model without a Linear layer, whose number of inputs cannot be read off")
    failure: ArgumentError | None = None
    for size in sizes:
        try:
            return lower(model, (size,), output)
        except ArgumentError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _not_on_a_box(program: Program, domain: Domain | None, certify: Certify, max_regions: int | None, shared: bool) -> Regions:
    """All of ℝᵈ, and dimensions beyond the cutters."""
    where = "on all of ℝᵈ" if domain is None else f"for d = {domain.dim}"
    if shared:
        raise UnsupportedError(
            f"executor and out are for bounded domains with d ≤ {LARGEST_DIM}, but {where} regions are found in one go; leave them "
            "out, or take a bounded domain or a slice"
        )
    largest = CHARTS_DIM if certify == "none" else LARGEST_DIM
    if domain is None and max_regions is None and program.input_size <= largest and program.switches:
        return regions_everywhere(program, certify)
    if not program.switches:  # one region, whatever decides
        return replace(_by_search(program, domain, max_regions), certify=certify)
    if certify != "none":
        limited = " with max_regions" if max_regions is not None else ""
        raise UnsupportedError(
            f"certify={certify!r} needs d ≤ {LARGEST_DIM}, and no max_regions on all of ℝᵈ, since {where}{limited} "
            'floating-point linear programs decide; use certify="none", or a smaller domain'
        )
    return _by_search(program, domain, max_regions)


def _by_search(program: Program, domain: Domain | None, limit: int | None) -> Regions:
    if domain is None:
        start, low, high = identity_map(program.input_size), None, None
    else:
        chart = domain.charts[0]
        start, (low, high) = chart.start, chart.vertices
    leaves: list[Leaf] = []
    complete = True
    for leaf in progress(search_regions(program, start, low, high), "searching regions"):
        if limit is not None and len(leaves) == limit:
            complete = False
            break
        leaves.append(leaf)
    dim = start.shape[1] - 1
    rows = np.concatenate([leaf.rows for leaf in leaves])
    facets = np.concatenate([rows, np.zeros((len(rows), 1))], axis=1)
    starts = np.concatenate([[0], np.cumsum([len(leaf.rows) for leaf in leaves])])
    labels = np.concatenate([leaf.labels for leaf in leaves])
    nothing = np.zeros(len(leaves) + 1, dtype=int)
    cells = Cells(np.zeros((0, dim + 1)), nothing, facets, labels, starts, np.zeros((0, 1), dtype=np.uint64))
    bits = pack_patterns(program, np.stack([leaf.bits for leaf in leaves]))
    maps = np.stack([leaf.maps for leaf in leaves])
    witnesses = np.stack([leaf.witness for leaf in leaves])
    return Regions(program, domain, cells, np.zeros(len(leaves), int), bits, maps, witnesses, complete, "none")


@dataclass(frozen=True)
class _Samples:
    """Patterns as rows of bytes, leading dimensions kept apart."""

    patterns: torch.Tensor

    def distinct(self) -> torch.Tensor:
        flat = self.patterns.reshape(-1, *self.patterns.shape[-2:])
        counts = [len(torch.unique(rows.to(torch.uint8), dim=0)) for rows in flat]
        return torch.tensor(counts, dtype=torch.float64, device=self.patterns.device).reshape(self.patterns.shape[:-2])


@quantity(symbol="#regions ≥", reference="hanin2019complexity")
def visited_regions(patterns: torch.Tensor) -> torch.Tensor:
    """Number of distinct activation patterns of one layer among the samples: a lower bound on its number of regions.

    It saturates at the number of samples: in many dimensions nearly every sample has a pattern of its own, and the number then
    says nothing about the network. Count with `regions` on a slice instead.

    Args:
        patterns: (..., N, n) booleans, preactivations > 0.

    Returns:
        (...), at most N.

    Cost: O(N n log N).

    Example:
        >>> visited_regions(torch.tensor([[True, False], [True, True], [True, False]])).item()
        2.0
    """
    return _Samples(torch.as_tensor(patterns)).distinct()


def judge_dead_fraction(seen: Observation) -> Judgement:
    """Neurons that are constant on all samples; a pattern says so only where the activation is flat on the left, as ReLU is."""
    try:
        slopes = identify(seen.facts["activation"]).slopes
    except (TheodoliteError, KeyError):
        slopes = None
    if not slopes or slopes[0] != 0:
        return Judgement("", "", "note")
    if seen.value <= 0.1:
        return Judgement("alive", "", "good")
    width = seen.facts["width"]
    biases = "initialise their biases anew, " if seen.facts.get("biased", True) else ""
    advice = (
        f"{round(seen.value * width)} of {width} {seen.facts.get('entries', 'neurons')} are active on no sample: they are dead and "
        f"learn nothing on these data; lower the learning rate, {biases}or use a leaky activation"
    )
    return Judgement("dead neurons", advice, "bad" if seen.value > 0.5 else "note", seen.value)


@quantity(symbol="dead", reference="hanin2019complexity", judge=judge_dead_fraction)
def dead_fraction(patterns: torch.Tensor) -> torch.Tensor:
    """Fraction of a layer's neurons that are active on no sample.

    Args:
        patterns: (..., N, n) booleans, preactivations > 0.

    Returns:
        (...), in [0, 1]. Whether a neuron is dead on a whole domain is decided exactly by `dead_neurons`.

    Example:
        >>> dead_fraction(torch.tensor([[True, False], [True, False]])).item()
        0.5
    """
    patterns = torch.as_tensor(patterns)
    return (~patterns.bool().any(dim=-2)).to(torch.float64).mean(dim=-1)


@quantity(symbol="switching", reference="hanin2019complexity")
def switching_fraction(patterns: torch.Tensor) -> torch.Tensor:
    """Fraction of a layer's neurons that are active on some samples and inactive on others: those that make it non-linear there.

    Args:
        patterns: (..., N, n) booleans, preactivations > 0.

    Returns:
        (...), in [0, 1].

    Example:
        >>> switching_fraction(torch.tensor([[True, False], [True, True]])).item()
        0.5
    """
    patterns = torch.as_tensor(patterns).bool()
    return (patterns.any(dim=-2) & ~patterns.all(dim=-2)).to(torch.float64).mean(dim=-1)
