"""How many directions do the neurons of a layer point to? A weighted mean shift on the sphere, with a confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from theodolite.core.errors import ArgumentError
from theodolite.core.measurement import Judgement, Measurement, Observation
from theodolite.core.quantity import quantity
from theodolite.theory.condensation.measure.neurons import weighted_orientations

__all__ = ["DirectionCount", "count_directions"]

#: Neurons that carry this share of the amplitude shape the density; the rest is dust.
KEPT = 0.99
#: A mode with less than this share of the amplitude within two bandwidths is not a direction.
LEAST_MASS = 0.02
#: Neurons used for the density: beyond, equal parts of the amplitude are drawn along the sorted list.
MOST = 2000


@dataclass(frozen=True, repr=False)
class DirectionCount(Measurement):
    """Directions that a layer's neurons point to. The count means something only where coverage and concentration are high.

    Attributes:
        value: the number of directions; ``reason`` says so where the neurons have not condensed.
        directions: number of orientations on the sphere.
        lines: the same with opposite orientations counted once.
        mass: (directions,) share of the amplitude within two bandwidths of each, largest first; sums to ``coverage``.
        coverage: share of the amplitude within two bandwidths of a retained direction.
        concentration: mean cosine of the neurons (by amplitude) to their nearest direction.
        stable: whether bandwidths of ½, 1, 1½ and 2 times the given one count the same.
        vectors: (directions, D) the orientations.
    """

    directions: int = 0
    lines: int = 0
    mass: Any = None
    coverage: float = 0.0
    concentration: float = 0.0
    stable: bool = False
    vectors: Any = None

    @property
    def condensed(self) -> bool:
        """Whether the count is valid: stable, coverage at least 0.95 and concentration at least 0.98."""
        return self.stable and self.coverage >= 0.95 and self.concentration >= 0.98

    def __int__(self) -> int:
        return self.directions

    def __repr__(self) -> str:
        return (
            f"DirectionCount(directions={self.directions}, lines={self.lines}, coverage={self.coverage:.3g}, "
            f"concentration={self.concentration:.3g}, stable={self.stable})"
        )


def judge_directions(seen: Observation) -> Judgement:
    """Whether the neurons have condensed, and to how many directions."""
    found, width = seen.measured, seen.facts.get("width", 0)
    if not isinstance(found, DirectionCount) or not found.condensed or 2 * found.directions > width:
        return Judgement("not condensed", "", "note")
    lines = "" if found.lines == found.directions else f" ({found.lines} up to sign)"
    facts = seen.facts
    advice = (
        f"{width} {facts.get('entries', 'neurons')} point to only {found.directions} directions{lines}, so the layer acts like one of "
        "about that many"
    )
    # Only chains of Linear layers can be merged.
    if facts.get("plain") and facts.get("written_by") == "linear" and set(facts.get("read_by", ())) == {"linear"}:
        advice += "; condensation.merge_neurons joins neurons of one direction"
    return Judgement("condensed", advice, "note", severity=1 - found.directions / width)


@quantity(symbol="#u", reference="zhou2022", fill={"amplitudes": "amplitudes"}, judge=judge_directions)
def count_directions(weights: Tensor, amplitudes: Tensor | None = None, bandwidth_deg: float = 10) -> DirectionCount:
    """Number of directions to which neurons have condensed: modes of the amplitude-weighted density on the sphere.

    Mean shift u ← Σ_k q_k exp((u·u_k − 1)/h²) u_k, normalised, from the densest neurons, with q_k the share of the amplitude and
    h the bandwidth in radians. Modes within h are joined, modes with less than 2 % of the amplitude within 2h are dropped. The
    count is valid only with its ``coverage`` and ``concentration``: random neurons have modes too.

    Args:
        weights: (m, D) incoming weights, the bias as last entry; zero rows carry nothing.
        amplitudes: (m,) amplitudes |a|·‖w‖, not negative; None: ‖w‖.
        bandwidth_deg: h in degrees, 0 < h ≤ 45.

    Returns:
        `DirectionCount`.

    Raises:
        ArgumentError: a bandwidth out of range, all weights zero, negative amplitudes, or non-finite entries.

    Cost: O(min(m, 2000)² D).

    Example:
        >>> import numpy as np
        >>> found = count_directions(np.array([[1.0, 0.0], [2.0, 0.01], [-1.0, 0.0], [0.0, 3.0]]))
        >>> found.directions, found.lines, found.stable
        (3, 2, True)
    """
    if not 0 < bandwidth_deg <= 45:
        raise ArgumentError(f"bandwidth_deg must lie in (0, 45] degrees, got {bandwidth_deg}")
    unit, share = weighted_orientations(weights, amplitudes)
    if unit.ndim != 2:
        raise ArgumentError(f"weights must be (m, D), got shape {tuple(unit.shape)}; count the members one by one")
    points, mass = _significant(unit, share)
    h = math.radians(bandwidth_deg)
    modes, inside = _directions(points, mass, unit, share, h)
    counts = [len(_directions(points, mass, unit, share, f * h)[0]) for f in (0.5, 1.5, 2.0) if f * h <= math.pi / 3]
    nearest = (unit @ modes.mT).amax(-1) if len(modes) else torch.zeros_like(share)
    out: Any = (lambda t: t) if any(isinstance(v, Tensor) for v in (weights, amplitudes)) else (lambda t: t.cpu().numpy())
    found = DirectionCount(
        len(modes),
        directions=len(modes),
        lines=_lines(modes, h),
        mass=out(inside),
        coverage=min(1.0, float(inside.sum())),
        concentration=min(1.0, float((share * nearest).sum())),
        stable=len(modes) > 0 and all(count == len(modes) for count in counts),
        vectors=out(modes),
    )
    if found.condensed:
        return found
    why = f"coverage {found.coverage:.2f}, mean cosine {found.concentration:.2f}, {'' if found.stable else 'not '}stable"
    return replace(found, reason=f"the neurons have not condensed ({why}): these are modes of a spread-out density")


def _significant(unit: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """The neurons that carry 99 % of the amplitude, at most 2000 (equal parts of the amplitude beyond that)."""
    order = torch.argsort(share, descending=True, stable=True)
    below = torch.cumsum(share[order], 0) - share[order]
    order = order[below < KEPT]
    if len(order) > MOST:
        cumulative = torch.cumsum(share[order], 0)
        places = (torch.arange(MOST, dtype=share.dtype, device=share.device) + 0.5) / MOST * cumulative[-1]
        order = order[torch.searchsorted(cumulative, places).clamp_max(len(order) - 1)]
        return unit[order], torch.full_like(places, 1.0 / MOST)
    return unit[order], share[order] / share[order].sum()


def _directions(points: Tensor, mass: Tensor, unit: Tensor, share: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """Retained modes for bandwidth h, heaviest first, and the share of all neurons' amplitude within 2h of each."""
    modes = _modes(points, mass, h)
    cosine = unit @ modes.mT  # (m, modes)
    kept = torch.arange(len(modes), device=share.device)
    while len(kept):
        best, owner = cosine[:, kept].max(-1)
        near = best >= math.cos(min(2 * h, math.pi)) - 1e-12
        inside = torch.zeros(len(kept), dtype=share.dtype, device=share.device)
        inside = inside.index_add(0, owner, torch.where(near, share, 0.0))
        lightest = int(inside.argmin())
        if float(inside[lightest]) >= LEAST_MASS:
            order = torch.argsort(inside, descending=True, stable=True)
            return modes[kept[order]], inside[order]
        kept = kept[torch.arange(len(kept), device=kept.device) != lightest]
    return modes[:0], share.new_zeros(0)


def _modes(points: Tensor, mass: Tensor, h: float) -> Tensor:
    """Modes of the density, by mean shift from the densest points; modes within h of a denser one are joined to it."""
    kernel = torch.exp(((points @ points.mT).clamp_max(1.0) - 1) / h**2) if len(points) <= MOST else None
    density = kernel @ mass if kernel is not None else mass
    starts = _spread(points[torch.argsort(density, descending=True, stable=True)], 0.5 * h)
    for _ in range(100):
        pull = torch.exp(((starts @ points.mT).clamp_max(1.0) - 1) / h**2) * mass
        moved = pull @ points
        moved = moved / moved.norm(dim=-1, keepdim=True).clamp_min(1e-300)
        change = float((moved - starts).norm(dim=-1).max())
        starts = moved
        if change < 1e-6:
            break
    density = (torch.exp(((starts @ points.mT).clamp_max(1.0) - 1) / h**2) * mass).sum(-1)
    return _spread(starts[torch.argsort(density, descending=True, stable=True)], h)


def _spread(ordered: Tensor, radius: float) -> Tensor:
    """Of unit vectors, best first, those that are farther than ``radius`` (radians) from every better one kept."""
    chord = 2 * math.sin(0.5 * radius)
    kept = []
    left = ordered
    while len(left):
        kept.append(left[0])
        left = left[(left - left[0]).norm(dim=-1) > chord]
    return torch.stack(kept) if kept else ordered


def _lines(modes: Tensor, h: float) -> int:
    """Number of modes, opposite ones (within h) counted once."""
    chord = 2 * math.sin(0.5 * h)
    kept: list[Tensor] = []
    for mode in modes:
        if not any(float((mode + k).norm()) <= chord or float((mode - k).norm()) <= chord for k in kept):
            kept.append(mode)
    return len(kept)
