"""Cost against size: times at several sizes, and the fitted exponent beside the one expected."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Curve:
    """How the cost of something grows.

    ``make(value)`` prepares the work of one size and returns the call to be timed, or ``(call, size)`` where the size is known only
    then (a number of regions). ``expected`` is the exponent for large sizes; small ones are dominated by fixed costs, so that the fitted
    exponent lies between 0 and it, and ``last`` (of the two largest sizes) is nearer to it.
    """

    name: str
    variable: str
    values: Sequence[int]
    expected: float
    make: Callable[[int], Any]
    clock: str = "cpu"


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Least-squares slope of log seconds over log size, and its standard error."""
    x, y = np.log(np.asarray(sizes, dtype=float)), np.log(np.asarray(seconds, dtype=float))
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    error = float(np.sqrt(rest @ rest / max(len(x) - 2, 1) / (x @ x)))
    return slope, error


def measure_curves(curves: Sequence[Curve], repeats: int, budget: float) -> list[dict[str, Any]]:
    """Times and exponents of all curves, from so many repeats a size within ``budget`` seconds, and one at least."""
    return [_measure(curve, repeats, budget) for curve in curves]


def _measure(curve: Curve, repeats: int, budget: float) -> dict[str, Any]:
    read = time.perf_counter if curve.clock == "wall" else time.process_time
    sizes, seconds = [], []
    for value in curve.values:
        made = curve.make(value)
        call, size = made if isinstance(made, tuple) else (made, value)
        call()  # compilation and caches
        taken: list[float] = []
        while not taken or (len(taken) < repeats and sum(taken) < budget):
            start, calls = read(), 0
            while read() - start < 0.01 or calls == 0:  # short calls are averaged over a hundredth of a second
                call()
                calls += 1
            taken.append((read() - start) / calls)
        sizes.append(size)
        seconds.append(statistics.median(taken))
    slope, error = exponent(sizes, seconds)
    last = float(np.log(seconds[-1] / seconds[-2]) / np.log(sizes[-1] / sizes[-2]))
    return {
        "name": curve.name,
        "variable": curve.variable,
        "values": sizes,
        "seconds": seconds,
        "exponent": slope,
        "standard_error": error,
        "last": last,
        "expected": curve.expected,
    }


def draw(rows: Sequence[dict[str, Any]], path: Any) -> None:
    """One panel per curve: measured times, the fit, and the expected slope through the largest size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(4, max(1, len(rows)))
    height = -(-len(rows) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.7 * height), layout="constrained")
    FigureCanvasAgg(figure)
    for k, row in enumerate(rows):
        axes = figure.add_subplot(height, columns, k + 1)
        x, y = np.array(row["values"], dtype=float), np.array(row["seconds"])
        axes.loglog(x, y, "o", color="#0072B2", markersize=4)
        axes.loglog(x, np.exp(np.log(y).mean()) * (x / np.exp(np.log(x).mean())) ** row["exponent"], "-", color="#0072B2", lw=1)
        axes.loglog(x, y[-1] * (x / x[-1]) ** row["expected"], "--", color="#999999", lw=1)
        axes.set_title(row["name"], fontsize=8)
        axes.set_xlabel(row["variable"], fontsize=8)
        axes.set_xticks(x, [f"{v:,.0f}" for v in x], fontsize=6, rotation=30)
        axes.minorticks_off()
        axes.tick_params(axis="y", labelsize=7)
        axes.text(
            0.04,
            0.93,
            f"fitted {row['exponent']:.2f} ± {row['standard_error']:.2f}",
            transform=axes.transAxes,
            fontsize=7,
            va="top",
            color="#0072B2",
        )
        axes.text(
            0.04, 0.84, f"expected {row['expected']:g} (dashed)", transform=axes.transAxes, fontsize=7, va="top", color="#666666"
        )
        if k % columns == 0:
            axes.set_ylabel("seconds", fontsize=8)
    figure.savefig(path, dpi=130)
