"""Phase diagram of tanh against a loop of plain quadrature and fixed-point iteration, per point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.machine import Work
from benchmarks.scaling import Curve

TITLE = "Mean field: q*, χ₁ and c* of tanh at 300 × 250 points (the loop: a sample of the points, its time scaled to all)"
TOLERANCE = 1e-6
GOALS = {"loop of plain quadrature": 100.0}
LIMITS = {"median_s": 1.5}  # around a second
SHARE: dict[str, float] = {}

_POINTS = (300, 250)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(0.05, 4.0, _POINTS[0]), np.linspace(0.001, 0.4, _POINTS[1])


def _sample(count: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(0)
    return list(zip(rng.integers(0, _POINTS[0], count).tolist(), rng.integers(0, _POINTS[1], count).tolist(), strict=True))


def contenders(quick: bool = False) -> dict[str, Callable[[], Any]]:
    """Both return (q*, χ₁, c*) at the sampled points."""
    from theodolite.theory.meanfield import phase_diagram

    w, b = _grid()
    sample = _sample(3 if quick else 10)
    SHARE["loop of plain quadrature"] = len(sample) / (_POINTS[0] * _POINTS[1])
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / weight.sum()

    def theodolite() -> np.ndarray:
        plane = phase_diagram("tanh", w, b)
        return np.array([[getattr(plane, n)[i, j] for n in ("q_star", "chi_1", "c_star")] for i, j in sample])

    def loop_over_sampled_points() -> np.ndarray:
        rows = []
        for i, j in sample:
            q = 1.0
            for _ in range(100_000):
                new = b[j] + w[i] * float(weight @ np.tanh(np.sqrt(q) * z) ** 2)
                if abs(new - q) < 1e-12 * q:
                    break
                q = new
            chi = w[i] * float(weight @ (1 - np.tanh(np.sqrt(q) * z) ** 2) ** 2)
            c = 0.5
            u = np.tanh(np.sqrt(q) * z)
            for _ in range(100_000):
                v = np.tanh(np.sqrt(q) * (c * z[:, None] + np.sqrt(max(0.0, 1 - c * c)) * z))
                new = (b[j] + w[i] * float(weight @ (u * (v @ weight)))) / q
                if abs(new - c) < 1e-11:
                    break
                c = new
            rows.append((q, chi, min(c, 1.0)))
        return np.array(rows)

    return {"theodolite": theodolite, "loop of plain quadrature": loop_over_sampled_points}


def floor(quick: bool) -> Work:
    """Writing the eight arrays of the result."""
    return Work(traffic=8 * 8.0 * _POINTS[0] * _POINTS[1])


def curves(quick: bool) -> list[Curve]:
    from theodolite.theory.meanfield import phase_diagram

    def plane(points: int) -> Callable[[], object]:
        side = round(points**0.5)
        return lambda: phase_diagram("tanh", np.linspace(0.05, 4.0, side), np.linspace(0.001, 0.4, side))

    return [Curve("phase diagram of tanh", "points", (400, 2500, 10_000) if quick else (2500, 10_000, 40_000, 160_000), 1, plane)]
