"""Staircases: the rank as steps, the loss on a logarithmic axis beneath it, medians as lines and the range over seeds as a band."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from theodolite.draw import COLORS, figure, sequence, style

if TYPE_CHECKING:
    import xarray as xr

    from theodolite.core.record import Record

__all__ = ["activations", "band", "deterministic_init", "layers", "staircase", "tasks"]


def band(axis: Any, curve: xr.DataArray, color: Any, label: str, steps: bool = False) -> None:
    """Median over seeds as a line, range over seeds as a band."""
    middle, low, high = curve.median("seed"), curve.min("seed"), curve.max("seed")
    axis.fill_between(curve.step, low, high, color=color, alpha=0.15, linewidth=0, step="post" if steps else None)
    axis.plot(curve.step, middle, color=color, label=label, drawstyle="steps-post" if steps else "default")


def _pair(columns: int) -> tuple[Any, Any]:
    drawn, axes = figure(2, columns, width=3.9, height=2.5, squeeze=False, sharex="col")
    for column in range(columns):
        axes[1, column].set_yscale("log")
        axes[1, column].set_xlabel("optimisation step")
    axes[0, 0].set_ylabel("ε-rank")
    axes[1, 0].set_ylabel("loss")
    return drawn, axes


def staircase(record: Record) -> Any:
    """Rank and loss, one column per (depth, width), one colour per optimiser."""
    data = record.data
    cases = [(d, n) for d in data.depth.values for n in data.width.values]
    with style():
        drawn, axes = _pair(len(cases))
        for column, (depth, width) in enumerate(cases):
            for color, optimizer in zip(COLORS, data.optimizer.values, strict=False):
                here = data.sel(depth=depth, width=width, optimizer=optimizer)
                band(axes[0, column], here["rank"], color, str(optimizer), steps=True)
                band(axes[1, column], here["loss"], color, str(optimizer))
            axes[0, column].set_title(f"L = {depth}, n = {width}")
        axes[0, 0].legend()
    return drawn


def layers(record: Record) -> Any:
    """Rank of every layer, and the loss."""
    data = record.data
    with style():
        drawn, axes = _pair(1)
        for color, layer in zip(sequence(data.sizes["layer"]), data.layer.values, strict=True):
            band(axes[0, 0], data["rank"].sel(layer=layer), color, f"layer {layer}", steps=True)
        band(axes[1, 0], data["loss"], COLORS[1], "loss")
        # the bands fill the upper panel
        axes[1, 0].legend(*axes[0, 0].get_legend_handles_labels(), ncols=2, loc="upper right")
        axes[0, 0].set_title(f"ε-rank by layer, L = {record.settings['depth']}, n = {record.settings['width']}")
    return drawn


def activations(record: Record) -> Any:
    """One column per activation."""
    data = record.data
    with style():
        drawn, axes = _pair(data.sizes["activation"])
        for column, name in enumerate(data.activation.values):
            here = data.sel(activation=name)
            band(axes[0, column], here["rank"], COLORS[0], str(name), steps=True)
            band(axes[1, column], here["loss"], COLORS[1], str(name))
            axes[0, column].set_title(str(name))
    return drawn


def deterministic_init(record: Record) -> Any:
    """One column per case, one colour per initialisation."""
    data = record.data
    with style():
        drawn, axes = _pair(data.sizes["case"])
        for column, case in enumerate(data.case.values):
            for color, init in zip(COLORS, data.init.values, strict=False):
                here = data.sel(case=case, init=init)
                band(axes[0, column], here["rank"], color, str(init), steps=True)
                band(axes[1, column], here["loss"], color, str(init))
            axes[0, column].set_title(str(case))
        axes[0, 0].legend()
    return drawn


def tasks(record: Record) -> Any:
    """One column per task, one colour per layer."""
    data = record.data
    with style():
        drawn, axes = _pair(data.sizes["task"])
        for column, task in enumerate(data.task.values):
            here = data.sel(task=task)
            for color, layer in zip(sequence(data.sizes["layer"]), data.layer.values, strict=True):
                band(axes[0, column], here["rank"].sel(layer=layer), color, f"layer {layer}", steps=True)
            band(axes[1, column], here["loss"], COLORS[1], "loss")
            axes[1, column].set_xscale("symlog", linthresh=1)
            axes[1, column].set_xlim(left=0)
            accuracy = float(here["accuracy"].median())
            axes[0, column].set_title(f"{task} (test accuracy {accuracy:.0%})")
        axes[0, 0].legend()
    return drawn
