"""Trained networks: where in the plane they train, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.draw import COLORS, figure, style

if TYPE_CHECKING:
    from theodolite.core.record import Record

__all__ = ["critical_init", "delta_orthogonal", "dynamical_isometry_training", "trainability"]


def trainability(record: Record) -> Any:
    """Accuracy over depth and σ_w², with 6 ξ_c."""
    data = record.data
    with style():
        drawn, axis = figure(width=5.8, height=4.0)
        mesh = axis.pcolormesh(data.sigma_w2, data.depth, data["accuracy"], shading="nearest", vmin=0, vmax=1)
        drawn.colorbar(mesh, ax=axis, label="test accuracy")
        axis.plot(data.sigma_w2, 6 * data["xi_c"], "o-", color="white", label="6 ξ_c")
        axis.axvline(float(data["critical_sigma_w2"]), color="#E69F00", linestyle="--", label="critical")
        axis.set_ylim(float(data.depth.min()), float(data.depth.max()))
        axis.set(xlabel="weight variance σ_w²", ylabel="depth", title="Trainable depth: networks and 6 ξ_c")
        axis.legend(fontsize=8, facecolor="#7B8794", frameon=True, labelcolor="white")
        axis.grid(False)
    return drawn


#: One line style per learning rate.
_LINES = ("-", "--", ":", "-.")


def _losses(axis: Any, data: Any, dimension: str) -> None:
    for color, which in zip(COLORS, data[dimension].values, strict=False):
        one = data["loss"].sel({dimension: which})
        for line, lr in zip(_LINES, data.lr.values, strict=False):
            axis.plot(data.step, one.sel(lr=lr).median("seed"), line, color=color, linewidth=1.2)
        axis.plot([], [], color=color, label=str(which))
    for line, lr in zip(_LINES, data.lr.values, strict=False):
        axis.plot([], [], line, color="#52606D", linewidth=1.2, label=f"rate {lr:g}")
    axis.axhline(np.log(10.0), color="#52606D", linewidth=0.8, label="chance")
    # runs that diverge leave the panel
    axis.set(xlabel="optimisation step", ylabel="cross-entropy (median over seeds)", ylim=(0.0, 1.6 * np.log(10.0)))
    axis.legend(fontsize=8)


def critical_init(record: Record) -> Any:
    """Losses from torch's default and from critical initialisation."""
    data = record.data
    with style():
        drawn, axes = figure(1, 2, width=4.6, height=3.6)
        _losses(axes[0], data, "init")
        axes[0].set_title(f"{record.settings['depth']} tanh layers on digits")
        for color, (i, init) in zip(COLORS, enumerate(data.init.values), strict=False):
            values = data["accuracy"].sel(init=init).max("lr")
            axes[1].plot(np.full(len(values), i), values, "o", color=color)
        axes[1].set_xticks(range(data.sizes["init"]), [str(i).replace(" ", "\n") for i in data.init.values])
        axes[1].set(ylabel="test accuracy (best learning rate)", ylim=(0, 1), title="every seed")
    return drawn


def dynamical_isometry_training(record: Record) -> Any:
    """Losses of orthogonal and Gaussian weights, one panel per q."""
    data = record.data
    with style():
        drawn, axes = figure(1, data.sizes["q"], width=4.2, height=3.4, squeeze=False)
        for axis, q in zip(axes[0], data.q.values, strict=True):
            _losses(axis, data.sel(q=q), "weights")
            axis.set_title(f"q* = {q:.3g}")
    return drawn


def delta_orthogonal(record: Record) -> Any:
    """Lengths and gradients against depth, and the first losses."""
    data = record.data
    with style():
        drawn, axes = figure(1, 3, width=4.0, height=3.4)
        for color, kind in zip(COLORS, data.kernel.values, strict=False):
            one = data.sel(kernel=kind)
            axes[0].plot(data.layer, one["modes"], color=color, label=str(kind))
            axes[1].plot(data.layer, one["gradient"], color=color)
            axes[2].plot(data.step, one["loss"], "o-", color=color)
        axes[0].set(
            xlabel="layer", ylabel="share of length varying over positions", yscale="log", title=f"{data.attrs['depth']} layers"
        )
        axes[1].set(xlabel="layer", ylabel="‖∂loss/∂W_l‖", yscale="log", title="gradients at initialisation")
        axes[2].set(xlabel="training step", ylabel="cross-entropy", title="first steps")
        axes[0].legend(fontsize=8)
    return drawn
