"""How many directions appear at initial condensation, and is it twice the multiplicity?"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from theodolite.core.errors import TheodoliteWarning
from theodolite.core.experiment import Experiment
from theodolite.draw.progress import progress
from theodolite.nets.activations import activation as find_activation
from theodolite.theory.condensation.experiments.stage import StageResult, compare_stage, sine_data
from theodolite.theory.condensation.experiments.two_layer import TwoLayerTraining, gradient_scale
from theodolite.theory.condensation.predict.directions import predict_directions

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["MultiplicityTask"]

#: p → an activation of that multiplicity.
OF_MULTIPLICITY = {1: "tanh", 2: "xtanh", 3: "x2tanh"}


@dataclass(frozen=True)
class MultiplicityTask(Experiment):
    """The relation between the number of condensed directions and the multiplicity p.

    Predicted and trained numbers beside 2p, for several p, input dimensions and data sets, with the status of the bound:
    a theorem for p = 1 and for one-dimensional inputs, a consequence of the spectral theorem for p = 2; for p ≥ 3 in two or more
    dimensions it is false in general: x_i = 6 e_i, i = 1…5, y_i = ½ has ten attracting orientations at p = 3. It is an upper
    bound where it holds: data may give fewer. The notebook's own cell (four points, m = 1000, t = 2, Adam of rate 1e-6) cannot
    show the relation: gradients lie far below Adam's eps, and for p = 2 its second moment Σ y x xᵀ is isotropic.

    Attributes:
        multiplicities: p.
        dimensions: input dimensions.
        data_seeds: seeds of the data in two or more dimensions.
        neurons: width.
        std: standard deviation of all initial parameters.
        steps: steps of normalised descent.
        lr: rotation per step, in radians.
        samples: training samples.
        cell_epochs: epochs of the notebook's cell (0: leave it out).
        cell_width: its width.
    """

    multiplicities: tuple[int, ...] = (1, 2, 3)
    dimensions: tuple[int, ...] = (1, 2, 5)
    data_seeds: tuple[int, ...] = (1, 2, 3)
    neurons: int = 400
    std: float = 0.002
    steps: int = 1500
    lr: float = 0.02
    samples: int = 80
    cell_epochs: int = 500
    cell_width: int = 1000

    reference: ClassVar[str] = "zhou2022"
    small: ClassVar[Mapping[str, Any]] = {
        "dimensions": (1, 5),
        "data_seeds": (1,),
        "neurons": 100,
        "steps": 400,
        "samples": 40,
        "cell_epochs": 50,
        "cell_width": 200,
    }

    def measure(self) -> xr.Dataset:
        """Predict and train every case, the counterexample, and the notebook's cell."""
        import xarray as xr

        cases = [
            (p, d, s, *sine_data(d, self.samples, s))
            for d in self.dimensions
            for s in (self.data_seeds if d > 1 else self.data_seeds[:1])
            for p in self.multiplicities
        ]
        cases.append((3, 5, -1, 6 * np.eye(5), np.full(5, 0.5)))
        rows = []
        for p, d, s, x, y in progress(cases, "multiplicity task"):
            found = compare_stage(
                x, y, OF_MULTIPLICITY[p], neurons=self.neurons, std=self.std, steps=self.steps, lr=self.lr, seed=0
            )
            rows.append(_row(p, d, s, found))
        columns = {name: ("case", np.array([row[name] for row in rows]), {"description": about}) for name, about in ABOUT.items()}
        data = xr.Dataset(columns, {"case": np.arange(len(rows))})
        return data.merge(self._cell()).assign_attrs(cell_eps=1e-8) if self.cell_epochs else data

    def _cell(self) -> xr.Dataset:
        """The notebook's own cell: initial gradients beside eps, movement, and what theory predicts for its data."""
        import xarray as xr

        columns: dict[str, list[Any]] = {name: [] for name in CELL}
        for p in sorted(OF_MULTIPLICITY):
            name = OF_MULTIPLICITY[p]
            run = TwoLayerTraining(
                t=2.0,
                width=self.cell_width,
                activation=name,
                optimizer="adam",
                lr=1e-6,
                epochs=self.cell_epochs,
                test_size=100,
            )
            ensemble, x, y = run.prepare()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TheodoliteWarning)  # the record itself states what they warn of
                predicted = predict_directions(x, y, find_activation(name))
                data = run.measure()
            columns["cell_gradient"].append(gradient_scale(ensemble, name, x, y)[0])
            columns["cell_movement"].append(float(data["relative_distance"].isel(epoch=-1)[0]))
            columns["cell_predicted"].append(predicted.count)
        return xr.Dataset(
            {name: ("cell_p", columns[name], {"description": about}) for name, about in CELL.items()},
            {"cell_p": sorted(OF_MULTIPLICITY)},
        )


ABOUT = {
    "p": "multiplicity",
    "dimension": "input dimension",
    "data_seed": "seed of the data; −1: the counterexample",
    "bound": "2p",
    "status": "of the bound 2p for this p and dimension",
    "predicted": "growing orientations of the direction field",
    "predicted_lines": "lines that they span",
    "trained": "orientations of the trained neurons",
    "trained_lines": "lines that they span",
    "coverage": "share of the amplitude within two bandwidths of a direction",
    "concentration": "mean cosine to the nearest direction",
    "worst_cosine": "least cosine of a trained direction to its nearest prediction",
    "least_basin": "least share of the sphere that flows to a growing orientation",
    "largest_preactivation": "max |w·x| at the end; the initial stage ends at 0.3",
}

CELL = {
    "cell_gradient": "median |∂ loss/∂ parameter| at the start of the notebook's cell",
    "cell_movement": "relative distance of the hidden weights at its end",
    "cell_predicted": "growing orientations that theory predicts for its data",
}


def bound_status(p: int, dimension: int) -> str:
    """What is known of the bound 2p on attracting orientations."""
    if p == 1 or dimension == 1:
        return "theorem"
    return "spectral theorem" if p == 2 else "false in general"


def _row(p: int, dimension: int, seed: int, found: StageResult) -> dict[str, Any]:
    growing = found.predicted.basin[found.predicted.growing]
    return {
        "p": p,
        "dimension": dimension,
        "data_seed": seed,
        "bound": 2 * p,
        "status": bound_status(p, dimension),
        "predicted": found.predicted.count,
        "predicted_lines": found.predicted.lines,
        "trained": found.trained.directions,
        "trained_lines": found.trained.lines,
        "coverage": found.trained.coverage,
        "concentration": found.trained.concentration,
        "worst_cosine": found.worst_cosine,
        "least_basin": float(growing.min()) if len(growing) else float("nan"),
        "largest_preactivation": found.largest,
    }
