"""Deep against shallow: rounding, double counting on facets, size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.draw.style import COLORS, INK, MUTED, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from theodolite.core.record import Record

__all__ = ["blow_up", "boundary_pitfalls", "shallow_equivalence"]


def shallow_equivalence(record: Record) -> Figure:
    """Largest deviation of the three readings, by where the networks are compared."""
    data = record.data
    with style():
        drawn, axes = figure(1, data.sizes["recipe"], width=5.0, height=3.8, squeeze=False, sharey=True)
        places = data["where"].values
        floor = 0.05
        for ax, recipe in zip(axes[0], data["recipe"].values, strict=True):
            for k, mode in enumerate(data["mode"].values):
                worst = np.maximum(data["worst"].sel(recipe=recipe, mode=mode).values, floor)  # (seed, where)
                for row in worst:
                    ax.plot(np.arange(len(places)) + 0.18 * (k - 1), row, "o", color=COLORS[k], alpha=0.75, markersize=5)
                ax.plot([], [], "o", color=COLORS[k], label=str(mode))
            ax.axhline(16 * int(data.attrs["layers"]), color=MUTED, linestyle="--", linewidth=1)
            ax.set_yscale("log")
            ax.set_xticks(range(len(places)), [str(p) for p in places])
            proved = int(data["proved"].sel(recipe=recipe).sum())
            ax.set_title(f"{recipe}: {proved} of {data.sizes['seed']} proved over ℚ")
        axes[0, 0].set_ylabel("largest |shallow − deep| [ulp of magnitude]")
        axes[0, 0].legend(title="reading")
    return drawn


def boundary_pitfalls(record: Record, seed: int = 0) -> Figure:
    """Where grid points are counted more than once by the literal reading, and the errors of the three readings."""
    data = record.data.sel(seed=seed)
    from matplotlib.collections import LineCollection

    with style():
        drawn, axes = figure(1, 2, width=5.0, height=4.2)
        x, y = np.meshgrid(data["x"].values, data["y"].values, indexing="ij")
        paper = data["matches"].sel(mode="paper").values
        axes[0].scatter(x, y, s=3, color="#CBD2D9")
        for times, colour in ((2, COLORS[4]), (3, COLORS[1]), (4, COLORS[3])):
            here = paper >= 4 if times == 4 else paper == times
            if here.any():
                label = f"{times}{' or more' if times == 4 else ''} regions answer"
                axes[0].scatter(x[here], y[here], s=26, color=colour, label=label, zorder=3, edgecolors="white", linewidths=0.5)
        edges = data["edge"].values
        lines = LineCollection(list(edges[np.isfinite(edges[:, 0, 0])]), colors=MUTED, linewidths=0.7, zorder=1)
        axes[0].add_collection(lines)
        axes[0].set_aspect("equal")
        axes[0].grid(False)
        axes[0].set_title("Closed half-spaces overlap on facets")
        axes[0].legend(loc="upper left", bbox_to_anchor=(0, -0.08), ncols=2)
        whole = record.data
        for k, mode in enumerate(whole["mode"].values):
            wrong = (whole["error"].sel(mode=mode) > 1e-9).sum(["x", "y"])
            axes[1].bar(np.arange(whole.sizes["seed"]) + 0.27 * (k - 1), wrong, width=0.25, color=COLORS[k], label=str(mode))
        axes[1].set_xticks(range(whole.sizes["seed"]), [f"net {int(s)}" for s in whole["seed"].values])
        axes[1].set_ylabel("grid points with a wrong value")
        axes[1].set_title("Readings of the construction")
        axes[1].legend()
    return drawn


def blow_up(record: Record) -> Figure:
    """Sizes of the three-layer network against the deep one."""
    data = record.data
    names = {"dense": "shallow, dense", "entries": "selector entries (sparse)", "half_spaces": "half-spaces", "count": "regions"}
    with style():
        drawn, ax = figure(width=5.6, height=4.0)
        for (name, label), colour in zip(names.items(), COLORS, strict=False):
            ax.plot(data["width"], data[name].mean("seed"), "o-", color=colour, label=label)
        ax.plot(data["width"], data["deep"].mean("seed"), "s--", color=INK, label="deep, parameters")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xlabel("width of both hidden layers")
        ax.set_ylabel("size")
        ax.set_title("Shallow is a white box, not a smaller one")
        ax.legend()
    return drawn
