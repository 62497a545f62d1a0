"""Figures of a report, drawn from its rows and profiles alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.draw.style import COLORS, MUTED, figure, sequence, style

if TYPE_CHECKING:
    from theodolite.report.report import Report

__all__ = ["pictures"]


def pictures(report: Report) -> list[tuple[str, Any]]:
    """(caption, figure): spectra by layer, then each layer-wise quantity along the depth."""
    return [*_spectra(report), *_along_depth(report)]


def _spectra(report: Report) -> list[tuple[str, Any]]:
    """One panel per vector that falls along its index: a spectrum. Other vectors and matrices need their topic's own figures."""
    drawn = []
    for name in dict.fromkeys(p.quantity for p in report.profiles if p.layer is not None):
        profiles = [p for p in report.profiles if p.quantity == name and p.layer is not None]
        if not all(p.values.ndim == 1 and (np.diff(p.values) <= 0).all() for p in profiles):
            continue
        with style():
            made, axes = figure()
            for color, profile in zip(sequence(len(profiles)), profiles, strict=True):
                shown = np.where(profile.values > 0, profile.values, np.nan)
                axes.semilogy(np.arange(1, len(shown) + 1), shown, ".-", color=color, label=str(profile.layer), markersize=3)
            axes.set_xlabel("index")
            axes.set_ylabel(profiles[0].symbol)
            axes.set_title(name)
            if len(profiles) <= 10:
                axes.legend(title="layer")
        drawn.append((f"{name} of each layer. A steep fall means that few directions carry the layer.", made))
    return drawn


def _along_depth(report: Report) -> list[tuple[str, Any]]:
    """One small panel per quantity that was measured at two layers or more, measurement as points, theory as a line."""
    if len(report.layers) < 2:
        return []
    position = {name: i for i, name in enumerate(report.layers)}
    shown = []
    for name in dict.fromkeys(row.quantity for row in report.rows if row.layer is not None):
        rows = [
            r for r in report.rows if r.quantity == name and r.value is not None and np.isfinite(r.value) and r.layer in position
        ]
        if len(rows) >= 2:
            shown.append((name, rows))
    if not shown:
        return []
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    with style():
        made, axes = figure(lines, columns, width=3.1, height=2.3, squeeze=False)
        for axis, (name, rows) in zip(axes.flat, shown, strict=False):
            at = [position[str(r.layer)] for r in rows]
            theory = [(position[str(r.layer)], r.prediction) for r in rows if r.prediction is not None]
            if theory:
                axis.plot(*zip(*theory, strict=True), color=MUTED, linestyle="--", label="theory")
                axis.legend()
            axis.plot(at, [r.value for r in rows], "o-", color=COLORS[0])
            axis.set_title(name, fontsize=9)
            axis.set_xticks(range(len(report.layers)), [n if len(report.layers) <= 6 else "" for n in report.layers], fontsize=7)
            axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
        for axis in list(axes.flat)[len(shown) :]:
            axis.set_visible(False)
    return [("Layer-wise quantities along the depth: points are measured, dashed lines are the theory's values.", made)]
