"""What happens to the tangent kernel as networks widen: it concentrates, stays constant, and training becomes linear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr

from theodolite.core.errors import ArgumentError
from theodolite.draw.progress import progress
from theodolite.theory.tangent.experiments.setting import TrainedWidths, Widths, kernels, networks, slope_variables, sphere, train
from theodolite.theory.tangent.infinite import infinite_kernels
from theodolite.theory.tangent.measure import kernel_drift, nngp_features, relative_weight_change
from theodolite.theory.tangent.predict import training_dynamics

__all__ = ["Concentration", "Constancy", "LazyTraining", "LinearizedTraining"]


def _flat(parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """All parameters of all members, ``(E, P)``."""
    return torch.cat([p.flatten(1) for p in parameters.values()], 1).clone()


@dataclass(frozen=True)
class Concentration(Widths):
    """The kernel at initialisation becomes deterministic: its spread over seeds falls as m^(-1/2).

    Also compares the mean kernel with the infinite-width NTK, and E[f f′] over initialisations with the NNGP and the NTK: the
    formula "NTK = E[f(x) f(x′)]" is the NNGP's.

    Attributes:
        activations: hidden activations, by name.
    """

    reference: ClassVar[str] = "jacot2018"
    small: ClassVar[Mapping[str, Any]] = {"widths": (32, 64, 128, 256), "seeds": 12}

    widths: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    seeds: int = 30
    activations: tuple[str, ...] = ("relu", "tanh")

    def measure(self) -> xr.Dataset:
        """Kernels of all seeds at every width."""
        if self.seeds < 2:
            raise ArgumentError(f"seeds must be at least 2 for a spread over seeds, got {self.seeds}")
        x, _ = sphere(self.samples, self.dim, self.seed)
        shape = (len(self.activations), len(self.widths))
        deviation = np.empty((*shape, self.seeds))
        bias, to_nngp, to_ntk = np.empty(shape), np.empty(shape), np.empty(shape)
        for a, activation in enumerate(self.activations):
            limit = infinite_kernels(x, depth=2, activation=activation, sigma_w2=1.0, sigma_b2=0.0)
            for w, width in enumerate(progress(self.widths, f"kernels, {activation}")):
                ensemble = networks(self.dim, width, activation, self.seeds, seed=self.seed)
                k = kernels(ensemble, x)
                mean = k.mean(0)
                # unbiased squared deviation from the mean: its root mean square is the relative standard deviation
                scale = self.seeds / (self.seeds - 1)
                deviation[a, w] = (scale * (k - mean).square().sum((1, 2)) / mean.square().sum()).sqrt().numpy()
                bias[a, w] = float((mean - limit.ntk).norm() / limit.ntk.norm())
                features = [nngp_features(ensemble.member(e), x, sigma_w2=1.0) for e in range(self.seeds)]
                covariance = torch.stack([f @ f.T for f in features]).mean(
                    0
                )  # E f f′ given the hidden layers, averaged over seeds
                to_nngp[a, w] = float((covariance - limit.nngp).norm() / limit.nngp.norm())
                to_ntk[a, w] = float((covariance - limit.ntk).norm() / limit.ntk.norm())
        spread = np.sqrt((deviation**2).mean(-1))
        rms_slopes = slope_variables(self.widths, deviation**2, ("activation",), "spread")
        for variable in rms_slopes.values():
            variable.values /= 2  # the slope of the root mean square is half that of the mean square
        about = {"description": "‖E f f′ − K‖_F/‖K‖_F of the outputs' covariance over initialisations"}
        return xr.Dataset(
            {
                "deviation": (("activation", "width", "seed"), deviation, {"description": "‖K − mean K‖_F/‖mean K‖_F"}),
                "spread": (
                    ("activation", "width"),
                    spread,
                    {"description": "relative Frobenius standard deviation of the kernel"},
                ),
                "bias": (("activation", "width"), bias, {"description": "‖mean K − Θ∞‖_F/‖Θ∞‖_F"}),
                "covariance_to_nngp": (("activation", "width"), to_nngp, about),
                "covariance_to_ntk": (("activation", "width"), to_ntk, about),
                **rms_slopes,
            },
            coords={"activation": list(self.activations), "width": list(self.widths)},
        )


@dataclass(frozen=True)
class Constancy(TrainedWidths):
    """The kernel's change during training falls as 1/m: faster than the bound m^(-1/2) of Lee et al.

    Attributes:
        activations: hidden activations, by name.
    """

    reference: ClassVar[str] = "lee2019"
    small: ClassVar[Mapping[str, Any]] = {"widths": (32, 64, 128), "seeds": 3, "steps": 100}

    activations: tuple[str, ...] = ("relu", "tanh")

    def measure(self) -> xr.Dataset:
        """Train at every width and compare the kernels before and after."""
        x, y = sphere(self.samples, self.dim, self.seed)
        shape = (len(self.activations), len(self.widths), self.seeds)
        drift, change, fall = np.empty(shape), np.empty(shape), np.empty(shape)
        for a, activation in enumerate(self.activations):
            for w, width in enumerate(progress(self.widths, f"training, {activation}")):
                ensemble = networks(self.dim, width, activation, self.seeds, seed=self.seed)
                before = _flat(ensemble.parameters)
                run = train(ensemble, x, y, self.steps, [])
                drift[a, w] = kernel_drift(kernels(ensemble, x), run.initial).numpy()
                change[a, w] = relative_weight_change(_flat(ensemble.parameters), before).numpy()
                fall[a, w] = run.loss[:, -1] / run.loss[:, 0]
        dims = ("activation", "width", "seed")
        return xr.Dataset(
            {
                "drift": (dims, drift, {"description": "‖K_T − K_0‖_F/‖K_0‖_F after training"}),
                "weight_change": (dims, change, {"description": "‖θ_T − θ_0‖/‖θ_0‖"}),
                "loss_ratio": (dims, fall, {"description": "L_T/L_0"}),
                **slope_variables(self.widths, drift, ("activation",), "drift"),
            },
            coords={"activation": list(self.activations), "width": list(self.widths)},
        )


@dataclass(frozen=True)
class LazyTraining(TrainedWidths):
    """How far weights move: with width (1/m for two hidden layers, m^(-1/2) for one) and with the scale α of the output (1/α).

    The α-part trains f_α = α (h(w) − h(w₀)) on ½‖f_α − y‖²/α² after Chizat, Oyallon and Bach.

    Attributes:
        alphas: output scales α.
        activation: hidden activation, by name.
        alpha_width: width of the networks whose scale is varied.
    """

    reference: ClassVar[str] = "chizat2019"
    small: ClassVar[Mapping[str, Any]] = {
        "widths": (32, 64, 128),
        "seeds": 3,
        "alphas": (1.0, 4.0, 16.0, 64.0),
        "steps": 100,
        "alpha_width": 48,
    }

    alphas: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    activation: str = "tanh"
    alpha_width: int = 100

    def measure(self) -> xr.Dataset:
        """Train over widths and depths, then over α at one width."""
        x, y = sphere(self.samples, self.dim, self.seed)
        layers = (1, 2)
        change = np.empty((len(layers), len(self.widths), self.seeds))
        for h, hidden in enumerate(layers):
            for w, width in enumerate(progress(self.widths, f"training, {hidden} hidden layers")):
                ensemble = networks(self.dim, width, self.activation, self.seeds, hidden=hidden, seed=self.seed)
                before = _flat(ensemble.parameters)
                train(ensemble, x, y, self.steps, [])
                change[h, w] = relative_weight_change(_flat(ensemble.parameters), before).numpy()
        moved, drift = np.empty((len(self.alphas), self.seeds)), np.empty((len(self.alphas), self.seeds))
        for i, alpha in enumerate(progress(self.alphas, "training, scale of the output")):
            ensemble = networks(self.dim, self.alpha_width, self.activation, self.seeds, seed=self.seed)
            before = _flat(ensemble.parameters)
            # α (h − h₀) − y = α (h − (h₀ + y/α)): h trained on shifted targets, with the same step for every α
            targets = ensemble.forward(x) + y / alpha
            run = train(ensemble, x, targets, self.steps, [])
            moved[i] = relative_weight_change(_flat(ensemble.parameters), before).numpy()
            drift[i] = kernel_drift(kernels(ensemble, x), run.initial).numpy()
        slopes = slope_variables(self.widths, change, ("hidden",), "weight_change")
        by_alpha = slope_variables(self.alphas, moved[None], ("one",), "alpha_weight_change")  # type: ignore[arg-type]
        return xr.Dataset(
            {
                "weight_change": (("hidden", "width", "seed"), change, {"description": "‖θ_T − θ_0‖/‖θ_0‖"}),
                "alpha_weight_change": (("alpha", "seed"), moved, {"description": "‖θ_T − θ_0‖/‖θ_0‖ at scale α"}),
                "alpha_drift": (("alpha", "seed"), drift, {"description": "‖K_T − K_0‖_F/‖K_0‖_F at scale α"}),
                **slopes,
                **{name: variable.isel(one=0) for name, variable in by_alpha.items()},
            },
            coords={"hidden": list(layers), "width": list(self.widths), "alpha": list(self.alphas)},
        )


@dataclass(frozen=True)
class LinearizedTraining(TrainedWidths):
    """The distance of a network's training from its linearisation's, sup_t ‖f_t − f_t^lin‖, falls at least as m^(-1/2).

    Attributes:
        activations: hidden activations, by name.
    """

    reference: ClassVar[str] = "lee2019"
    small: ClassVar[Mapping[str, Any]] = {"widths": (32, 64, 128), "seeds": 3, "steps": 100}

    activations: tuple[str, ...] = ("relu", "tanh")

    def measure(self) -> xr.Dataset:
        """Outputs along training against the closed form with the kernel at the start."""
        x, y = sphere(self.samples, self.dim, self.seed)
        looks = sorted({round(s) for s in np.geomspace(1, self.steps, 25)} | {0})
        gap = np.empty((len(self.activations), len(self.widths), self.seeds))
        curves = np.empty((*gap.shape[:2], len(looks)))
        for a, activation in enumerate(self.activations):
            for w, width in enumerate(progress(self.widths, f"training, {activation}")):
                ensemble = networks(self.dim, width, activation, self.seeds, seed=self.seed)
                run = train(ensemble, x, y, self.steps, looks)
                distances = []
                for e in range(self.seeds):
                    linear = training_dynamics(
                        run.initial[e], y[:, 0], f0=run.outputs[e, 0], learning_rate=float(run.rates[e]), t=run.looks, method="gd"
                    )
                    distances.append((run.outputs[e] - linear.train).square().mean(1).sqrt().numpy())
                gap[a, w] = np.max(distances, axis=1)
                curves[a, w] = np.mean(distances, axis=0)
        return xr.Dataset(
            {
                "gap": (
                    ("activation", "width", "seed"),
                    gap,
                    {"description": "sup over time of the root mean square of f_t − f_t^lin"},
                ),
                "distance": (("activation", "width", "step"), curves, {"description": "RMS of f_t − f_t^lin, mean over seeds"}),
                **slope_variables(self.widths, gap, ("activation",), "gap"),
            },
            coords={"activation": list(self.activations), "width": list(self.widths), "step": looks},
        )
