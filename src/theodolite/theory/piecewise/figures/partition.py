"""Partitions as pictures: every region a cell, coloured by what the network does in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.draw.style import COLORS, INK, style
from theodolite.theory.piecewise.arguments import integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theodolite.theory.piecewise.regions import Regions

__all__ = ["draw_cells", "draw_regions"]

Colour = Literal["value", "gradient", "class", "pattern"]


def draw_regions(
    regions: Regions,
    ax: Axes | None = None,
    *,
    colour: Colour | None = None,
    output: int = 0,
    boundary: bool = True,
    edges: float | None = None,
    cmap: str | None = None,
) -> Axes:
    """Draw a partition of the plane, or the graph of a network of one variable.

    Args:
        regions: from `theodolite.piecewise.regions`, with vertices, d = 1 or 2.
        ax: where to draw; a new figure if None.
        colour: ``value`` (at the centre of each region), ``gradient`` (direction of the slope as hue, its size as strength), ``class``
            (largest output), ``pattern`` (one tint per number of active switches). Default: ``value`` for one output, else ``class``.
        output: which output, where there are several.
        boundary: draw the decision boundary.
        edges: width of the lines between regions; chosen by their number if None.
        cmap: matplotlib colour map for ``value`` and ``pattern``.

    Raises:
        UnsupportedError: other dimensions.
        ArgumentError: an output that is not there, or a colour map that matplotlib does not know.
    """
    if regions.dim not in (1, 2):
        raise UnsupportedError(
            f"partitions are drawn for d = 1 and d = 2, got d = {regions.dim}; take a slice2d of the input space"
        )
    from matplotlib import colormaps

    if integer(output, "output", least=0) >= regions.maps.shape[2]:
        raise ArgumentError(f"output must be below {regions.maps.shape[2]}, the number of outputs, got {output}")
    if cmap is not None and cmap not in colormaps:
        raise ArgumentError(f"cmap must be a colour map of matplotlib, e.g. 'viridis', got {cmap!r}")
    with style():
        if ax is None:
            from matplotlib.figure import Figure

            ax = Figure(figsize=(5.2, 5.0) if regions.dim == 2 else (5.6, 3.4)).subplots()
        if regions.dim == 1:
            return _draw_graph(regions, ax, output)
        colour = colour or ("value" if regions.maps.shape[2] == 1 else "class")
        faces = _faces(regions, colour, output, cmap)
        draw_cells(ax, regions.vertices, faces, edges)
        if boundary and regions.complete:
            _draw_pieces(ax, regions.decision_boundary())
        first, second = regions._extent
        ax.set_aspect("equal" if 1 / 8 < first / second < 8 else "auto")
        ax.grid(False)
        ax.set_xlabel("$t_1$")
        ax.set_ylabel("$t_2$")
        ax.set_title(f"{regions.count} regions, {regions.pieces} affine maps")
    return ax


def draw_cells(ax: Axes, polygons: list[Any], faces: Any, edges: float | None = None) -> None:
    """Polygons in their colours, with thin light lines between them."""
    from matplotlib.collections import PolyCollection

    width = edges if edges is not None else float(np.clip(14 / max(len(polygons), 1) ** 0.5, 0.08, 0.8))
    collection = PolyCollection(polygons, facecolors=faces, edgecolors=(1, 1, 1, 0.55), linewidths=width)
    ax.add_collection(collection)
    points = np.concatenate(polygons)
    ax.set_xlim(points[:, 0].min(), points[:, 0].max())
    ax.set_ylim(points[:, 1].min(), points[:, 1].max())


def _draw_pieces(ax: Axes, pieces: Any) -> None:
    from matplotlib.collections import LineCollection

    if len(pieces):
        ax.add_collection(LineCollection(list(pieces), colors=INK, linewidths=1.8, capstyle="round"))


def _faces(regions: Regions, colour: str, output: int, cmap: str | None) -> Any:
    import matplotlib as mpl

    weight, bias = regions.affine
    values = np.einsum("rod,rd->ro", weight, regions.centroids) + bias
    if colour == "value":
        value = values[:, output]
        crosses = value.min() < 0 < value.max()
        span = np.abs(value).max() if crosses else None
        low, high = (-span, span) if span is not None else (value.min(), value.max() + 1e-300)
        return mpl.colormaps[cmap or ("RdBu_r" if crosses else "viridis")](mpl.colors.Normalize(low, high)(value))
    if colour == "gradient":
        slope = weight[:, output]
        size = np.linalg.norm(slope, axis=1)
        hue = (np.arctan2(slope[:, 1], slope[:, 0]) / (2 * np.pi)) % 1.0
        strength = size / max(size.max(), 1e-300)
        return mpl.colors.hsv_to_rgb(np.stack([hue, 0.15 + 0.6 * strength, np.full_like(hue, 0.95)], axis=1))
    if colour == "class":
        base = np.array([mpl.colors.to_rgb(c) for c in COLORS])
        winner = values.argmax(axis=1) if values.shape[1] > 1 else (values[:, 0] > 0).astype(int)
        tint = 0.35 + 0.3 * np.random.Generator(np.random.Philox(key=5)).random(len(winner))[:, None]
        return 1 - (1 - base[winner % len(base)]) * tint
    if colour == "pattern":
        active = regions.patterns.mean(axis=1)
        return mpl.colormaps[cmap or "viridis"](mpl.colors.Normalize(active.min(), active.max() + 1e-12)(active))
    raise ArgumentError(f"colour must be 'value', 'gradient', 'class' or 'pattern', got {colour!r}")


def _draw_graph(regions: Regions, ax: Axes, output: int) -> Axes:
    ends = np.sort(np.unique(np.concatenate([v[:, 0] for v in regions.vertices])))
    order = np.argsort(regions.cells.points[::2, 0])
    t = np.stack([np.array(regions.vertices)[order, 0, 0], np.array(regions.vertices)[order, 1, 0]], axis=1)
    weight, bias = regions.affine
    y = weight[order, output, 0][:, None] * t + bias[order, output][:, None]
    ax.vlines(ends, float(y.min()), float(y.max()), color="#E4E7EB", linewidth=0.6)
    ax.plot(t.ravel(), y.ravel(), color=COLORS[0])
    if len(ends) <= 80:
        ax.plot(t.ravel(), y.ravel(), "o", color=COLORS[1], markersize=2.5)
    ax.set_xlabel("$t$")
    ax.set_ylabel("network")
    ax.set_title(f"{regions.count} segments, {regions.pieces} affine maps")
    return ax
