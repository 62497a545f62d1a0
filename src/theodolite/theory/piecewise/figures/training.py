"""The partition during training, as panels and as an animation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.draw.style import COLORS, INK, figure, style
from theodolite.theory.piecewise.figures.partition import draw_cells

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from theodolite.core.record import Record

__all__ = ["animate_training", "regions_during_training"]


def regions_during_training(record: Record, panels: int = 4) -> Figure:
    """The partition at some steps, and the number of regions and the loss over time.

    Args:
        record: of the experiment.
        panels: how many partitions to show.
    """
    data = record.data
    chosen = np.unique(np.linspace(0, data.sizes["step"] - 1, panels).round().astype(int))
    with style():
        drawn, axes = figure(1, len(chosen) + 1, width=3.6, height=3.6)
        for ax, k in zip(axes, chosen, strict=False):
            _draw_step(ax, data.isel(step=k), data)
        last = axes[-1]
        steps = np.maximum(data["step"].values, 0.5)
        last.plot(steps, data["count"], "o-", color=COLORS[0], label="activation regions")
        last.plot(steps, data["pieces"], ".--", color=COLORS[5], label="affine maps")
        last.set_xscale("log")
        last.set_ylim(0, None)
        last.set_xlabel("step")
        last.set_title("Regions and loss")
        right = last.twinx()
        right.plot(steps, data["loss"], color=COLORS[1], label="loss")
        right.set_yscale("log")
        right.grid(False)
        right.tick_params(colors=COLORS[1])
        last.legend(handles=[*last.get_lines(), *right.get_lines()], loc="lower left")
    return drawn


def animate_training(record: Record, milliseconds: int = 250) -> FuncAnimation:
    """The partition as an animation, one frame per look; save it with ``.save("partition.gif")``."""
    from matplotlib.animation import FuncAnimation

    data = record.data
    with style():
        drawn, ax = figure(width=5.0, height=5.2)

        def show(k: int) -> list[Any]:
            ax.clear()
            with style():
                _draw_step(ax, data.isel(step=k), data)
            return list(ax.collections)

        return FuncAnimation(drawn, show, frames=data.sizes["step"], interval=milliseconds, blit=False)


def _draw_step(ax: Axes, one: Any, data: Any) -> None:
    import matplotlib as mpl
    from matplotlib.collections import LineCollection

    owner = one["region"].values
    good = np.isfinite(owner)
    corners, owner = one["vertex"].values[good], owner[good].astype(int)
    polygons = np.split(corners, np.flatnonzero(np.diff(owner)) + 1)
    values = one["value"].values[: len(polygons)]
    faces = mpl.colormaps["RdBu_r"](mpl.colors.Normalize(-1.6, 1.6)(values))
    draw_cells(ax, polygons, faces)
    pieces = one["boundary"].values
    pieces = pieces[np.isfinite(pieces[:, 0, 0])]
    ax.add_collection(LineCollection(list(pieces), colors=INK, linewidths=1.6))
    points, label = data["input"].values, data["label"].values
    for sign, colour in ((1, COLORS[1]), (-1, COLORS[0])):
        x, y = points[label == sign].T
        ax.scatter(x, y, s=5, color=colour, edgecolors="white", linewidths=0.25, zorder=3)
    ax.set_aspect("equal")
    ax.grid(False)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(f"step {int(one['step'])}: {int(one['count'])} regions")
