"""Two-layer training from several initial sizes side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.core.errors import ArgumentError
from theodolite.core.experiment import Experiment
from theodolite.theory.condensation.experiments.two_layer import TwoLayerTraining

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Regimes"]


@dataclass(frozen=True)
class Regimes(Experiment):
    """Two-layer training from several sizes m^−t side by side: linear, critical and condensed.

    Attributes:
        t: exponents of the initialisation (standard deviation m^−t, γ = 2t).
        lr: one learning rate per t. Beyond 2/λ_max training catapults and moves farther than the regime tells: large
            initialisations need small rates.
        width: m.
        activation: name of the activation.
        optimizer: as in `TwoLayerTraining`.
        epochs: steps.
        seeds: one network per seed and t.
        test_size: test points.
    """

    t: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
    lr: tuple[float, ...] = (0.005, 0.05, 0.05, 0.05, 0.05, 0.05)
    width: int = 1000
    activation: str = "relu"
    optimizer: str = "sgd"
    epochs: int = 10_000
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    test_size: int = 10_000

    reference: ClassVar[str] = "luo2021 Fig. 1"
    small: ClassVar[Mapping[str, Any]] = {
        "t": (0.25, 0.5, 1.0),
        "lr": (0.005, 0.05, 0.05),
        "width": 100,
        "epochs": 2000,
        "seeds": (0,),
        "test_size": 200,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.lr) != len(self.t) or not len(self.t):
            raise ArgumentError(f"lr must hold one learning rate per t, got {len(self.lr)} for {len(self.t)}")

    def measure(self) -> xr.Dataset:
        """Train all sizes and stack them along ``t``."""
        import xarray as xr

        runs = [
            TwoLayerTraining(
                t=t,
                lr=lr,
                width=self.width,
                activation=self.activation,
                optimizer=self.optimizer,
                epochs=self.epochs,
                seeds=self.seeds,
                test_size=self.test_size,
            )
            for t, lr in zip(self.t, self.lr, strict=True)
        ]
        parts = [
            part.assign(gamma=part.attrs["gamma"], regime=part.attrs["regime"], lr=run.lr)
            for run, part in zip(runs, TwoLayerTraining.measure_many(runs), strict=True)
        ]
        return xr.concat(parts, xr.DataArray(list(self.t), dims="t", name="t"), data_vars="all", combine_attrs="drop")
