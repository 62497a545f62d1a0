"""All segments of a ReLU network on a line: the iterated tent map, 2^k pieces."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from benchmarks.scaling import Curve
from torch import nn

TITLE = "linear pieces of the 12-fold tent map (lengths)"
TOLERANCE = 1e-12


def tent(times: int) -> nn.Sequential:
    inner, outer = nn.Linear(1, 2, dtype=torch.float64), nn.Linear(2, 1, dtype=torch.float64)
    inner.weight.data, inner.bias.data = torch.tensor([[1.0], [1.0]]).double(), torch.tensor([0.0, -0.5]).double()
    outer.weight.data, outer.bias.data = torch.tensor([[2.0, -4.0]]).double(), torch.zeros(1).double()
    return nn.Sequential(*(inner, nn.ReLU(), outer) * times)


def literal(times: int) -> np.ndarray:
    """Segment by segment in rational arithmetic: the obvious loop."""
    pieces = [(Fraction(0), Fraction(1), Fraction(1), Fraction(0))]  # from, to, slope, constant
    half = Fraction(1, 2)
    for _ in range(times):
        fresh = []
        for low, high, slope, constant in pieces:
            cuts = [low, high]
            root = (half - constant) / slope
            if low < root < high:
                cuts = [low, root, high]
            for a, b in itertools.pairwise(cuts):
                left = slope * (a + b) / 2 + constant < half
                fresh.append((a, b, 2 * slope, 2 * constant) if left else (a, b, -2 * slope, 2 - 2 * constant))
        pieces = fresh
    return np.array([float(b - a) for a, b, _, _ in pieces])


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    import theodolite as td

    times = 8 if quick else 12
    model = tent(times)
    return {
        "theodolite": lambda: td.piecewise.regions(model, td.box(0, 1, dim=1)).volumes,
        "fractions, one segment at a time": lambda: literal(times),
    }


def curves(quick: bool) -> list[Curve]:
    import theodolite as td

    def search(times: int) -> tuple[Callable[[], object], int]:
        model = tent(times)
        return (lambda: td.piecewise.regions(model, td.box(0, 1, dim=1))), 2**times

    return [Curve("pieces of the iterated tent map", "pieces", (6, 8, 10) if quick else (8, 11, 14, 17), 1, search)]
