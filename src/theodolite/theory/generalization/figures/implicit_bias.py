"""Figures of the implicit bias, and the animation of the separator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.core.errors import ArgumentError
from theodolite.draw.style import COLORS, INK, MUTED, figure, legend_below, style

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.figure import Figure

    from theodolite.core.record import Record

__all__ = ["animate_separator", "implicit_bias", "implicit_bias_optimizers"]

LN10 = np.log(10.0)


def implicit_bias(record: Record) -> Figure:
    """Per data set: the points with both separators, angle, loss·t and margin gap to the last decade.

    Args:
        record: of ``generalization.implicit_bias``.
    """
    data = record.data
    names = [str(s) for s in data["set"].values]
    with style():
        drawn, axes = figure(len(names), 4, width=3.8, height=3.2, squeeze=False)
        for row, name in zip(axes, names, strict=True):
            one = data.sel(set=name)
            _scatter(row[0], one)
            _line(row[0], one["w_hat"].values, color=INK, label="maximum margin")
            _line(row[0], one["w"].isel(optimizer=0, step=-1).values, color=COLORS[1], linestyle="--", label="last real step")
            row[0].set_title(f"{name} set")
            legend_below(row[0])
            _decay(row[1], one)
            _scaled(row[2:], one)
    return drawn


def _decay(ax: Any, one: Any) -> None:
    """Angle against log10 t, real steps and flow."""
    steps = one["step"].values[1:]
    for rule, color in zip(one["optimizer"].values, COLORS, strict=False):
        ax.plot(np.log10(steps), one["angle"].sel(optimizer=rule).values[1:], color=color, label=str(rule))
    ax.plot(one["log10_t"], one["flow_angle"], color=INK, linestyle="--", label="flow")
    ax.set(yscale="log", ylabel="angle to ŵ (rad)", title="Angle")
    _time_axis(ax, one)
    legend_below(ax, columns=2)


def _scaled(axes: Any, one: Any) -> None:
    """What theory says is constant: L·t, and angle and margin gap times log t."""
    logs = one["log10_t"].values * LN10
    with np.errstate(over="ignore"):
        axes[0].plot(one["log10_t"], np.exp(one["flow_log_loss"].values + logs), color=INK, linestyle="--", label="flow")
    steps = one["step"].values[1:]
    for rule, color in zip(one["optimizer"].values, COLORS, strict=False):
        values = np.exp(one["log_loss"].sel(optimizer=rule).values[1:]) * steps
        axes[0].plot(np.log10(steps), values, color=color, label=str(rule))
    axes[0].axhline(float(one["predicted_loss_times_t"]), color=MUTED, label="‖ŵ‖²/η")
    axes[0].set(ylabel="L · t", title="Loss × t")
    legend_below(axes[0], columns=2)
    for i, (name, label) in enumerate((("angle", "angle · log t"), ("margin_gap", "margin gap · log t"))):
        axes[1].plot(one["log10_t"], one[f"flow_{name}"] * logs, color=COLORS[i], label=label)
        axes[1].axhline(float(one[f"predicted_{name}_times_log_t"]), color=COLORS[i], linestyle=":", label="its predicted limit")
    axes[1].set(ylabel="× log t", title="1/log t laws", ylim=(0, None))
    for ax in axes:
        _time_axis(ax, one)
    legend_below(axes[1], columns=2)


def _time_axis(ax: Any, one: Any) -> None:
    """log10 t, linear up to a million steps, logarithmic in the decades beyond."""
    last = float(one["log10_t"][-1])
    ticks = [t for t in (0, 2, 4, 6, 10, 20, 50, 100, 200) if t <= last]
    ax.set_xscale("symlog", linthresh=6)
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set(xlim=(0, last), xlabel="log₁₀ t")


def _scatter(ax: Any, one: Any) -> None:
    """The points by label, support vectors ringed."""
    x, y, w = one["x"].values, one["y"].values, one["w_hat"].values
    for sign, color, marker in ((1, COLORS[0], "o"), (-1, COLORS[4], "s")):
        ax.scatter(*x[y == sign].T, color=color, marker=marker, s=18, zorder=3)
    support = np.abs(y * (x @ w) - 1) < 1e-8
    ax.scatter(*x[support].T, facecolors="none", edgecolors=INK, s=70, zorder=4)
    reach = 1.1 * np.nanmax(np.abs(x))
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="x₁", ylabel="x₂")


def _line(ax: Any, w: np.ndarray, **line: Any) -> Any:
    """The hyperplane w·x = 0."""
    along = np.array([-w[1], w[0]]) / np.linalg.norm(w)
    reach = 2 * max(np.abs(ax.get_xlim()).max(), 1)
    return ax.plot(*np.outer(along, [-reach, reach]), **line)[0]


def implicit_bias_optimizers(record: Record) -> Figure:
    """Angles to both separators and both margins over the steps, per algorithm.

    Args:
        record: of ``generalization.implicit_bias_optimizers``.
    """
    data = record.data
    steps = data["step"].values[1:]
    panels = (
        ("angle_l2", "angle (rad)", "Angle to the ℓ2 separator"),
        ("angle_sup", "angle (rad)", "Angle to the ℓ∞ separator"),
        ("margin_l2", "1 − margin / best", "Missing ℓ2 margin"),
        ("margin_sup", "1 − margin / best", "Missing ℓ∞ margin"),
    )
    with style():
        drawn, axes = figure(2, 2, width=4.8)
        for ax, (name, label, title) in zip(axes.flat, panels, strict=True):
            for rule, color in zip(data["optimizer"].values, COLORS, strict=False):
                values = data[name].sel(optimizer=rule).values[:, 1:]
                values = np.maximum(1 - values, 1e-8) if name.startswith("margin") else values
                ax.plot(steps, np.exp(np.log(np.maximum(values, 1e-12)).mean(0)), color=color, label=str(rule))
            ax.set(xscale="log", yscale="log", xlabel="step", ylabel=label, title=title)
        legend_below(axes[0, 0], columns=3)
        drawn.suptitle("Geometric means over data sets")
    return drawn


def animate_separator(
    record: Record, path: str | Path | None = None, *, name: str | None = None, frames: int = 60, seconds: float = 6.0
) -> FuncAnimation:
    """The separator turning towards the maximum margin, from the first step to the last decade, at equal steps of log t.

    Args:
        record: of ``generalization.implicit_bias``.
        path: file to write (``.gif``, or ``.mp4`` where ffmpeg is installed); nothing is written if omitted.
        name: data set; the first one if omitted.
        frames: number of frames.
        seconds: length.

    Returns:
        The animation; in a notebook show it with ``.to_jshtml()``.

    Raises:
        ArgumentError: a data set that the record does not hold.
    """
    from matplotlib.animation import FuncAnimation, PillowWriter

    data = record.data
    names = [str(s) for s in data["set"].values]
    name = name or names[0]
    if name not in names:
        raise ArgumentError(f"name must be one of {', '.join(names)}, got {name!r}")
    one = data.sel(set=name)
    times, directions = _course(one)
    chosen = np.unique(np.linspace(0, len(times) - 1, frames).round().astype(int))
    with style():
        drawn, (left, right) = figure(1, 2, width=4.4, height=4.2)
        _scatter(left, one)
        _line(left, one["w_hat"].values, color=INK, linewidth=1.0, label="maximum margin")
        moving = _line(left, directions[0], color=COLORS[1], label="gradient descent")
        left.legend(loc="upper left", frameon=True, framealpha=0.85, edgecolor="none")
        w_hat = one["w_hat"].values / np.linalg.norm(one["w_hat"].values)
        across = np.array([-w_hat[1], w_hat[0]])
        angles = np.arctan2(np.abs(directions @ across), directions @ w_hat)
        right.plot(times, angles, color=MUTED, linewidth=1.0)
        (dot,) = right.plot(times[:1], angles[:1], "o", color=COLORS[1])
        right.set(yscale="log", ylabel="angle to ŵ (rad)")
        _time_axis(right, one)

        def show(frame: int) -> tuple[Any, ...]:
            i = chosen[frame]
            along = np.array([-directions[i, 1], directions[i, 0]])
            reach = 2 * np.abs(left.get_xlim()).max()
            moving.set_data(*np.outer(along, [-reach, reach]))
            dot.set_data(times[i : i + 1], angles[i : i + 1])
            left.set_title(f"t = 10^{times[i]:.1f}")
            return moving, dot

        animation = FuncAnimation(drawn, show, frames=len(chosen), interval=1000 * seconds / len(chosen), blit=False)
        if path is not None:
            writer: Any = PillowWriter(fps=max(1, round(len(chosen) / seconds))) if str(path).endswith(".gif") else None
            animation.save(str(path), writer=writer)
    return animation


def _course(one: Any) -> tuple[np.ndarray, np.ndarray]:
    """log10 t and unit directions: real steps of the first algorithm, then the flow."""
    steps, w = one["step"].values[1:], one["w"].isel(optimizer=0).values[1:]
    times, flow = one["log10_t"].values, one["flow_w"].values
    later = np.isfinite(flow).all(axis=1) & (times > np.log10(steps[-1]))
    joined = np.vstack([w, flow[later]])
    return np.concatenate([np.log10(steps), times[later]]), joined / np.linalg.norm(joined, axis=1, keepdims=True)
