"""One description of a picture, drawn twice: static (matplotlib, for print and without scripts) and live (plotly, in the page)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.draw.style import INK, MUTED, figure, style

__all__ = ["Curve", "Panel", "live", "static"]

GRID = "#E4E7EB"
#: Most powers of ten that are named along a logarithmic axis.
MOST_TICKS = 9


@dataclass(frozen=True)
class Curve:
    """One curve: ``y`` over ``x``, in hex ``color``; ``dashed`` for theory; ``points`` marks the samples."""

    name: str
    x: Sequence[Any]
    y: Sequence[float]
    color: str
    dashed: bool = False
    points: bool = True


@dataclass(frozen=True)
class Panel:
    """A picture with one pair of axes.

    Attributes:
        title: heading.
        caption: what is to be seen, in a sentence.
        curves: curves to draw.
        matrix: a matrix to draw in place of curves, with entries in [−1, 1].
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
        logarithmic: whether the vertical axis is.
        names: names of the places 0, 1, … on the horizontal axis, where it has names.
    """

    title: str
    caption: str = ""
    curves: Sequence[Curve] = ()
    matrix: np.ndarray | None = None
    x_label: str = ""
    y_label: str = ""
    logarithmic: bool = False
    names: Sequence[str] = ()


def static(panel: Panel) -> Any:
    """The panel as a matplotlib figure."""
    import matplotlib as mpl

    with style(), mpl.rc_context({"figure.constrained_layout.use": False}):  # which would draw everything twice
        made, axes = figure(width=4.3, height=2.9)
        made.subplots_adjust(left=0.19, right=0.97, bottom=0.19, top=0.88)
        if panel.matrix is not None:
            shown = axes.imshow(panel.matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
            axes.grid(False)
            made.colorbar(shown, ax=axes, shrink=0.85)
            for axis in (axes.xaxis, axes.yaxis):
                axis.get_major_locator().set_params(integer=True)  # a neuron has a number
        for curve in panel.curves:
            line = "--" if curve.dashed else "-"
            marker = "o" if curve.points else None
            axes.plot(curve.x, curve.y, line, marker=marker, color=curve.color, label=curve.name, markersize=3.5)
        if panel.logarithmic:
            axes.set_yscale("log")
        axes.set_title(panel.title, fontsize=9, y=1.0)  # a given height: to look for one measures every tick label again
        axes.set_xlabel(panel.x_label)
        axes.set_ylabel(panel.y_label)
        if panel.names:
            every = -(-len(panel.names) // 8)
            axes.set_xticks(range(0, len(panel.names), every), [_short(n) for n in panel.names[::every]], fontsize=7)
        if 1 < len([c for c in panel.curves if c.name]) <= 8:
            axes.legend()
    return made


def _short(name: str) -> str:
    return name if len(name) <= 9 else f"…{name[-8:]}"


def live(panel: Panel) -> dict[str, Any]:
    """The panel as plotly's data and layout, in plain JSON values."""
    axis = {"gridcolor": GRID, "linecolor": "#9AA5B1", "zeroline": False, "automargin": True, "ticks": "outside", "ticklen": 4}
    layout: dict[str, Any] = {
        "title": {"text": f"<b>{panel.title}</b>", "x": 0, "xref": "container", "font": {"size": 14, "color": INK}},
        "xaxis": {**axis, "title": {"text": panel.x_label}},
        "yaxis": {**axis, "title": {"text": panel.y_label}},
        "font": {"family": "system-ui, Segoe UI, Noto Sans, DejaVu Sans, sans-serif", "size": 12, "color": "#52606D"},
        "margin": {"l": 12, "r": 12, "t": 42, "b": 12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "showlegend": 1 < len([c for c in panel.curves if c.name]) <= 12,
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.28, "font": {"size": 11}},
    }
    if panel.logarithmic:
        decades = _decades(panel)
        layout["yaxis"] |= {"type": "log", "exponentformat": "power"}
        layout["yaxis"] |= {"dtick": -(-decades // MOST_TICKS)} if decades > 1.5 else {"nticks": 5}
    if panel.names:
        every = -(-len(panel.names) // 8)
        places = list(range(0, len(panel.names), every))
        layout["xaxis"] |= {"tickvals": places, "ticktext": [_short(panel.names[i]) for i in places]}
    if panel.matrix is not None:
        layout["xaxis"] |= {"showgrid": False}
        layout["yaxis"] |= {"showgrid": False, "autorange": "reversed"}
        heat = {
            "type": "heatmap",
            "z": [[_plain(v) for v in row] for row in panel.matrix],
            "zmin": -1,
            "zmax": 1,
            "colorscale": [[0, "#2166ac"], [0.5, "#f7f7f7"], [1, "#b2182b"]],
            "colorbar": {"thickness": 12, "outlinewidth": 0},
            "hovertemplate": "%{y}, %{x}: %{z:.3f}<extra></extra>",
        }
        return {"data": [heat], "layout": layout}
    return {"data": [_trace(panel, curve) for curve in panel.curves], "layout": layout}


def _decades(panel: Panel) -> float:
    """Powers of ten between the least and the greatest positive value."""
    values = np.concatenate([np.asarray(curve.y, dtype=float) for curve in panel.curves])
    shown = values[np.isfinite(values) & (values > 0)]
    return float(np.log10(shown.max() / shown.min())) if len(shown) else 0.0


def _trace(panel: Panel, curve: Curve) -> dict[str, Any]:
    place = [panel.names[int(x)] for x in curve.x] if panel.names else [f"{x:g}" for x in curve.x]
    return {
        "type": "scatter",
        "mode": "lines+markers" if curve.points else "lines",
        "name": curve.name,
        "x": [_plain(v) for v in curve.x],
        "y": [_plain(v) for v in curve.y],
        "text": place,
        "hovertemplate": f"{curve.name or panel.title} at %{{text}}: %{{y:.4g}}<extra></extra>",
        "line": {"color": curve.color, "width": 2, "dash": "dash" if curve.dashed else "solid"},
        "marker": {"size": 5},
    }


def _plain(value: Any) -> float | None:
    """A float that JSON can hold, at the precision of a picture."""
    number = float(value)
    return float(f"{number:.6g}") if np.isfinite(number) else None


#: Colour of theory's curves.
THEORY = MUTED
