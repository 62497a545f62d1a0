"""The 1-d Helmholtz problem by 9 × 100 random features: assembling and solving, against a plain loop and against pyrfm."""

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.elsewhere import Elsewhere
from benchmarks.machine import Work
from benchmarks.scaling import Curve

from theodolite.core.seed import generator
from theodolite.theory.pde import RandomFeatures, helmholtz_1d, solve_rfm

TITLE = "random feature method, u″ − 10u = f on [0, 8], m = 9, J = 100, tanh, R = 1, 2700 points: solution on 1001 points"
TOLERANCE = 1e-5

CELLS, COUNT, POINTS, MASS = 9, 100, 2700, 10.0


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    count = 60 if quick else COUNT
    problem = helmholtz_1d(MASS)
    grid = torch.linspace(0, 8, 1001, dtype=torch.float64)[:, None]

    def theodolite() -> np.ndarray:
        features = RandomFeatures(problem.domain, subdomains=CELLS, count=count, generator=generator(0))
        return solve_rfm(problem, features, points=POINTS)(grid).numpy()

    def loop() -> np.ndarray:
        return _loop(count, problem, grid[:, 0].numpy())

    return {"theodolite": theodolite, "numpy, a dense loop and lstsq": loop, "pyrfm": _pyrfm(count, problem, grid)}


def _loop(count: int, problem, grid: np.ndarray) -> np.ndarray:
    """The method written down literally: one feature, one column, dense rows, numpy.linalg.lstsq."""
    rng = np.random.default_rng(0)
    edges = np.linspace(0, 8, CELLS + 1)
    k, b = rng.uniform(-1, 1, (CELLS, count)), rng.uniform(-1, 1, (CELLS, count))
    radius = (edges[1] - edges[0]) / 2
    per_cell = POINTS // CELLS

    def feature(i: int, j: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        s = k[i, j] / radius
        t = np.tanh(s * (x - edges[i] - radius) + b[i, j])
        return t, s * (1 - t**2), -2 * s**2 * t * (1 - t**2)

    rows = POINTS + 2 * (CELLS - 1) + 2
    matrix, rhs = np.zeros((rows, CELLS * count)), np.zeros(rows)
    for i in range(CELLS):
        x = np.linspace(edges[i], edges[i + 1], per_cell)
        place = slice(i * per_cell, (i + 1) * per_cell)
        rhs[place] = problem.rhs(torch.from_numpy(x)[:, None]).numpy()
        for j in range(count):
            value, _, curvature = feature(i, j, x)
            matrix[place, i * count + j] = curvature - MASS * value
            for side, face in ((1.0, i), (-1.0, i - 1)):
                if 0 <= face < CELLS - 1:
                    at = feature(i, j, edges[face + 1 : face + 2])
                    row = POINTS + 2 * face
                    matrix[row, i * count + j], matrix[row + 1, i * count + j] = side * at[0][0], side * at[1][0]
            if i == 0:
                matrix[-2, j] = feature(i, j, edges[:1])[0][0]
            if i == CELLS - 1:
                matrix[-1, i * count + j] = feature(i, j, edges[-1:])[0][0]
    rhs[-2:] = problem.boundary(torch.tensor([[0.0], [8.0]], dtype=torch.float64)).numpy()
    weights = 1 / np.abs(matrix).max(1)
    coefficients = np.linalg.lstsq(matrix * weights[:, None], rhs * weights, rcond=None)[0]
    cell = np.clip(np.searchsorted(edges, grid, side="right") - 1, 0, CELLS - 1)
    result = np.zeros_like(grid)
    for i in range(CELLS):
        for j in range(count):
            result[cell == i] += coefficients[i * count + j] * feature(i, j, grid[cell == i])[0]
    return result


def _pyrfm(count: int, problem, grid: torch.Tensor) -> Elsewhere:
    x = torch.linspace(0, 8, POINTS, dtype=torch.float64)[:, None]
    ends = torch.tensor([[0.0], [8.0]], dtype=torch.float64)
    arguments = {"count": count, "cells": CELLS, "mass": MASS, "x": x.numpy(), "ends": ends.numpy(), "grid": grid.numpy()}
    arguments |= {"rhs": problem.rhs(x).numpy()[:, None], "values": problem.boundary(ends).numpy()[:, None]}
    return Elsewhere("torch", "benchmarks.peers.random_features:helmholtz", arguments)


def floor(quick: bool) -> Work:
    """One factorisation of each cell's 300 × J block, and one tanh per point and feature of its cell."""
    count = 60 if quick else COUNT
    return Work(flops=2.0 * POINTS * count**2, elements={"tanh": float(POINTS * count)})


def curves(quick: bool) -> list[Curve]:
    problem = helmholtz_1d(MASS)

    def solve(cells: int) -> Callable[[], object]:
        features = RandomFeatures(problem.domain, subdomains=cells, count=50, generator=generator(0))
        return lambda: solve_rfm(problem, features, points=100 * cells)

    # one dense least-squares problem: rows and columns both grow with the cells
    return [Curve("random features, 50 and 100 points per cell", "cells", (4, 8, 16) if quick else (4, 8, 16, 32), 3, solve)]
