"""Numbers of regions by width and depth, and the iterated tent map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.draw.style import COLORS, INK, MUTED, figure, sequence, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from theodolite.core.record import Record

__all__ = ["region_growth", "tent_map"]


def region_growth(record: Record) -> Figure:
    """Counts of random networks against the number of neurons, with N^d / d! and the bounds of the maximum."""
    data = record.data
    dims = data["dim"].values
    with style():
        drawn, axes = figure(1, len(dims), width=5.0, height=4.0, squeeze=False)
        colours = sequence(data.sizes["depth"])
        for ax, dim in zip(axes[0], dims, strict=True):
            here = data.sel(dim=dim)
            neurons = here["width"].values
            for depth, colour in zip(here["depth"].values, colours, strict=True):
                one = here.sel(depth=depth)
                total = neurons * int(depth)
                mean, spread = one["count"].mean("seed"), one["count"].std("seed")
                ax.errorbar(total, mean, spread, fmt="o", color=colour, capsize=2, label=f"depth {int(depth)}")
            total = np.unique((here["width"] * here["depth"]).values)
            ax.plot(total, _factorial(total, int(dim)), color=INK, linewidth=1.2, label=r"$N^d/d!$")
            deepest = here.isel(depth=-1)
            ax.plot(
                neurons * int(deepest["depth"]), deepest["lower"], "--", color=COLORS[1], label="some weights reach (deepest)"
            )
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
            ax.set_xlabel("neurons $N$")
            ax.set_title(f"d = {int(dim)}")
        axes[0, 0].set_ylabel("activation regions")
        axes[0, 0].legend()
    return drawn


def _factorial(total: np.ndarray, dim: int) -> np.ndarray:
    # the reference line between the measured points; the same closed form as the record's "expected"
    return total.astype(float) ** dim / np.prod(np.arange(1, dim + 1))


def tent_map(record: Record) -> Figure:
    """Graphs of some iterates, and the number of pieces against their number."""
    data = record.data
    with style():
        drawn, axes = figure(1, 2, width=4.8, height=3.6)
        for k, colour in zip(data["drawn"].values, sequence(data.sizes["drawn"]), strict=True):
            one = data.sel(drawn=k)
            axes[0].plot(one["breakpoint"], one["value"], color=colour, label=f"k = {int(k)}", linewidth=1.4)
        axes[0].set_xlabel("$x$")
        axes[0].set_ylabel("$g^{(k)}(x)$")
        axes[0].set_title("Iterated tent map")
        axes[0].set_ylim(-0.05, 1.35)
        axes[0].legend(ncols=2, loc="upper center")
        axes[1].semilogy(data["times"], data["upper"], "--", color=MUTED, label=r"bound $\prod(n_l+1)=3^k$")
        axes[1].semilogy(data["times"], data["pieces"], "o-", color=COLORS[0], label="pieces")
        axes[1].semilogy(data["times"], 2.0 ** data["times"].values, ":", color=INK, label="$2^k$")
        axes[1].set_xlabel("iterations $k$ (layers of width 2)")
        axes[1].set_title("Pieces double with each layer")
        axes[1].legend()
    return drawn
