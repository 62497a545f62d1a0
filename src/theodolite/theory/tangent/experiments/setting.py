"""What the width experiments share: data on a sphere, networks in NTK parameterisation, training, and fitted slopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from theodolite.core.experiment import Experiment
from theodolite.core.seed import generator
from theodolite.lens.kernel import tangent_kernel
from theodolite.train import NTK, Ensemble, MLPSpec

__all__ = ["Run", "TrainedWidths", "Widths", "fit_slope", "kernels", "networks", "slope_variables", "sphere", "train"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Widths(Experiment):
    """Networks of several widths on data on a sphere.

    Attributes:
        widths: hidden widths.
        seeds: independent networks per width.
        samples: training inputs N on the sphere of radius √d.
        dim: input dimension d.
        seed: seed of data and networks.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    seeds: int = 4
    samples: int = 20
    dim: int = 10
    seed: int = 0


@dataclass(frozen=True)
class TrainedWidths(Widths):
    """Such networks, trained.

    Attributes:
        steps: training steps of gradient descent.
    """

    steps: int = 400


def sphere(samples: int, dim: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``samples`` inputs uniform on the sphere of radius √dim in float64, and random labels ±1 ``(samples, 1)``."""
    draw = generator(seed, "sphere")
    x = torch.randn(samples, dim, dtype=torch.float64, generator=draw)
    y = torch.randint(0, 2, (samples, 1), generator=draw).to(torch.float64) * 2 - 1
    return x / x.norm(dim=1, keepdim=True) * dim**0.5, y


def networks(
    dim: int, width: int, activation: str, seeds: int | Sequence[int], *, hidden: int = 2, seed: int = 0, sigma_w: float = 1.0
) -> Ensemble:
    """An ensemble of d-m-…-m-1 networks without biases in NTK parameterisation, weights N(0, 1)."""
    spec = MLPSpec((dim, *[width] * hidden, 1), activation, bias=False, init=NTK(sigma_w, 0.0))
    return Ensemble(spec, seeds, dtype=torch.float64, seed=seed)


def kernels(ensemble: Ensemble, x: torch.Tensor) -> torch.Tensor:
    """Tangent kernels of the first output of all members, ``(E, N, N)``."""
    return torch.stack([tangent_kernel(ensemble.member(e), x, outputs=0) for e in range(len(ensemble))])


@dataclass(frozen=True)
class Run:
    """A training run of an ensemble by gradient descent on ½‖f − y‖².

    Attributes:
        loss: ½‖f − y‖² ``(E, T + 1)`` at every step.
        outputs: ``(E, looks, N)``.
        looks: steps at which outputs were recorded.
        rates: learning rate of each member, ``(E,)``, for the summed loss.
        initial: tangent kernels at the start, ``(E, N, N)``.
    """

    loss: Array
    outputs: torch.Tensor
    looks: list[int]
    rates: torch.Tensor
    initial: torch.Tensor


def train(
    ensemble: Ensemble, x: torch.Tensor, y: torch.Tensor, steps: int, looks: Sequence[int], fraction: float | torch.Tensor = 0.5
) -> Run:
    """Gradient descent with η = fraction / λ_max(K₀) of each member; the ensemble is trained in place."""
    initial = kernels(ensemble, x)
    rates = fraction / torch.linalg.eigvalsh(initial)[:, -1]
    steps_at = sorted({0, *looks, steps})
    record = ensemble.train(
        x,
        y,
        steps=steps,
        loss="half_mse",
        optimizer="gd",
        lr=rates * len(x),  # the engine's loss is averaged over samples, the theory's is summed
        schedule=steps_at,
        probes={"outputs": lambda view: view.outputs[..., 0]},
    )
    outputs = torch.from_numpy(record.data["outputs"].transpose("member", "look", ...).values)
    return Run(record.data["loss"].values * len(x), outputs, steps_at, rates, initial)


def fit_slope(widths: Sequence[int], values: Array) -> tuple[float, float, float]:
    """Slope of log(mean over seeds) against log(width) with a 95 % interval by bootstrap over seeds.

    Args:
        widths: ``(W,)``.
        values: ``(W, S)`` positive.

    Returns:
        (slope, low, high); NaN for fewer than two widths.
    """
    if len(set(widths)) < 2:  # a line needs two points
        return float("nan"), float("nan"), float("nan")
    logs = np.log(np.asarray(widths, dtype=np.float64))
    centred = logs - logs.mean()

    def slope(columns: Any) -> float:
        return float(centred @ np.log(values[:, columns].mean(1)) / (centred @ centred))

    seeds = values.shape[1]
    draw = np.random.default_rng(0)
    again = [slope(draw.integers(0, seeds, seeds)) for _ in range(400)]
    low, high = np.quantile(again, (0.025, 0.975))
    return slope(np.arange(seeds)), float(low), float(high)


def slope_variables(widths: Sequence[int], values: Array, dims: Sequence[str], name: str) -> dict[str, xr.Variable]:
    """Fitted slopes of ``values`` (*dims, width, seed) and their intervals, as variables of a dataset."""
    lead = values.shape[:-2]
    fits = np.array([fit_slope(widths, values[index]) for index in np.ndindex(*lead)]).reshape(*lead, 3)
    about = f"slope of log {name} against log width"
    return {
        f"{name}_slope": xr.Variable(dims, fits[..., 0], {"description": about}),
        f"{name}_slope_low": xr.Variable(dims, fits[..., 1], {"description": f"{about}, lower end of the 95 % interval"}),
        f"{name}_slope_high": xr.Variable(dims, fits[..., 2], {"description": f"{about}, upper end of the 95 % interval"}),
    }
