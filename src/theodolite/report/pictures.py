"""Which pictures a report has, read off its rows and profiles; nothing is computed here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from theodolite.draw.style import COLORS, sequence
from theodolite.report.changes import matched
from theodolite.report.panels import THEORY, Curve, Panel

if TYPE_CHECKING:
    from theodolite.report.report import Profile, Report, Row

__all__ = ["pictures"]

#: Most neurons of a matrix that is drawn; beyond, single entries are no longer seen.
LARGEST_MATRIX = 160
#: Most matrices, and most curves in one spectrum picture.
MOST_MATRICES, MOST_CURVES = 4, 12
#: Squared unit roundoff of float64.
ROUNDING = 2.0**-106
#: Most points of a curve.
MOST_POINTS = 160


def pictures(report: Report, before: Report | None = None, names: tuple[str, str] = ("before", "after")) -> list[Panel]:
    """Layer-wise quantities along the depth in the order of the rows, then spectra, vectors of the network, and matrices.

    Args:
        report: what to draw.
        before: another report of as many layers, drawn beside it.
        names: of ``before`` and ``report``.
    """
    return [*_along_depth(report, before, names), *_spectra(report), *_of_the_network(report), *_matrices(report)]


def _along_depth(report: Report, before: Report | None, names: tuple[str, str]) -> list[Panel]:
    """One panel per quantity that was measured at two layers or more: measured, theory, and the other report's."""
    panels = []
    for name in dict.fromkeys(row.quantity for row in report.rows if row.layer is not None):
        curves = []
        if before is not None:
            old = _curve(report.layers, list(matched(before, report).values()), name, names[0], COLORS[1])
            curves += [old] if old is not None else []
        now = _curve(report.layers, report.rows, name, names[1] if before is not None else "measured", COLORS[0])
        if now is None:
            continue
        curves.append(now)
        theory = [
            (report.layers.index(r.layer), r.prediction)
            for r in report.rows
            if r.quantity == name and r.prediction is not None and r.layer in report.layers
        ]
        if theory:
            x, y = zip(*theory, strict=True)
            curves.append(Curve("theory", x, y, THEORY, dashed=True, points=len(theory) == 1))
        symbol = next(row.symbol for row in report.rows if row.quantity == name)
        panels.append(Panel(f"{name}", "", curves, x_label="layer", y_label=symbol, names=report.layers))
    return panels


def _curve(layers: Sequence[str], rows: Sequence[Row], quantity: str, name: str, color: str) -> Curve | None:
    found = [
        (layers.index(r.layer), r.value)
        for r in rows
        if r.quantity == quantity and r.layer in layers and r.value is not None and np.isfinite(r.value)
    ]
    if len(found) < 2:
        return None
    x, y = zip(*sorted(found), strict=True)
    return Curve(name, x, y, color)


def _spectra(report: Report) -> list[Panel]:
    """One panel per quantity whose vectors fall along their index: spectra of the layers."""
    panels = []
    for name in dict.fromkeys(p.quantity for p in report.profiles if p.layer is not None):
        profiles = [p for p in report.profiles if p.quantity == name and p.layer is not None]
        if not all(p.values.ndim == 1 and (np.diff(p.values) <= 0).all() for p in profiles):
            continue
        chosen = _spread(profiles, MOST_CURVES)
        curves = [_spectrum(p.values, str(p.layer), c) for c, p in zip(_hex(len(chosen)), chosen, strict=True)]
        caption = "A steep fall means that few directions carry the layer."
        panels.append(Panel(name, caption, curves, x_label="index", y_label=profiles[0].symbol, logarithmic=True))
    return panels


def _of_the_network(report: Report) -> list[Panel]:
    """Vectors of the whole network, such as gradient norms by layer, and rows of vectors, such as singular values by input."""
    panels = []
    for profile in report.profiles:
        if profile.layer is not None or profile.values.ndim > 2 or profile.values.shape[-1] < 2:
            continue
        rows = np.atleast_2d(profile.values)
        curves = [_spectrum(row, "", c) for c, row in zip(_hex(len(rows)), rows, strict=True)]
        caption = "" if len(rows) == 1 else "One curve per input."
        panels.append(Panel(profile.quantity, caption, curves, x_label="index", y_label=profile.symbol, logarithmic=True))
    return panels


def _matrices(report: Report) -> list[Panel]:
    """Similarity matrices of the neurons of a layer: symmetric, ones on the diagonal."""
    found = [p for p in report.profiles if _is_similarity(p.values)]
    return [
        Panel(
            f"{p.quantity.partition('.')[2]}, layer {p.layer}",
            "Blocks of ±1 are condensed neurons.",
            matrix=p.values,
            x_label="neuron",
            y_label="neuron",
        )
        for p in _spread(found, MOST_MATRICES)
    ]


def _is_similarity(values: np.ndarray) -> bool:
    square = values.ndim == 2 and values.shape[0] == values.shape[1] and 2 <= len(values) <= LARGEST_MATRIX
    return square and bool(np.allclose(np.diag(values), 1) and np.abs(values).max() <= 1 + 1e-9)


def _spectrum(values: np.ndarray, name: str, color: str) -> Curve:
    index = np.arange(len(values))
    if len(index) > MOST_POINTS:  # evenly over the logarithm: the fall at the head is what is looked at
        index = np.unique(np.round(np.geomspace(1, len(index), MOST_POINTS)).astype(int) - 1)
    # No eigen-solve resolves less than this part of the greatest value: what is below is rounding, and would stretch the axis.
    floor = len(values) * ROUNDING * np.nanmax(values, initial=0.0)
    shown = np.where(values[index] > floor, values[index], np.nan)
    return Curve(name, [int(i) + 1 for i in index], [float(v) for v in shown], color, points=len(index) <= 40)


def _spread(profiles: Sequence[Profile], most: int) -> Sequence[Profile]:
    """At most ``most`` of them, evenly from first to last."""
    if len(profiles) <= most:
        return profiles
    return [profiles[round(i)] for i in np.linspace(0, len(profiles) - 1, most)]


def _hex(count: int) -> list[str]:
    from matplotlib.colors import to_hex

    return [to_hex(color) for color in sequence(count)]
