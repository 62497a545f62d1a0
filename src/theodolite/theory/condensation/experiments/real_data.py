"""Condensation of a small-initialisation classifier on handwritten digits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from theodolite.core.errors import ArgumentError
from theodolite.core.experiment import Experiment
from theodolite.core.schedule import log_spaced
from theodolite.data.digits import digits
from theodolite.nets.activations import activation as find_activation
from theodolite.theory.condensation.measure.count import count_directions
from theodolite.theory.condensation.measure.neurons import cosine_similarity_matrix, orientation_entropy, similarity_order

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["RealData"]


@dataclass(frozen=True)
class RealData(Experiment):
    """First-layer condensation of a two-layer classifier of digits, by size of the initialisation.

    For p = 1 and several outputs the neurons' first movement is w_k′ ∝ Σ_j a_kj Σ_i (y_ij − 1/10)(x_i, 1): rows of the cross moment
    C = (1/n) Σ_i (y_i − 1/10)(x_i, 1)ᵀ. Growth is fastest along its leading right singular vector, the predicted line; the next
    one lags by a factor ε^(s₂/s₁ − 1) only when the stage ends, ε being the initial size. With ten balanced classes s₂/s₁ ≈ 0.88, so
    one line is seen from very small initialisations alone.

    Attributes:
        activation: name of the activation.
        neurons: width.
        stds: standard deviations of the initialisations compared: from smallest to ordinary.
        epochs: steps of gradient descent.
        lr: learning rates, one per initialisation.
        train: training images of the 1797.
        seed: of data split and parameters.
        loss_shares: the heat map is taken where the loss has first fallen to each of these shares of its start.
    """

    activation: str = "tanh"
    neurons: int = 60
    stds: tuple[float, ...] = (1e-10, 1e-3, 0.2)
    epochs: int = 4000
    lr: tuple[float, ...] = (0.5, 0.5, 0.5)
    train: int = 1000
    seed: int = 0
    loss_shares: tuple[float, ...] = (0.99, 0.7, 0.2)

    reference: ClassVar[str] = "zhou2022 Fig. 1"
    small: ClassVar[Mapping[str, Any]] = {"neurons": 30, "epochs": 400, "train": 200}

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.lr) != len(self.stds) or not len(self.stds):
            raise ArgumentError(f"lr must hold one learning rate per initialisation, got {len(self.lr)} for {len(self.stds)}")
        if self.neurons < 2 or self.epochs < 1:
            raise ArgumentError("neurons must be at least 2 and epochs at least 1")
        find_activation(self.activation)

    def measure(self) -> xr.Dataset:
        """Train from every initialisation and look at their first layer."""
        import xarray as xr

        split = digits(self.train, self.seed, dtype=torch.float64)
        one_hot = torch.nn.functional.one_hot(split.y, 10).double() - 0.1
        inputs = torch.cat([split.x, torch.ones(len(split.x), 1, dtype=torch.float64)], 1)
        _, singular, right = torch.linalg.svd(one_hot.mT @ inputs / len(inputs), full_matrices=False)
        parts = [self._one(std, lr, split, right[0]) for std, lr in zip(self.stds, self.lr, strict=True)]
        data = xr.concat(parts, xr.DataArray(list(self.stds), dims="std", name="std"), data_vars="all")
        return data.assign(
            cross_moment_singular_values=("mode", singular.numpy(), {"description": "of C; the leading one sets the line"})
        )

    def _one(self, std: float, lr: float, split: Any, line: Tensor) -> xr.Dataset:
        """One initialisation: curves over epochs, and cosine matrices at the chosen losses."""
        import xarray as xr

        from theodolite.train import Ensemble, Gaussian, MLPSpec

        spec = MLPSpec((split.x.shape[1], self.neurons, 10), self.activation, bias="hidden", init=Gaussian(std=std))
        ensemble = Ensemble(spec, 1, seed=self.seed)
        run = ensemble.train(
            split.x,
            split.y,
            steps=self.epochs,
            loss="cross_entropy",
            optimizer="gd",
            lr=lr,
            curve=False,
            schedule=log_spaced(25),
            test=(split.x_test, split.y_test),
            probes={"weights": lambda view: view.show("weights", 0), "amplitudes": lambda view: view.show("amplitudes", 0)},
        ).data
        loss = run["train_loss"].values[0]
        weights, amplitudes = torch.from_numpy(run["weights"].values[0]), torch.from_numpy(run["amplitudes"].values[0])
        counts = [count_directions(w, a) for w, a in zip(weights, amplitudes, strict=True)]
        to_line = (weights / weights.norm(dim=-1, keepdim=True) @ line).abs()
        share = amplitudes / amplitudes.sum(-1, keepdim=True)
        at = [int(np.argmax(loss <= s * loss[0])) if (loss <= s * loss[0]).any() else len(loss) - 1 for s in self.loss_shares]
        maps = []
        for k in at:
            cosine = cosine_similarity_matrix(weights[k])
            order = similarity_order(cosine)
            maps.append(cosine[order][:, order].numpy())
        along = ("look",)
        return xr.Dataset(
            {
                "loss": (along, loss, {"description": "cross-entropy on the training images"}),
                "test_loss": (along, run["test_loss"].values[0], {"description": "cross-entropy on the other images"}),
                "directions": (along, [c.directions for c in counts]),
                "lines": (along, [c.lines for c in counts]),
                "coverage": (along, [c.coverage for c in counts]),
                "concentration": (along, [c.concentration for c in counts]),
                "orientation_entropy": (along, orientation_entropy(weights, amplitudes).numpy()),
                "cosine_to_line": (along, (share * to_line).sum(-1).numpy(), {"description": "mean |cos| to the predicted line"}),
                "cosine_similarity": (("map", "row", "column"), np.stack(maps), {"description": "ordered by its eigenvector"}),
                "map_epoch": ("map", run["look"].values[at]),
            },
            {"look": run["look"].values, "map": list(self.loss_shares)},
        )
