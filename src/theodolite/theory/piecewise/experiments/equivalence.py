"""The three-layer network against the deep one: equality, where a literal reading fails, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from torch import nn

from theodolite.core.experiment import Experiment
from theodolite.core.seed import generator
from theodolite.draw.progress import progress
from theodolite.theory.piecewise.construct import to_shallow
from theodolite.theory.piecewise.domains import box
from theodolite.theory.piecewise.experiments.networks import random_chain
from theodolite.theory.piecewise.measure import regions
from theodolite.theory.piecewise.regions import Regions
from theodolite.theory.piecewise.shallow import Shallow

__all__ = ["BlowUp", "BoundaryPitfalls", "ShallowEquivalence"]

MODES = ("exact", "paper", "finite")


def magnitude(model: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Inputs propagated through the absolute weights: the size that rounding errors are measured by, (N, outputs)."""
    y = x.abs()
    for module in model:
        if isinstance(module, nn.Linear):
            y = y @ module.weight.detach().abs().T + module.bias.detach().abs()
    return y


def places(found: Regions, seed: int, points: int, grid: int) -> dict[str, torch.Tensor]:
    """Where networks are compared: random points, points on facets, vertices, and a dyadic grid."""
    source = generator(seed, "piecewise", "places")
    uniform = torch.rand(points, 2, dtype=torch.float64, generator=source) * 2 - 1
    facets = []
    for vertices in found.vertices:
        v = torch.from_numpy(vertices)
        t = torch.rand(len(v), 1, dtype=torch.float64, generator=source)
        facets.append(v + t * (v.roll(-1, 0) - v))
    side = torch.linspace(-1, 1, grid, dtype=torch.float64)
    corners = torch.from_numpy(np.concatenate(found.vertices))
    return {"points": uniform, "facets": torch.cat(facets), "vertices": corners, "grid": torch.cartesian_prod(side, side)}


def errors(model: nn.Sequential, shallow: Shallow, x: torch.Tensor) -> torch.Tensor:
    """|shallow − deep| in ulps of the propagated magnitude, (N,)."""
    with torch.no_grad():
        gap = (shallow(x) - model(x)).abs() / (magnitude(model, x) * 2.0**-52)
    return gap.amax(dim=1)


@dataclass(frozen=True)
class ShallowEquivalence(Experiment):
    """Random deep networks and their three-layer forms on [−1, 1]²: a proof over ℚ, and the rounding in float64.

    Attributes:
        hidden: widths of the hidden layers.
        recipes: ``gaussian`` and ``dyadic`` networks (see `random_chain`).
        seeds: number of networks of each recipe.
        points: random points of comparison.
        grid: side of the grid of dyadic points.
    """

    hidden: tuple[int, ...] = (16, 16)
    recipes: tuple[str, ...] = ("gaussian", "dyadic")
    seeds: int = 5
    points: int = 10_000
    grid: int = 33

    reference: ClassVar[str] = "villani2023"
    small: ClassVar[Mapping[str, Any]] = {"hidden": (8, 8), "seeds": 2, "points": 1000}

    def measure(self) -> xr.Dataset:
        """Certify all partitions, then compare in float64."""
        shape = (len(self.recipes), self.seeds)
        where = ("points", "facets", "vertices", "grid")
        worst = np.zeros((*shape, len(MODES), len(where)))
        proved, count, vertices = np.zeros(shape, bool), np.zeros(shape, int), np.zeros(shape, int)
        for index in progress(list(np.ndindex(shape)), "proving equality"):
            model = random_chain((2, *self.hidden, 1), index[1], recipe=self.recipes[index[0]])
            found = regions(model, box(-1, 1, dim=2), certify="filtered")
            tested = places(found, index[1], self.points, self.grid)
            for m, mode in enumerate(MODES):
                shallow = to_shallow(found, mode=mode, certify="filtered" if mode == "exact" else "none")  # type: ignore[arg-type]
                if shallow.certificate is not None:
                    proved[index], count[index] = bool(shallow.certificate), shallow.certificate.regions
                    vertices[index] = shallow.certificate.vertices
                for w, place in enumerate(where):
                    worst[(*index, m, w)] = float(errors(model, shallow, tested[place]).max())
        return xr.Dataset(
            {
                "proved": (("recipe", "seed"), proved, {"description": "equality on the whole square proved over ℚ"}),
                "count": (("recipe", "seed"), count, {"description": "activation regions"}),
                "vertices": (("recipe", "seed"), vertices, {"description": "vertices at which both networks agree exactly"}),
                "worst": (
                    ("recipe", "seed", "mode", "where"),
                    worst,
                    {"description": "largest |shallow − deep|", "units": "ulps of the propagated magnitude"},
                ),
            },
            coords={"recipe": list(self.recipes), "seed": np.arange(self.seeds), "mode": list(MODES), "where": list(where)},
            attrs={"layers": len(self.hidden) + 1},
        )


@dataclass(frozen=True)
class BoundaryPitfalls(Experiment):
    """Why the literal reading double-counts facets: closed half-spaces on a grid of dyadic points.

    Attributes:
        hidden: widths of the hidden layers.
        seeds: number of dyadic networks.
        grid: side of the grid.
    """

    hidden: tuple[int, ...] = (8, 8)
    seeds: int = 4
    grid: int = 33

    reference: ClassVar[str] = "villani2023"
    small: ClassVar[Mapping[str, Any]] = {"seeds": 2}

    def measure(self) -> xr.Dataset:
        """Matching regions and errors at every grid point, mode by mode; and the share of NaN in plain IEEE arithmetic."""
        side = torch.linspace(-1, 1, self.grid, dtype=torch.float64)
        x = torch.stack(torch.meshgrid(side, side, indexing="ij"), dim=-1).reshape(-1, 2)
        shape = (self.seeds, len(MODES), self.grid, self.grid)
        matches, error, broken = np.zeros(shape, int), np.zeros(shape), np.zeros(self.seeds)
        edges = []
        for seed in range(self.seeds):
            model = random_chain((2, *self.hidden, 1), seed, recipe="dyadic")
            found = regions(model, box(-1, 1, dim=2), certify="filtered")
            edges.append(np.concatenate([np.stack([v, np.roll(v, -1, axis=0)], axis=1) for v in found.vertices]))
            for m, mode in enumerate(MODES):
                shallow = to_shallow(found, mode=mode)  # type: ignore[arg-type]
                matches[seed, m] = shallow.matches(x).reshape(self.grid, self.grid).numpy()
                error[seed, m] = (shallow(x) - model(x)).detach().abs()[:, 0].reshape(self.grid, self.grid).numpy()
                if mode == "paper":
                    broken[seed] = _ieee_nan_share(shallow, x)
        length = max(map(len, edges))
        drawn = np.full((self.seeds, length, 2, 2), np.nan)
        for row, found_edges in zip(drawn, edges, strict=True):
            row[: len(found_edges)] = found_edges
        axes = ("seed", "mode", "x", "y")
        return xr.Dataset(
            {
                "matches": (axes, matches, {"description": "regions whose half-spaces are all satisfied"}),
                "error": (axes, error, {"description": "|shallow − deep|"}),
                "ieee_nan": ("seed", broken, {"description": "share of points at which 0 · ∞ makes the literal product NaN"}),
                "edge": (("seed", "piece", "end", "axis"), drawn, {"description": "edges of the regions"}),
            },
            coords={"seed": np.arange(self.seeds), "mode": list(MODES), "x": side.numpy(), "y": side.numpy(), "axis": ["x", "y"]},
        )


def _ieee_nan_share(paper: Shallow, x: torch.Tensor) -> float:
    selector = torch.zeros(paper.facets.count, paper.half_spaces.out_features, dtype=torch.float64)
    selector[paper.selector.rows, paper.selector.columns] = -torch.inf
    with torch.no_grad():
        product = torch.relu(paper.half_spaces(x)) @ selector.T
    return float(product.isnan().any(dim=1).double().mean())


@dataclass(frozen=True)
class BlowUp(Experiment):
    """What the three-layer form costs: its size against that of the deep network.

    Attributes:
        widths: of both hidden layers of the deep network.
        seeds: number of networks of each width.
    """

    widths: tuple[int, ...] = (4, 8, 16, 32, 64)
    seeds: int = 3

    reference: ClassVar[str] = "villani2023"
    small: ClassVar[Mapping[str, Any]] = {"widths": (4, 8, 16), "seeds": 2}

    def measure(self) -> xr.Dataset:
        """Regions, half-spaces, selector entries and parameters."""
        shape = (len(self.widths), self.seeds)
        numbers = {name: np.zeros(shape) for name in ("count", "half_spaces", "entries", "dense", "deep")}
        for index in progress(list(np.ndindex(shape)), "rewriting networks"):
            width = self.widths[index[0]]
            model = random_chain((2, width, width, 1), index[1])
            shallow = to_shallow(model, box(-1, 1, dim=2), mode="finite")
            numbers["count"][index] = shallow.facets.count
            numbers["half_spaces"][index] = shallow.half_spaces.out_features
            numbers["entries"][index] = shallow.entries
            numbers["dense"][index] = shallow.parameters_dense
            numbers["deep"][index] = sum(p.numel() for p in model.parameters())
        about = {
            "count": "activation regions",
            "half_spaces": "distinct hyperplanes, rows of H",
            "entries": "non-zero entries of the selector",
            "dense": "parameters of the three layers, stored densely",
            "deep": "parameters of the deep network",
        }
        data = {name: (("width", "seed"), values, {"description": about[name]}) for name, values in numbers.items()}
        return xr.Dataset(data, coords={"width": list(self.widths), "seed": np.arange(self.seeds)})
