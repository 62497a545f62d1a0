"""Initial condensation: predicted, trained and counted directions, activation by activation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from theodolite.core.errors import ArgumentError
from theodolite.core.experiment import Experiment
from theodolite.draw.progress import progress
from theodolite.nets.activations import activation as find_activation
from theodolite.theory.condensation.experiments.stage import compare_stage, padded, sine_data

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Initial"]

#: Room for predicted directions in the record: kinked activations have many weak ones in higher dimension.
ROOM = 64


@dataclass(frozen=True)
class Initial(Experiment):
    """Initial condensation of small two-layer networks: where do the neurons point, and does the data predict it?

    Neuron-wise normalised gradient descent samples the direction field of the initial stage; the stage is gated by
    max |w·x| ≤ 0.3, not by an epoch. In one dimension the data are sin 3x + ½ sin 6x, else Σ_k 3.5 sin(5 x_k + 1).

    Attributes:
        activations: names of activations.
        dimensions: input dimensions.
        neurons: width.
        std: standard deviation of all initial parameters (one number for all dimensions).
        steps: steps of normalised descent.
        lr: rotation per step, in radians, of the first four fifths of the steps (a tenth of it afterwards).
        samples: training samples.
        data_seed: seed of the data in two or more dimensions.
        seed: seed of the initial parameters.
    """

    activations: tuple[str, ...] = ("tanh", "xtanh", "x2tanh", "sigmoid", "softplus", "relu", "gelu", "silu", "sin", "cos")
    dimensions: tuple[int, ...] = (1, 5)
    neurons: int = 400
    std: float = 0.002
    steps: int = 1500
    lr: float = 0.02
    samples: int = 80
    data_seed: int = 1
    seed: int = 0

    reference: ClassVar[str] = "zhou2022 Fig. 2"
    small: ClassVar[Mapping[str, Any]] = {
        "activations": ("tanh", "xtanh", "x2tanh", "relu"),
        "dimensions": (1,),
        "neurons": 100,
        "steps": 400,
        "samples": 40,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.dimensions, default=0) < 1:
            raise ArgumentError(f"dimensions must be at least 1, got {self.dimensions!r}")
        if not (self.std > 0 and self.lr > 0 and self.steps >= 2 and self.neurons >= 2 and self.samples >= 2):
            raise ArgumentError("std and lr must be positive; steps, neurons and samples at least 2")
        for name in self.activations:
            find_activation(name)

    def measure(self) -> xr.Dataset:
        """Predict, train and count for every activation and dimension."""
        import xarray as xr

        cells = [(d, a) for d in self.dimensions for a in self.activations]
        results = {}
        for dimension, name in progress(cells, "initial condensation"):
            x, y = sine_data(dimension, self.samples, self.data_seed)
            results[dimension, name] = compare_stage(
                x, y, name, neurons=self.neurons, std=self.std, steps=self.steps, lr=self.lr, seed=self.seed
            )
        shape = (len(self.dimensions), len(self.activations))
        plane = ("dimension", "activation")

        def table(field: Any) -> Any:
            return np.array([field(results[cell]) for cell in cells]).reshape(shape)

        kinds = {
            "predicted": (lambda r: r.predicted.count, "growing orientations of the direction field"),
            "predicted_resolved": (lambda r: r.resolved, "the same, counted with the bandwidth of the trained ones"),
            "predicted_lines": (lambda r: r.predicted.lines, "lines that they span"),
            "multiplicity": (lambda r: r.predicted.p or 0, "p; 0 at a kink"),
            "trained": (lambda r: r.trained.directions, "orientations of the trained neurons"),
            "trained_lines": (lambda r: r.trained.lines, "lines that they span"),
            "coverage": (lambda r: r.trained.coverage, "share of the amplitude within two bandwidths"),
            "concentration": (lambda r: r.trained.concentration, "mean cosine to the nearest direction"),
            "stable": (lambda r: r.trained.stable, "same count for half, 1½ and twice the bandwidth"),
            "worst_cosine": (lambda r: r.worst_cosine, "least cosine of a trained direction to its nearest prediction"),
            "largest_preactivation": (lambda r: r.largest, "max |w·x| at the end; the stage ends at 0.3"),
            "explained": (lambda r: r.explained, "share of the neurons that see data which stand at a growing prediction"),
            "populated": (lambda r: r.populated, "growing predictions at which some neuron stands"),
            "loss_drop": (lambda r: r.loss_drop, "share of the loss gained"),
        }
        variables: dict[str, Any] = {
            name: (plane, table(field), {"description": about}) for name, (field, about) in kinds.items()
        }
        variables.update(self._directions(results, cells, shape))
        return xr.Dataset(variables, {"dimension": list(self.dimensions), "activation": list(self.activations)})

    def _directions(self, results: Any, cells: Any, shape: tuple[int, int]) -> dict[str, Any]:
        """Predicted and trained directions, padded with NaN; angles for one-dimensional inputs."""
        widest = max(self.dimensions) + 1
        predicted = np.full((len(cells), ROOM, widest), np.nan)
        trained = np.full((len(cells), ROOM, widest), np.nan)
        for k, cell in enumerate(cells):
            found, seen = results[cell].predicted, results[cell].trained.vectors
            predicted[k, : len(found), : found.vectors.shape[1]] = found.vectors[:ROOM]
            trained[k, : len(seen), : seen.shape[1]] = seen[:ROOM]
        dims = ("dimension", "activation", "direction")
        lists = {
            "predicted_strength": [results[c].predicted.strength for c in cells],
            "predicted_sign": [results[c].predicted.sign for c in cells],
            "predicted_growing": [results[c].predicted.growing for c in cells],
            "predicted_basin": [results[c].predicted.basin for c in cells],
            "trained_mass": [results[c].trained.mass for c in cells],
        }
        out: dict[str, Any] = {name: (dims, padded(rows, ROOM).reshape(*shape, ROOM)) for name, rows in lists.items()}
        out["predicted_vector"] = ((*dims, "component"), predicted.reshape(*shape, ROOM, widest))
        out["trained_vector"] = ((*dims, "component"), trained.reshape(*shape, ROOM, widest))
        return out
