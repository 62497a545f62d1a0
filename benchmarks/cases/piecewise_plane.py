"""All linear regions of a ReLU network on a square, with their affine maps: one thread, widths up to 64."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from benchmarks.scaling import Curve
from torch import nn

TITLE = "linear regions of a 2-64-64-1 network on a square (sorted volumes)"
TOLERANCE = 1e-9
GOALS = {"vectorised numpy": 10.0}


def network(widths: tuple[int, ...], seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        modules: list[nn.Module] = []
        for i, o in itertools.pairwise(widths):
            linear = nn.Linear(i, o, dtype=torch.float64)
            linear.weight.data = torch.randn(o, i, dtype=torch.float64) * np.sqrt(2 / i)
            linear.bias.data = torch.randn(o, dtype=torch.float64) * 0.5
            modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def numpy_cutter(layers: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Areas and output maps of all regions: polygons of a layer are cut by one neuron at a time, all polygons at once."""
    square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    points, lengths = square, np.array([4])
    maps = np.concatenate([np.eye(2), np.zeros((2, 1))], axis=1)[None]  # (R, n, 3)
    for weight, bias in layers[:-1]:
        pre = np.matmul(weight, maps)
        pre[:, :, 2] += bias
        for j in range(len(bias)):
            points, lengths, parent = cut_all(points, lengths, pre[:, j])
            pre = pre[parent]
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        centres = np.add.reduceat(points, starts, axis=0) / lengths[:, None]
        active = (pre[:, :, 0] * centres[:, :1] + pre[:, :, 1] * centres[:, 1:] + pre[:, :, 2]) > 0
        maps = pre * active[:, :, None]
    weight, bias = layers[-1]
    out = np.matmul(weight, maps)
    out[:, :, 2] += bias
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    after = np.arange(1, len(points) + 1)
    after[starts + lengths - 1] = starts
    areas = np.add.reduceat(points[:, 0] * points[after, 1] - points[after, 0] * points[:, 1], starts) / 2
    return areas, out


def cut_all(points: np.ndarray, lengths: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every polygon cut by its own line: parts, their lengths, their parents."""
    count = len(lengths)
    owner = np.repeat(np.arange(count), lengths)
    h = (points * rows[owner, :2]).sum(axis=1) + rows[owner, 2]
    h[np.abs(h) < 1e-13] = 0.0
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    split = (np.maximum.reduceat(h, starts) > 0) & (np.minimum.reduceat(h, starts) < 0)
    if not split.any():
        return points, lengths, np.arange(count)
    after = np.arange(1, len(points) + 1)
    after[starts + lengths - 1] = starts
    crossing = h * h[after] < 0
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(crossing, h / (h - h[after]), 0.0)[:, None]
    between = points + t * (points[after] - points)
    both = np.stack([points, between], axis=1).reshape(-1, 2)  # vertex, crossing, vertex, crossing, …
    low = np.stack([(h <= 0) | ~split[owner], crossing & split[owner]], axis=1).reshape(-1)
    high = np.stack([(h >= 0) & split[owner], crossing & split[owner]], axis=1).reshape(-1)
    twice = np.repeat(owner, 2)
    new_lengths = np.concatenate([np.bincount(twice[low], minlength=count), np.bincount(twice[high], minlength=count)[split]])
    return np.concatenate([both[low], both[high]]), new_lengths, np.concatenate([np.arange(count), np.flatnonzero(split)])


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    import theodolite as td

    model = network((2, 32, 32, 1) if quick else (2, 64, 64, 1))
    layers = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in model if isinstance(m, nn.Linear)]

    def ours() -> np.ndarray:
        return np.sort(td.piecewise.regions(model, td.box(-1, 1, dim=2)).volumes)

    def certified() -> np.ndarray:
        return np.sort(td.piecewise.regions(model, td.box(-1, 1, dim=2), certify="filtered").volumes)

    return {"theodolite": ours, "theodolite, filtered": certified, "vectorised numpy": lambda: np.sort(numpy_cutter(layers)[0])}


def curves(quick: bool) -> list[Curve]:
    import theodolite as td

    def search(width: int) -> tuple[Callable[[], object], int]:
        model = network((2, width, width, 1))
        return (lambda: td.piecewise.regions(model, td.box(-1, 1, dim=2))), td.piecewise.regions(
            model, td.box(-1, 1, dim=2)
        ).count

    # of order w² regions, each of them tried by w lines and corrected by a few columns of w weights, beside a fixed cost per region
    return [Curve("regions of 2-w-w-1 on a square", "regions", (16, 32, 64) if quick else (32, 64, 128, 256), 1.5, search)]
