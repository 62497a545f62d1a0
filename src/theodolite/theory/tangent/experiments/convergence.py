"""How fast gradient descent converges and what decides it: smallest eigenvalue, PL ratio, condition number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr

from theodolite.core.seed import generator
from theodolite.draw.progress import progress
from theodolite.theory.tangent.experiments.setting import TrainedWidths, Widths, fit_slope, kernels, networks, sphere, train
from theodolite.theory.tangent.infinite import infinite_kernels
from theodolite.theory.tangent.measure import condition_number, hessian_norm, pl_ratio
from theodolite.theory.tangent.predict import training_dynamics

__all__ = ["ConditionNumberVsWidth", "ExponentialConvergence", "PlCondition"]


@dataclass(frozen=True)
class ExponentialConvergence(TrainedWidths):
    """The loss falls exponentially, as the linearised closed form says, and never slower than (1 − η λ_min)^t along the path.

    Attributes:
        activations: hidden activations, by name.
        looks: number of times at which the kernel is taken.
    """

    reference: ClassVar[str] = "lee2019"
    small: ClassVar[Mapping[str, Any]] = {"widths": (64, 128), "seeds": 2, "steps": 120}

    widths: tuple[int, ...] = (256, 1024)
    seeds: int = 3
    activations: tuple[str, ...] = ("relu", "tanh")
    looks: int = 12

    def measure(self) -> xr.Dataset:
        """Train in segments; at each look take the kernel's smallest eigenvalue."""
        x, y = sphere(self.samples, self.dim, self.seed)
        looks = sorted({round(s) for s in np.linspace(0, self.steps, self.looks)})
        shape = (len(self.activations), len(self.widths), self.seeds)
        loss, linear = np.empty((*shape, self.steps + 1)), np.empty((*shape, self.steps + 1))
        smallest, rate, fit = np.empty((*shape, len(looks))), np.empty(shape), np.empty(shape)
        for a, activation in enumerate(self.activations):
            for w, width in enumerate(progress(self.widths, f"training, {activation}")):
                ensemble = networks(self.dim, width, activation, self.seeds, seed=self.seed)
                first = kernels(ensemble, x)
                top = torch.linalg.eigvalsh(first)[:, -1]
                start = ensemble.forward(x)[..., 0]
                rates = 0.5 / top
                current = first
                for i, (begin, end) in enumerate(zip(looks, [*looks[1:], None], strict=True)):
                    smallest[a, w, :, i] = torch.linalg.eigvalsh(current)[:, 0]
                    if end is None:
                        break
                    # keep the step of the first kernel: train() scales by the kernel it finds
                    found = torch.linalg.eigvalsh(current)[:, -1]
                    run = train(ensemble, x, y, end - begin, [], fraction=rates * found)
                    loss[a, w, :, begin : end + 1] = run.loss
                    current = kernels(ensemble, x)
                for e in range(self.seeds):
                    closed = training_dynamics(
                        first[e], y[:, 0], f0=start[e], learning_rate=float(rates[e]), t=np.arange(self.steps + 1), method="gd"
                    )
                    linear[a, w, e] = 0.5 * (closed.train - y[:, 0]).square().sum(1).numpy()
                rate[a, w] = rates.numpy()
                tail = np.arange(self.steps // 2, self.steps + 1)
                fit[a, w] = np.polyfit(tail, np.log(np.maximum(loss[a, w][:, tail], 1e-300)).T, 1)[0]
        dims = ("activation", "width", "seed")
        predicted = 2 * np.log1p(-rate * smallest[..., 0])
        return xr.Dataset(
            {
                "loss": ((*dims, "step"), loss, {"description": "½‖f − y‖² of the network"}),
                "linear_loss": ((*dims, "step"), linear, {"description": "½‖f − y‖² of the linearised model, in closed form"}),
                "lambda_min": ((*dims, "look"), smallest, {"description": "smallest eigenvalue of K along the path"}),
                "learning_rate": (dims, rate, {"description": "η = 1/(2 λ_max(K_0))"}),
                "tail_slope": (dims, fit, {"description": "slope of log L over the second half of training", "units": "1/step"}),
                "predicted_slope": (dims, predicted, {"description": "2 log(1 − η λ_min(K_0))", "units": "1/step"}),
            },
            coords={
                "activation": list(self.activations),
                "width": list(self.widths),
                "look": looks,
                "step": np.arange(self.steps + 1),
            },
        )


@dataclass(frozen=True)
class PlCondition(TrainedWidths):
    """The PL ratio ½‖∇L‖²/L over a training path, between the extreme eigenvalues of the kernel at each point.

    Attributes:
        activation: hidden activation, by name.
        looks: number of times at which the kernel is taken.
    """

    reference: ClassVar[str] = "liu2022"
    small: ClassVar[Mapping[str, Any]] = {"widths": (16, 64), "seeds": 2, "steps": 60, "looks": 6}

    widths: tuple[int, ...] = (16, 64, 256, 1024)
    seeds: int = 3
    activation: str = "tanh"
    samples: int = 8
    dim: int = 5
    steps: int = 300
    looks: int = 15

    def measure(self) -> xr.Dataset:
        """Train in segments and measure at each look."""
        x, y = sphere(self.samples, self.dim, self.seed)
        looks = sorted({0, *(round(s) for s in np.geomspace(1, self.steps, self.looks - 1))})
        shape = (len(self.widths), self.seeds, len(looks))
        ratio, low, high, loss = (np.empty(shape) for _ in range(4))
        for w, width in enumerate(progress(self.widths, "training")):
            ensemble = networks(self.dim, width, self.activation, self.seeds, hidden=1, seed=self.seed)
            rates = 0.5 / torch.linalg.eigvalsh(kernels(ensemble, x))[:, -1]
            for i, (begin, end) in enumerate(zip(looks, [*looks[1:], None], strict=True)):
                values = torch.linalg.eigvalsh(kernels(ensemble, x))
                low[w, :, i], high[w, :, i] = values[:, 0], values[:, -1]
                for e in range(self.seeds):
                    ratio[w, e, i] = pl_ratio(ensemble.member(e), x, y)
                loss[w, :, i] = 0.5 * (ensemble.forward(x) - y).square().sum((1, 2))
                if end is not None:
                    train(ensemble, x, y, end - begin, [], fraction=rates * values[:, -1])
        dims = ("width", "seed", "step")
        return xr.Dataset(
            {
                "ratio": (dims, ratio, {"description": "½‖∇L‖²/L"}),
                "lambda_min": (dims, low, {"description": "smallest eigenvalue of K"}),
                "lambda_max": (dims, high, {"description": "largest eigenvalue of K"}),
                "loss": (dims, loss, {"description": "½‖f − y‖²"}),
            },
            coords={"width": list(self.widths), "step": looks},
        )


@dataclass(frozen=True)
class ConditionNumberVsWidth(Widths):
    """κ(K) = λ_max/λ_min against width: wide networks approach the finite κ of the infinite kernel, narrow ones scatter above it.

    Beside it stands ‖∇²f‖, which keeps falling: a small Hessian keeps κ constant near θ₀; it does not make κ small.

    Attributes:
        activation: hidden activation, by name.
        hessian_activation: activation of the networks whose output Hessian is measured.
    """

    reference: ClassVar[str] = "liu2022"
    small: ClassVar[Mapping[str, Any]] = {"widths": (8, 16, 32, 64), "seeds": 3, "samples": 12}

    widths: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024)
    seeds: int = 10
    activation: str = "relu"
    hessian_activation: str = "tanh"

    def measure(self) -> xr.Dataset:
        """Kernels and Hessians over widths and seeds."""
        x, _ = sphere(self.samples, self.dim, self.seed)
        kappa, censored = np.empty((len(self.widths), self.seeds)), np.zeros((len(self.widths), self.seeds), dtype=bool)
        bend, smooth = np.empty((len(self.widths), self.seeds)), np.empty((len(self.widths), self.seeds))
        probe = torch.randn(1, self.dim, dtype=torch.float64, generator=generator(self.seed, "probe"))
        for w, width in enumerate(progress(self.widths, "condition numbers")):
            ensemble = networks(self.dim, width, self.activation, self.seeds, seed=self.seed)
            other = networks(self.dim, width, self.hessian_activation, self.seeds, seed=self.seed)
            for e in range(self.seeds):
                found = condition_number(ensemble.member(e), x)
                kappa[w, e], censored[w, e] = found.value, found.censored
                smooth[w, e] = condition_number(other.member(e), x).value
                bend[w, e] = hessian_norm(other.member(e), probe, tol=1e-3)
        limits = [
            condition_number(infinite_kernels(x, depth=2, activation=a, sigma_w2=1.0, sigma_b2=0.0).ntk).value
            for a in (self.activation, self.hessian_activation)
        ]
        slope = fit_slope(self.widths, bend)
        about = {"description": "κ = λ_max/λ_min of the tangent kernel; a lower bound where censored"}
        return xr.Dataset(
            {
                "kappa": (("width", "seed"), kappa, about),
                "censored": (("width", "seed"), censored, {"description": "whether κ is only a lower bound"}),
                "kappa_smooth": (("width", "seed"), smooth, {"description": f"κ with {self.hessian_activation}"}),
                "hessian_norm": (("width", "seed"), bend, {"description": f"‖∇²f‖ at one input, {self.hessian_activation}"}),
                "kappa_infinite": ((), limits[0], {"description": "κ of the infinite-width kernel"}),
                "kappa_smooth_infinite": ((), limits[1], {"description": f"the same with {self.hessian_activation}"}),
                "hessian_slope": (
                    ("bound",),
                    np.array(slope),
                    {"description": "slope of log ‖∇²f‖ against log width, and its interval"},
                ),
            },
            coords={"width": list(self.widths), "bound": ["value", "low", "high"]},
        )
