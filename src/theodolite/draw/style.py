"""House style: sizes, colours and fonts of all figures, applied without touching global settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["COLORS", "INK", "MUTED", "figure", "legend_below", "sequence", "style", "ticks_at"]

#: Categorical colours, in the order of use; distinguishable in common forms of colour blindness (after Okabe & Ito).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#5C6670")
INK, MUTED = "#1F2933", "#7B8794"

_SETTINGS: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "font.size": 10,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.edgecolor": "#9AA5B1",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E7EB",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": "#52606D",
    "ytick.color": "#52606D",
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "image.cmap": "viridis",
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
}


@contextmanager
def style() -> Iterator[None]:
    """The house style for the length of a ``with``; matplotlib's global settings are as before afterwards."""
    import matplotlib as mpl
    from cycler import cycler

    settings: Any = {**_SETTINGS, "axes.prop_cycle": cycler(color=COLORS)}
    with mpl.rc_context(settings):
        yield


def figure(rows: int = 1, columns: int = 1, *, width: float = 4.6, height: float = 3.4, **options: Any) -> tuple[Any, Any]:
    """A figure of ``rows`` × ``columns`` axes, each about ``width`` × ``height`` inches, that no global registry holds on to.

    Call inside ``with style():``. Axes come as one object, or as a numpy array of them.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width * columns, height * rows))
    return drawn, drawn.subplots(rows, columns, **options)


def sequence(count: int, cmap: str = "viridis") -> list[tuple[float, float, float, float]]:
    """``count`` colours in order, dark to light, for things that have an order (layers, widths, depths)."""
    import matplotlib as mpl

    colors = mpl.colormaps[cmap]
    return [colors(0.05 + 0.8 * i / max(1, count - 1)) for i in range(count)]


def legend_below(axis: Any, columns: int = 1, **options: Any) -> None:
    """The legend under the axes, where it covers no data; the layout makes room for it."""
    axis.legend(loc="upper left", bbox_to_anchor=(0.0, -0.22), ncols=columns, borderaxespad=0.0, **options)


def ticks_at(axis: Any, values: Sequence[float] | Any, most: int = 7) -> None:
    """Plain numbers at the measured places of a logarithmic x-axis (widths, say), at most ``most`` of them."""
    places = sorted({float(v) for v in values})
    step = -(-len(places) // most)
    axis.set_xticks(places[::step], labels=[f"{v:g}" for v in places[::step]])
    axis.set_xticks([], minor=True)
