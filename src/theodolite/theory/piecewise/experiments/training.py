"""The partition of the plane while a network learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr

from theodolite.core.experiment import Experiment
from theodolite.core.schedule import log_spaced
from theodolite.core.seed import generator
from theodolite.theory.piecewise.domains import box
from theodolite.theory.piecewise.experiments.fitting import fit, two_spirals
from theodolite.theory.piecewise.experiments.networks import random_chain
from theodolite.theory.piecewise.measure import regions
from theodolite.theory.piecewise.predict import hanin_rolnick
from theodolite.theory.piecewise.regions import Regions

__all__ = ["RegionsDuringTraining"]


@dataclass(frozen=True)
class RegionsDuringTraining(Experiment):
    """All regions of a network on [−1, 1]² while it learns two spirals: their number, the partition, the decision boundary.

    Attributes:
        hidden: widths of the hidden layers.
        samples: training points.
        steps: steps of Adam on the full batch.
        learning_rate: of Adam.
        per_decade: looks per decade of steps.
        seed: of the network and the data.
    """

    hidden: tuple[int, ...] = (32, 32, 32)
    samples: int = 400
    steps: int = 3000
    learning_rate: float = 5e-3
    per_decade: int = 6
    seed: int = 0

    reference: ClassVar[str] = "hanin2019complexity"
    small: ClassVar[Mapping[str, Any]] = {"hidden": (16, 16), "samples": 200, "steps": 300, "per_decade": 3}

    def measure(self) -> xr.Dataset:
        """Train, and enumerate the regions at log-spaced steps."""
        x, y = two_spirals(self.samples, generator(self.seed, "spirals"))
        model = random_chain((2, *self.hidden, 1), self.seed)
        looks = log_spaced(self.per_decade).looks(self.steps)
        seen: list[tuple[float, Regions]] = []

        def look(step: int, loss: float) -> None:
            if step in looks:
                seen.append((loss, regions(model, box(-1, 1, dim=2))))

        fit(model, x, y, torch.nn.functional.mse_loss, steps=self.steps, learning_rate=self.learning_rate, look=look)
        found = [r for _, r in seen]
        expected = hanin_rolnick(sum(self.hidden), 2)
        return xr.Dataset(
            {
                "loss": ("step", [loss for loss, _ in seen], {"description": "mean squared error"}),
                "count": ("step", [r.count for r in found], {"description": "activation regions on the square"}),
                "pieces": ("step", [r.pieces for r in found], {"description": "distinct affine maps"}),
                "lipschitz": ("step", [r.lipschitz() for r in found], {"description": "exact Lipschitz constant, ℓ2"}),
                "vertex": (("step", "corner", "axis"), _padded([r.cells.points[:, :2] for r in found])),
                "region": (("step", "corner"), _padded([_owners(r)[:, None] for r in found])[..., 0]),
                "value": (("step", "cell"), _padded([_values(r)[:, None] for r in found])[..., 0]),
                "boundary": (("step", "piece", "end", "axis"), _padded([r.decision_boundary() for r in found])),
                "input": (("sample", "axis"), x.numpy()),
                "label": ("sample", y[:, 0].numpy()),
            },
            coords={"step": looks, "axis": ["x", "y"]},
            attrs={"expected": expected, "neurons": sum(self.hidden)},
        )


def _owners(found: Regions) -> np.ndarray:
    return np.repeat(np.arange(found.count, dtype=float), np.diff(found.cells.starts))


def _values(found: Regions) -> np.ndarray:
    """The network at each region's centre of mass, where it has its mean over the region."""
    weight, bias = found.affine
    return np.einsum("rod,rd->ro", weight, found.centroids)[:, 0] + bias[:, 0]


def _padded(arrays: list[np.ndarray]) -> np.ndarray:
    """Arrays of different length as one, filled up with NaN."""
    length = max(map(len, arrays))
    out = np.full((len(arrays), length, *arrays[0].shape[1:]), np.nan)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out
