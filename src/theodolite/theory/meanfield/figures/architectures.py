"""Residual, recurrent and batch-normalised networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.draw import COLORS, figure, style

if TYPE_CHECKING:
    from theodolite.core.record import Record

__all__ = ["batchnorm_gradients", "recurrent_memory", "resnet_gradients", "resnet_optimal_variance"]


def resnet_gradients(record: Record) -> Any:
    """Log growth of the squared gradient, and length, against depth: networks and theory."""
    data = record.data
    with style():
        drawn, axes = figure(1, 2, width=4.6, height=3.6)
        for color, case in zip(COLORS, data.case.values, strict=False):
            one = data.sel(case=case)
            axes[0].plot(data.block[1:], one["log_growth"][1:], "--", color=color, label=f"{case}")
            axes[0].plot(data.block[1:], one["measured_log_growth"].T[1:], color=color, alpha=0.3, linewidth=0.9)
            axes[1].plot(data.block[1:], one["length"][1:], "--", color=color)
            axes[1].plot(data.block[1:], one["measured_length"].T[1:], color=color, alpha=0.3, linewidth=0.9)
        axes[0].set(
            xlabel="block l", ylabel="ln ‖∂f/∂x⁰‖²/‖∂f/∂x^l‖²", xscale="log", yscale="log", title="Growth of the gradient"
        )
        axes[1].set(xlabel="block l", ylabel="length ‖x‖²/n", xscale="log", yscale="log", title="Length")
        axes[0].legend(fontsize=8, title="dashed: theory", title_fontsize=8)
    return drawn


def resnet_optimal_variance(record: Record) -> Any:
    """Accuracy over depth and σ_w² at the first and the last look, with the contour of equal gradient growth."""
    data = record.data
    looks = sorted({0, data.sizes["step"] - 1})
    with style():
        drawn, axes = figure(1, len(looks), width=4.6, height=3.6)
        rows = np.arange(data.sizes["depth"])
        for axis, look in zip(np.atleast_1d(axes), looks, strict=True):
            accuracy = data["accuracy"].isel(step=look).mean("seed")
            mesh = axis.pcolormesh(data.sigma_w2, rows, accuracy, shading="nearest", rasterized=True)
            drawn.colorbar(mesh, ax=axis, label="test accuracy")
            axis.plot(
                data["contour"], rows, "o--", color="white", markeredgecolor="black", label=data["contour"].attrs["description"]
            )
            axis.set(xlabel="weight variance σ_w²", ylabel="depth L", xscale="log")
            axis.set(title=f"Residual tanh networks, {int(data.step[look])} steps on digits")
            axis.set_yticks(rows, [str(int(d)) for d in data.depth])
        np.atleast_1d(axes)[0].legend(fontsize=7, loc="lower left", frameon=True, framealpha=0.9)
    return drawn


def recurrent_memory(record: Record) -> Any:
    """Measured against predicted time scales; and χ against the setting of each network."""
    data = record.data
    with style():
        drawn, axes = figure(1, 2, width=4.6, height=3.7)
        for color, name in zip(COLORS, data.network.values, strict=False):
            one = data.sel(network=name)
            theory = -1 / np.log(one["chi"])
            for weights, marker, fill in (("fresh", "o", color), ("tied", "s", "none")):
                scale = -1 / np.log(one["measured_chi"].sel(weights=weights))
                label = f"{name}, {weights} weights" if name == data.network.values[0] else name if weights == "fresh" else None
                axes[0].plot(theory, scale, marker, color=color, markerfacecolor=fill, label=label)
                axes[1].plot(data.setting, one["measured_chi"].sel(weights=weights), marker, color=color, markerfacecolor=fill)
            axes[1].plot(data.setting, one["chi"], "--", color=color)
        ends = [0.9 * float(x) for x in axes[0].get_xlim()]
        ends = [max(ends[0], 0.3), max(ends[1], 1.0)]
        axes[0].plot(ends, ends, color="#52606D", linewidth=0.8)
        axes[0].set(
            xlabel="predicted time scale", ylabel="measured time scale", xscale="log", yscale="log", title="Memory in steps"
        )
        axes[0].legend(fontsize=7)
        axes[1].set(xlabel="setting (σ_w² or gate bias, increasing)", ylabel="χ", title="Growth of squared perturbations")
        axes[1].set_xticks(data.setting)
    return drawn


def batchnorm_gradients(record: Record) -> Any:
    """Growth per layer against the batch size: networks, theory, and the limit of large batches."""
    data = record.data
    with style():
        drawn, axis = figure(width=5.4, height=3.7)
        for color, name in zip(COLORS, data.activation.values, strict=False):
            one = data.sel(activation=name)
            measured = one["measured"]
            axis.errorbar(
                data.batch, measured.mean("seed"), measured.std("seed"), fmt="o", color=color, markersize=4, label=str(name)
            )
            axis.plot(data.batch, one["growth"], color=color)
            axis.axhline(float(one["large_batch"]), color=color, linestyle=":", linewidth=0.9)
        axis.set(
            xlabel="batch size B", ylabel="growth of the squared gradient per layer", xscale="log", title="Batch normalisation"
        )
        axis.set_xticks(data.batch.values, [str(b) for b in data.batch.values])
        axis.minorticks_off()
        axis.legend(fontsize=8, title="line: theory, dotted: B → ∞", title_fontsize=7)
    return drawn
