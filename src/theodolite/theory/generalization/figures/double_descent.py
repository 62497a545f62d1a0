"""Figures of double descent, over width and over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.draw.style import COLORS, INK, MUTED, figure, legend_below, sequence, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from theodolite.core.record import Record

__all__ = ["double_descent_features", "double_descent_network", "epochwise"]


#: Kinds of features whose curves coincide stay apart: a broad line, and thinner broken ones over it.
_LINES = (
    {"linestyle": "-", "linewidth": 3.2},
    {"linestyle": "--", "linewidth": 1.6},
    {"linestyle": ":", "linewidth": 1.8},
    {"linestyle": "-.", "linewidth": 1.4},
)


def _band(axes: Any, x: np.ndarray, values: np.ndarray, **line: Any) -> None:
    """Mean over the first axis as a line, its range as a band."""
    (drawn,) = axes.plot(x, values.mean(0), **line)
    axes.fill_between(x, values.min(0), values.max(0), color=drawn.get_color(), alpha=0.15, linewidth=0)


def _plain_ticks(ax: Any, values: np.ndarray) -> None:
    """A logarithmic axis over a decade or two: a few round numbers, no powers of ten."""
    ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if values.min() <= t <= values.max()]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()


def double_descent_features(record: Record, *, kind: str | None = None) -> Figure:
    """Test error and norm against N/n: the least-norm curves at all noise levels, the ridge path, and the prediction.

    Args:
        record: of ``generalization.double_descent_features``.
        kind: kind of features of the lower row; the first one if omitted.
    """
    data = record.data
    kinds = [str(k) for k in data["kind"].values]
    kind = kind or ("cosine" if "cosine" in kinds else kinds[0])
    ratio = data["ratio"].values
    with style():
        drawn, axes = figure(2, 2, width=5.0)
        noise = float(data["label_noise"].min())
        for k, color, line in zip(kinds, COLORS, _LINES, strict=False):
            chosen = data.sel(kind=k, ridge=0.0, label_noise=noise)
            _band(axes[0, 0], ratio, chosen["test_mse"].values, color=color, label=k, **line)
            _band(axes[0, 1], ratio, chosen["norm"].values, color=color, label=k, **line)
        one = data.sel(kind=kind)
        for level, color in zip(data["label_noise"].values, COLORS, strict=False):
            _band(
                axes[1, 0],
                ratio,
                one["test_mse"].sel(label_noise=level, ridge=0.0).values,
                color=color,
                label=f"{level:.0%} noise",
            )
        theory = one["theory_test_mse"].sel(ridge=0.0).values
        if np.isfinite(theory).any():
            axes[1, 0].plot(
                ratio, np.where(np.isinf(theory), np.nan, theory), color=INK, linestyle="--", label="theory, 0% noise"
            )
        loud = float(data["label_noise"].max())
        for ridge, shade in zip(data["ridge"].values, sequence(data.sizes["ridge"]), strict=True):
            values = one["test_mse"].sel(label_noise=loud, ridge=ridge).values
            _band(axes[1, 1], ratio, values, color=shade, label=f"ridge {ridge:g}")
        titles = (
            f"Least norm, {noise:.0%} label noise",
            "Norm of the coefficients",
            f"{kind}: label noise",
            f"{kind}: ridge, {loud:.0%} label noise",
        )
        for ax, title in zip(axes.flat, titles, strict=True):
            ax.set(xscale="log", yscale="log", title=title, xlabel="features per sample N/n", ylabel="test squared error")
            _plain_ticks(ax, ratio)
            ax.axvline(1, color=MUTED, linewidth=0.8, zorder=0)
            legend_below(ax, columns=3)
        axes[0, 1].set_ylabel("‖a‖")
        drawn.suptitle(f"Double descent of random features on {data.attrs['data']}, n = {data.attrs['samples']}")
    return drawn


def double_descent_network(record: Record) -> Figure:
    """Test and training error of trained two-layer networks against the number of parameters.

    Args:
        record: of ``generalization.double_descent_network``.
    """
    data = record.data
    fraction = data["parameters"].values / data.attrs["threshold"]
    with style():
        drawn, axes = figure(1, 2, width=5.0)
        for level, color in zip(data["label_noise"].values, COLORS, strict=False):
            for ax, name in zip(axes, ("mse", "error"), strict=True):
                chosen = data.sel(label_noise=level)
                _band(ax, fraction, chosen[f"test_{name}"].values.T, color=color, marker="o", label=f"test, {level:.0%} noise")
                train = np.maximum(chosen[f"train_{name}"].values.T, 1e-7 if name == "mse" else 0)
                ax.plot(fraction, train.mean(0), color=color, linestyle=":", label=f"training, {level:.0%} noise")
        axes[0].set(yscale="log", ylabel="squared error", title="Squared error")
        axes[1].set(ylabel="fraction misclassified", title="Classification error")
        for ax in axes:
            ax.set(xscale="log", xlabel="parameters per equation P/(nK)")
            _plain_ticks(ax, fraction)
            ax.axvline(1, color=MUTED, linewidth=0.8, zorder=0)
        legend_below(axes[0], columns=2)
        drawn.suptitle(f"Trained two-layer networks, n = {data.attrs['samples']}")
    return drawn


def epochwise(record: Record) -> Figure:
    """Test and training error of a wide network over training time.

    Args:
        record: of ``generalization.epochwise``.
    """
    data = record.data
    steps = data["step"].values[1:]
    with style():
        drawn, axes = figure(1, 2, width=5.0)
        for level, color in zip(data["label_noise"].values, COLORS, strict=False):
            for ax, name in zip(axes, ("error", "mse"), strict=True):
                chosen = data.sel(label_noise=level)
                _band(ax, steps, chosen[f"test_{name}"].values[:, 1:], color=color, label=f"test, {level:.0%} noise")
                ax.plot(steps, chosen[f"train_{name}"].values[:, 1:].mean(0), color=color, linestyle=":")
        axes[0].set(ylabel="fraction misclassified", title="Classification error (dotted: training)")
        axes[1].set(ylabel="squared error", yscale="log", title="Squared error (dotted: training)")
        for ax in axes:
            ax.set(xscale="log", xlabel="step")
        legend_below(axes[0], columns=3)
        drawn.suptitle(f"Epoch-wise: width {data.attrs['width']}, n = {data.attrs['samples']}")
    return drawn
