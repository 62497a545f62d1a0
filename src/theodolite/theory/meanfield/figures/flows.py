"""The phase plane, and signals against depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.draw import COLORS, figure, style

if TYPE_CHECKING:
    from theodolite.core.record import Record

__all__ = ["correlation_flow", "gradient_flow", "phase_diagram"]

PHASES = {True: "chaotic", False: "ordered"}


def phase_diagram(record: Record) -> Any:
    """c* in colour, the critical line, and contours of ξ_c; q* beside it."""
    data = record.data
    with style():
        drawn, axes = figure(1, 2, width=4.8, height=3.9)
        for axis, name, label in ((axes[0], "c_star", "fixed correlation c*"), (axes[1], "q_star", "fixed variance q*")):
            values = data[name].where(np.isfinite(data[name])).T
            mesh = axis.pcolormesh(data.sigma_w2, data.sigma_b2, values, shading="auto", rasterized=True)
            drawn.colorbar(mesh, ax=axis, label=label)
            axis.plot(data["critical_sigma_w2"], data.sigma_b2, color="white", linewidth=2)
            axis.set_xlabel("weight variance σ_w²")
            axis.set_ylabel("bias variance σ_b²")
            axis.set_xlim(float(data.sigma_w2.min()), float(data.sigma_w2.max()))
            axis.grid(False)
        scale = data["xi_c"].T
        lines = axes[0].contour(data.sigma_w2, data.sigma_b2, scale, levels=[2, 5, 10, 20, 50], colors="#1F2933", linewidths=0.6)
        axes[0].clabel(lines, fmt=lambda v: f"ξ={v:g}", fontsize=7)
        axes[0].set_title(f"{record.settings['activation']}: order and chaos")
        axes[1].set_title("variance of deep layers")
    return drawn


def correlation_flow(record: Record) -> Any:
    """Correlations against depth, and their distance from the fixed point: exponential against polynomial."""
    data = record.data
    with style():
        drawn, axes = figure(1, 2, width=4.6, height=3.6)
        for color, factor in zip(COLORS, data.factor.values, strict=False):
            one = data.sel(factor=factor)
            name = "critical" if factor == 1 else PHASES[factor > 1]
            axes[0].plot(data.layer, one["c"], color=color, label=f"{name}, σ_w² = {float(one['sigma_w2']):.2f}")
            axes[0].plot(data.layer, one["simulated"].T, color=color, alpha=0.25, linewidth=0.8)
            gap = abs(one["c"] - one["c_star"])
            axes[1].plot(data.layer[1:], gap.where(gap > 1e-14)[1:], color=color)
        axes[0].set(xlabel="layer", ylabel="correlation c", title="Two inputs through the layers")
        axes[0].legend(fontsize=8)
        law = float(data["law_coefficient"]) * data.layer[1:].astype(float) ** -float(data["law_exponent"])
        axes[1].plot(
            data.layer[1:],
            law,
            "--",
            color="#52606D",
            label=f"{float(data['law_coefficient']):.3g}/l^{int(data['law_exponent'])}",
        )
        axes[1].set(xlabel="layer", ylabel="|c − c*|", yscale="log", title="Exponential off, polynomial on the line")
        axes[1].set_ylim(1e-12, 2)
        axes[1].legend(fontsize=8)
    return drawn


def gradient_flow(record: Record) -> Any:
    """Squared gradients against the layer, with the slope of theory."""
    data = record.data
    with style():
        drawn, axis = figure(width=5.6, height=3.8)
        last = float(data.layer[-1])
        for color, factor in zip(COLORS, data.factor.values, strict=False):
            one = data.sel(factor=factor)
            name = "critical" if factor == 1 else PHASES[factor > 1]
            scale = one["gradient"] / one["gradient"].isel(layer=-1)
            axis.plot(data.layer, scale.T, color=color, alpha=0.3, linewidth=0.9)
            chi = float(one["chi_1"])
            axis.plot(data.layer, chi ** (last - data.layer), "--", color=color, label=f"{name}: χ₁ = {chi:.3f}")
        axis.set(
            xlabel="layer l", ylabel="‖∂E/∂W_l‖² / last layer's", yscale="log", title="Gradients backwards: networks and χ₁^(L−l)"
        )
        axis.legend(fontsize=8)
    return drawn
