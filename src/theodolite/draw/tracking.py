"""A tracked quantity along training, as a staircase, with a curve such as the loss beneath it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.draw.style import COLORS, MUTED, figure, sequence, style

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["tracked"]


def tracked(data: xr.Dataset, name: str, against: str | None = None) -> Any:
    """Figure of ``data[name]`` over (step[, layer]) and, if given, of the per-step curve ``against`` on a logarithmic axis."""
    with style():
        drawn, axes = figure(2 if against else 1, 1, width=6.4, height=2.7, sharex=True, squeeze=False)
        top = axes[0, 0]
        values = data[name]
        if "layer" in values.dims:
            for color, layer in zip(sequence(values.sizes["layer"]), values.layer.values, strict=True):
                top.step(values.step, values.sel(layer=layer), where="post", color=color, label=f"layer {layer}")
            if values.sizes["layer"] <= 12:
                top.legend(ncols=2)
        else:
            top.step(values.step, values, where="post", color=COLORS[0])
        top.set_ylabel(values.attrs.get("symbol", name))
        top.set_title(name)
        if against:
            below = axes[1, 0]
            curve = data[against]
            steps = curve[curve.dims[0]]
            below.plot(steps, curve, color=COLORS[1])
            if bool(np.all(curve.values > 0)):
                below.set_yscale("log")
            below.set_ylabel(against)
        last = axes[-1, 0]
        last.set_xlabel("optimisation step")
        if values.sizes["step"] > 2 and _geometric(values.step.values):
            last.set_xscale("symlog", linthresh=1)
            last.set_xlim(left=0)
        for axis in axes.flat:
            axis.tick_params(colors=MUTED)
    return drawn


def _geometric(steps: np.ndarray) -> bool:
    """Whether looks are spaced geometrically rather than evenly."""
    gaps = np.diff(steps)
    return bool(gaps[-1] > 4 * max(1, gaps[0]))
