"""Figures of random labels, growing norms and memorisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.draw.style import COLORS, INK, MUTED, figure, style, ticks_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from theodolite.core.record import Record

__all__ = ["memorization", "norm_growth", "random_labels"]


def random_labels(record: Record) -> Figure:
    """Training loss over time, final test error per variant, and the norms beside it.

    Args:
        record: of ``generalization.random_labels``.
    """
    data = record.data
    names = [str(v) for v in data["variant"].values]
    with style():
        drawn, axes = figure(1, 3, width=4.6)
        for name, color in zip(names, COLORS, strict=False):
            axes[0].plot(data["step"][1:], data["train_loss"].sel(variant=name).mean("seed")[1:], color=color, label=name)
        axes[0].set(xscale="log", yscale="log", xlabel="step", ylabel="cross-entropy", title="Training loss")
        axes[0].legend()
        train, test = (data[f"{part}_error"].isel(step=-1).mean("seed").values for part in ("train", "test"))
        places = np.arange(len(names))
        axes[1].barh(places + 0.2, test, 0.4, color=COLORS[1], label="test")
        axes[1].barh(places - 0.2, train, 0.4, color=COLORS[0], label="training")
        axes[1].set(yticks=places, yticklabels=[n.replace("_", " ") for n in names], xlim=(0, 1), xlabel="fraction misclassified")
        axes[1].set_title("Errors after training")
        axes[1].invert_yaxis()
        axes[1].legend()
        for name, color in zip(names, COLORS, strict=False):
            chosen = data.sel(variant=name)
            final = chosen["test_error"].isel(step=-1)
            axes[2].scatter(chosen["distance_from_init"], final, color=color, marker="o", label=name)
            axes[2].scatter(chosen["frobenius"], final, color=color, marker="x")
        axes[2].set(xlabel="norm (● from initialisation, × of all weights)", ylabel="test error", title="Does the norm tell?")
        axes[2].set(ylim=(0, 1), xlim=(0, None))
    return drawn


def norm_growth(record: Record) -> Figure:
    """Norm, losses and errors long after the labels are fitted.

    Args:
        record: of ``generalization.norm_growth``.
    """
    data = record.data
    mean, steps = data.mean("seed"), data["step"].values[1:]
    with style():
        drawn, axes = figure(1, 3, width=4.2)
        axes[0].plot(steps, mean["norm"][1:], color=COLORS[0])
        axes[0].set(xscale="log", xlabel="step", ylabel="‖θ‖", title="Norm")
        for part, color in (("train", COLORS[0]), ("test", COLORS[1])):
            axes[1].plot(steps, mean[f"{part}_loss"][1:], color=color, label=part)
            axes[2].plot(steps, mean[f"{part}_error"][1:], color=color, label=part)
        axes[1].set(xscale="log", yscale="log", xlabel="step", ylabel="cross-entropy", title="Loss")
        axes[2].set(xscale="log", xlabel="step", ylabel="fraction misclassified", title="Error", ylim=(0, None))
        fitted = (mean["train_error"].values == 0).nonzero()[0]
        if len(fitted):
            for ax in axes:
                ax.axvline(data["step"].values[fitted[0]], color=MUTED, linewidth=0.8, zorder=0)
        axes[1].legend()
    return drawn


def memorization(record: Record) -> Figure:
    """Errors of the construction on training and test data, and its number of weights, against n.

    Args:
        record: of ``generalization.memorization``.
    """
    data = record.data
    with style():
        drawn, axes = figure(1, 3, width=4.2)
        for labels, color in zip(data["labels"].values, COLORS, strict=False):
            one = data.sel(labels=labels)
            largest = np.maximum(one["largest_error"].max("seed").values, 1e-17)
            axes[0].plot(data["samples"], largest, "o-", color=color, label=f"{labels} labels")
            axes[1].plot(data["samples"], one["test_error"].mean("seed"), "o-", color=color, label=f"test, {labels} labels")
            axes[1].plot(data["samples"], one["train_error"].mean("seed"), ":", color=color, label=f"training, {labels} labels")
        axes[2].plot(data["samples"], data["weights"].isel(labels=0).mean("seed"), "o", color=COLORS[0], label="built")
        n = np.asarray(data["samples"].values, dtype=float)
        axes[2].plot(n, 2 * n + data.attrs["dimension"], color=INK, linewidth=1.0, label="2n + d")
        axes[0].set(xscale="log", yscale="log", ylabel="largest |c(x) − y|", title="Exact on the training points")
        axes[1].set(xscale="log", ylabel="fraction of labels missed", ylim=(-0.02, 1), title="Not off them")
        axes[2].set(xscale="log", yscale="log", ylabel="weights", title="Weights")
        for ax in axes:
            ax.set_xlabel("points n")
            ticks_at(ax, n)
            ax.legend()
    return drawn
