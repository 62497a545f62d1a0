"""How the number of regions grows: with width and depth at random, and exponentially by construction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from theodolite.core.experiment import Experiment
from theodolite.draw.progress import progress
from theodolite.theory.piecewise.domains import box
from theodolite.theory.piecewise.experiments.networks import random_chain, tent
from theodolite.theory.piecewise.measure import regions
from theodolite.theory.piecewise.predict import hanin_rolnick, montufar2014_lower, one_dimensional_upper, serra2018_upper

__all__ = ["RegionGrowth", "TentMap"]


@dataclass(frozen=True)
class RegionGrowth(Experiment):
    """Numbers of regions of random networks by width and depth, against N^d / d! and the bounds of the maximum.

    Attributes:
        dims: input dimensions d.
        widths: of all hidden layers of a network.
        depths: numbers of hidden layers.
        radius: half the side of the cube; it must hold most kinks.
        bias_std: standard deviation of the biases.
        seeds: number of networks of each shape.
    """

    dims: tuple[int, ...] = (1, 2)
    widths: tuple[int, ...] = (8, 16, 24, 32, 48, 64)
    depths: tuple[int, ...] = (1, 2, 3, 4)
    radius: float = 50.0
    bias_std: float = 0.5
    seeds: int = 10

    reference: ClassVar[str] = "hanin2019activation"
    small: ClassVar[Mapping[str, Any]] = {"widths": (8, 16, 24), "depths": (1, 2, 3), "seeds": 4}

    def measure(self) -> xr.Dataset:
        """Count all of them."""
        shape = (len(self.dims), len(self.depths), len(self.widths), self.seeds)
        count, pieces = np.zeros(shape), np.zeros(shape)
        for index in progress(list(np.ndindex(shape)), "counting regions"):
            dim, depth, width = self.dims[index[0]], self.depths[index[1]], self.widths[index[2]]
            net = random_chain((dim, *[width] * depth, 1), index[3], bias_std=self.bias_std)
            found = regions(net, box(-self.radius, self.radius, dim=dim))
            count[index], pieces[index] = found.count, found.pieces
        grid = [(d, depth, w) for d in self.dims for depth in self.depths for w in self.widths]
        theory = np.reshape([hanin_rolnick(depth * w, d) for d, depth, w in grid], shape[:3])
        upper = np.reshape([float(serra2018_upper([w] * depth, d)) for d, depth, w in grid], shape[:3])
        lower = np.reshape([float(montufar2014_lower([w] * depth, d)) for d, depth, w in grid], shape[:3])
        axes = ("dim", "depth", "width")
        return xr.Dataset(
            {
                "count": ((*axes, "seed"), count, {"description": "activation regions on the cube"}),
                "pieces": ((*axes, "seed"), pieces, {"description": "distinct affine maps"}),
                "expected": (axes, theory, {"description": "N^d / d!, N the number of neurons"}),
                "upper": (axes, upper, {"description": "Serra 2018: no weights have more"}),
                "lower": (axes, lower, {"description": "Montúfar 2014: some weights have at least so many"}),
            },
            coords={
                "dim": list(self.dims),
                "depth": list(self.depths),
                "width": list(self.widths),
                "seed": np.arange(self.seeds),
            },
        )


@dataclass(frozen=True)
class TentMap(Experiment):
    """Pieces of the iterated tent map: 2^k from k layers of two neurons.

    Attributes:
        largest: largest number of iterations.
        drawn: iterates whose graphs are kept for the figure.
    """

    largest: int = 15
    drawn: tuple[int, ...] = (1, 2, 3, 5)

    reference: ClassVar[str] = "telgarsky2015"
    small: ClassVar[Mapping[str, Any]] = {"largest": 8}

    def measure(self) -> xr.Dataset:
        """Count the pieces of every iterate, and sample the graphs at their breakpoints."""
        times = np.arange(1, self.largest + 1)
        found = [regions(tent(int(k)), box(0, 1, dim=1)) for k in times]
        drawn = [k for k in self.drawn if k <= self.largest]
        points = max(2**k for k in drawn) + 1
        breakpoints, values = np.full((len(drawn), points), np.nan), np.full((len(drawn), points), np.nan)
        for row, k in enumerate(drawn):
            ends = np.append([v[0, 0] for v in found[k - 1].vertices], 1.0)
            order = np.argsort(ends)
            breakpoints[row, : len(ends)] = ends[order]
            values[row, : len(ends)] = found[k - 1](ends[order][:, None])[:, 0]
        return xr.Dataset(
            {
                "pieces": ("times", [f.pieces for f in found], {"description": "distinct affine maps"}),
                "count": ("times", [f.count for f in found], {"description": "activation regions"}),
                "upper": ("times", [float(one_dimensional_upper([2] * k)) for k in times], {"description": "∏ (n_l + 1)"}),
                "lipschitz": ("times", [f.lipschitz() for f in found], {"description": "largest slope"}),
                "breakpoint": (("drawn", "point"), breakpoints, {"description": "breakpoints of the graph"}),
                "value": (("drawn", "point"), values, {"description": "value at the breakpoint"}),
            },
            coords={"times": times, "drawn": drawn},
        )
