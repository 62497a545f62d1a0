"""The run that all function-fitting experiments share: a target on [−1, 1], full batch, ε-rank of every layer along the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from theodolite.core.errors import unknown
from theodolite.core.schedule import every
from theodolite.data import TARGETS
from theodolite.maths.quadrature import trapezoid
from theodolite.theory.rank.measure import epsilon_rank
from theodolite.train import SGD, Adam, Ensemble, MLPSpec

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["RATES", "fit"]

#: Learning rates of the experiments, by optimiser.
RATES = {"adam": 1e-3, "sgd": 0.05}


def fit(
    spec: MLPSpec,
    *,
    target: str = "three_cosines",
    samples: int = 256,
    seeds: int = 5,
    steps: int = 6000,
    look_every: int = 50,
    optimizer: str = "adam",
    eps: float = 1e-3,
) -> xr.Dataset:
    """Train ``seeds`` networks on a target on [−1, 1] and look at them every ``look_every`` steps.

    The mass matrix is that of the paper: the Lebesgue measure of [−1, 1], by the trapezoid rule on the training grid.

    Returns:
        ``rank`` and ``relative_rank`` over (seed, step, layer), layers numbered from 1; ``loss`` (mean squared) over (seed, step).
    """
    if target not in TARGETS:
        raise unknown("target", target, TARGETS)
    if optimizer not in RATES:
        raise unknown("optimizer", optimizer, RATES)
    x, w = trapezoid(-1.0, 1.0, samples)
    y = TARGETS[target](x)[:, None]

    def rank(features: torch.Tensor) -> Any:
        return epsilon_rank(features, w, eps=eps)

    def relative_rank(features: torch.Tensor) -> Any:
        return epsilon_rank(features, w, eps=eps, mode="relative")

    ensemble = Ensemble(spec, seeds, dtype=torch.float64)
    record = ensemble.train(
        x,
        y,
        steps=steps,
        loss="mse",
        optimizer=Adam() if optimizer == "adam" else SGD(),
        lr=RATES[optimizer],
        schedule=every(look_every),
        probes=[rank, relative_rank],
        curve=False,
        progress=True,
    )
    data = record.data[["rank", "relative_rank", "train_loss"]].rename(member="seed", look="step", train_loss="loss")
    data = data.assign_coords(layer=range(1, data.sizes["layer"] + 1))
    data["rank"].attrs = {"symbol": "r_ε", "description": f"eigenvalues of ∫ΦᵀΦ dx above {eps:g}"}
    data["relative_rank"].attrs = {"symbol": "r_ε", "description": f"eigenvalues of ∫ΦᵀΦ dx above {eps:g} λ_1"}
    data["loss"].attrs = {"description": "mean squared error on the training grid"}
    return data
