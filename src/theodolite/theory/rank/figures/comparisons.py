"""Comparisons: residual against plain networks, pruners against each other, theorems against random instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.draw import COLORS, figure, sequence, style
from theodolite.theory.rank.figures.staircases import band

if TYPE_CHECKING:
    from theodolite.core.record import Record

__all__ = ["pruning", "resnet_vs_mlp", "theorems"]


def resnet_vs_mlp(record: Record) -> Any:
    """Per-layer ranks of plain and residual networks: dense above, convolutional below."""
    data = record.data
    conv = data.sizes["conv_net"]
    with style():
        drawn, axes = figure(2, max(3, conv), width=3.3, height=2.6, squeeze=False)
        for column, net in enumerate(data.net.values):
            axis = axes[0, column]
            for color, layer in zip(sequence(data.sizes["layer"]), data.layer.values, strict=True):
                band(axis, data["rank"].sel(net=net, layer=layer), color, f"layer {layer}", steps=True)
            axis.set_title(f"dense, {net}")
            axis.set_ylim(0, float(data["rank"].max()) * 1.05)
        axes[0, 0].set_ylabel("ε-rank")
        axes[0, 0].legend(fontsize=7, ncols=2)
        for shade, net in zip(COLORS, data.net.values, strict=False):
            band(axes[0, 2], data["loss"].sel(net=net), shade, str(net))
        axes[0, 2].set_yscale("log")
        axes[0, 2].set_title("dense, loss")
        axes[0, 2].legend()
        for axis in axes[0, 3:]:
            axis.set_visible(False)
        for column, net in enumerate(data.conv_net.values):
            axis = axes[1, column]
            here = data["conv_rank"].sel(conv_net=net).rename(conv_step="step")
            for color, layer in zip(sequence(data.sizes["conv_layer"]), data.conv_layer.values, strict=True):
                band(axis, here.sel(conv_layer=layer), color, f"block {layer}", steps=True)
            axis.set_xscale("symlog", linthresh=1)
            axis.set_xlim(left=0)
            axis.set_title(f"{net}")
            axis.set_ylim(0, float(data["conv_rank"].max()) * 1.05)
            axis.set_xlabel("optimisation step")
        axes[1, 0].set_ylabel("ε-rank (digits)")
        axes[1, 0].legend(fontsize=7)
        for axis in axes[1, conv:]:
            axis.set_visible(False)
    return drawn


def pruning(record: Record) -> Any:
    """Relative change of the output against the number of neurons kept, by pruner, with both a-priori bounds."""
    data = record.data
    kept = data["kept"].median("seed")
    with style():
        drawn, axis = figure(width=6.2, height=4.2)
        for color, name in zip(COLORS, data.pruner.values, strict=False):
            error = data["error"].sel(pruner=name)
            axis.plot(kept, error.median("seed"), "o-", color=color, label=str(name))
            axis.fill_between(kept, error.min("seed"), error.max("seed"), color=color, alpha=0.12, linewidth=0)
        axis.plot(kept, data["bound"].median("seed"), "--", color="#52606D", label="certificate (a priori)")
        axis.plot(kept, data["theorem_bound"].median("seed"), ":", color="#52606D", label="Theorem 3.2")
        axis.set_yscale("log")
        axis.set_xlabel(f"neurons kept of {record.settings['width']}")
        axis.set_ylabel("relative L² change of the output")
        axis.set_title("Pruning the last hidden layer to its ε-rank")
        axis.legend(ncols=2, fontsize=8)
    return drawn


def theorems(record: Record) -> Any:
    """Distributions of the ratio of both sides of each inequality."""
    data = record.data
    panels = [
        ("lemma", "Lemma 3.1: σ_min / bound ≥ 1"),
        ("approximation", "Thm 3.2: error / bound ≤ 1"),
        ("loss_bound", "Thm 3.3: bound / loss ≤ 1"),
    ]
    with style():
        drawn, axes = figure(1, 3, width=3.2, height=2.6)
        for axis, (name, title) in zip(axes, panels, strict=True):
            values = data[name].values
            axis.hist(values, bins=np.linspace(min(0.0, values.min()), max(1.0, values.max()) * 1.02, 40), color=COLORS[0])
            axis.axvline(1.0, color=COLORS[1], linestyle="--")
            axis.set_title(title, fontsize=9)
            axis.set_xlabel("ratio")
        axes[0].set_ylabel("random instances")
    return drawn
