"""`meanfield.trainability` and `meanfield.critical_init`: deep networks trained on digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from theodolite.core.experiment import Experiment
from theodolite.core.seed import child_seed, generator
from theodolite.data.digits import digits
from theodolite.nets.architectures import mlp
from theodolite.theory.meanfield import predict
from theodolite.theory.meanfield.construct.critical import critical_init_
from theodolite.theory.meanfield.experiments.simulation import random_weight
from theodolite.train import Ensemble, MLPSpec

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["CriticalInit", "Trainability", "accuracies", "digits_networks"]

#: (σ_w², σ_b², variance of the first pre-activations, kind of weights) of one network.
Case = tuple[float, float, float, str]


def _data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Digits with inputs of mean 0 and unit second moment, by the training set's statistics."""
    split = digits()
    mean = split.x.mean()
    scale = (split.x - mean).square().mean().sqrt()
    return (split.x - mean) / scale, split.y, (split.x_test - mean) / scale, split.y_test


def digits_networks(activation: str, depth: int, width: int, cases: Sequence[Case], seeds: Sequence[int]) -> Ensemble:
    """Networks 64 → width^depth → 10, one per case; the readout is Gaussian of variance 1/width."""
    nets = Ensemble(MLPSpec((64, *(width,) * depth, 10), activation), len(cases), dtype=torch.float32)
    for row, ((w, b, q, kind), seed) in enumerate(zip(cases, seeds, strict=True)):
        g = generator(seed, "digits")
        for index, layer in enumerate(nets.layers):
            weight, bias = nets.parameters[f"{layer}.weight"][row], nets.parameters[f"{layer}.bias"][row]
            first, last = index == 0, index == depth
            # Inputs have unit second moment, so that the first layer's variance starts the recursion at q.
            variance = max(q - b, 1e-12) if first else 1.0 if last else w
            weight.copy_(random_weight(weight.shape[0], weight.shape[1], variance, "gaussian" if last or first else kind, g))
            bias.copy_(torch.randn(bias.shape, dtype=torch.float64, generator=g) * (0.0 if last else math.sqrt(b)))
    return nets


def accuracies(nets: Ensemble, steps: int, lr: Sequence[float] | float, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """(loss per step, test accuracy) of every network after ``steps`` of stochastic gradient descent; NaN losses are kept."""
    x, y, x_test, y_test = _data()
    x, x_test = x.to(nets.dtype), x_test.to(nets.dtype)
    rates = torch.tensor(lr, dtype=nets.dtype) if isinstance(lr, (list, tuple)) else lr
    # Unchecked: the first steps of gradients of size 1e-48 compare rounding with rounding.
    options = {"batch_size": batch, "backend": "eager", "check": False}
    record = nets.train(x, y, steps=steps, loss="cross_entropy", optimizer="momentum", lr=rates, schedule=[0, steps], **options)
    correct = (nets.forward(x_test).argmax(-1) == y_test).double().mean(-1)
    return record.data["loss"].values, correct.numpy()


@dataclass(frozen=True)
class Trainability(Experiment):
    """Test accuracy on digits over depth and σ_w², after a fixed number of steps; the trainable region against 6 ξ_c.

    Attributes:
        sigma_w2: variances of the weights.
        sigma_b2: variance of the biases.
        depths: numbers of hidden layers.
        width: of them.
        steps: optimiser steps.
        lr: learning rate.
        batch: mini-batch size.
        seed: of the weights.
    """

    reference = "schoenholz2017 Fig. 5"
    small: ClassVar = {"sigma_w2": (0.8, 1.2, 1.76, 2.6, 4.0), "depths": (4, 12, 36), "width": 40, "steps": 100, "lr": 0.02}

    sigma_w2: tuple[float, ...] = tuple(float(w) for w in np.linspace(0.6, 4.0, 18).round(4))
    sigma_b2: float = 0.05
    depths: tuple[int, ...] = (5, 10, 20, 40, 80, 120, 160, 200)
    width: int = 100
    steps: int = 400
    lr: float = 0.01
    batch: int = 128
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Train one network per point; networks of one depth side by side."""
        import xarray as xr

        from theodolite.draw.progress import progress

        q = [predict.q_star("tanh", w, self.sigma_b2) for w in self.sigma_w2]
        scales = [predict.depth_scales("tanh", w, self.sigma_b2) for w in self.sigma_w2]
        accuracy, loss = [], []
        for depth in progress(self.depths, "depths"):
            cases = [(w, self.sigma_b2, v, "gaussian") for w, v in zip(self.sigma_w2, q, strict=True)]
            nets = digits_networks("tanh", depth, self.width, cases, [self.seed] * len(cases))
            losses, correct = accuracies(nets, self.steps, self.lr, self.batch)
            accuracy.append(correct)
            loss.append(np.nanmean(losses[:, -10:], axis=1))
        return xr.Dataset(
            {
                "accuracy": (("depth", "sigma_w2"), accuracy, {"description": "test accuracy"}),
                "loss": (("depth", "sigma_w2"), loss, {"description": "training loss, mean of the last ten steps"}),
                "xi_c": ("sigma_w2", [s.xi_c for s in scales], {"description": "depth scale of correlations, layers"}),
                "xi_grad": ("sigma_w2", [s.xi_grad for s in scales], {"description": "depth scale of gradients, layers"}),
                "chi_1": ("sigma_w2", [predict.chi_1("tanh", w, self.sigma_b2) for w in self.sigma_w2], {"description": "χ₁"}),
                "critical_sigma_w2": (
                    (),
                    predict.critical_line("tanh", self.sigma_b2).sigma_w2,
                    {"description": "critical σ_w²"},
                ),
            },
            coords={"depth": list(self.depths), "sigma_w2": list(self.sigma_w2)},
        )


@dataclass(frozen=True)
class CriticalInit(Experiment):
    """A deep tanh network on digits: torch's default initialisation against `critical_init_`, Gaussian and orthogonal.

    Attributes:
        depth: number of hidden layers.
        width: of them.
        steps: steps of Adam.
        lr: learning rates; every initialisation is tried with each.
        batch: mini-batch size.
        seeds: number of networks per setting.
    """

    reference = "schoenholz2017"
    small: ClassVar = {"depth": 100, "width": 40, "steps": 60, "lr": (1e-3,), "seeds": 1, "batch": 64}

    depth: int = 100
    width: int = 64
    steps: int = 600
    lr: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    batch: int = 128
    seeds: int = 5

    def measure(self) -> xr.Dataset:
        """Losses and accuracies of all initialisations, trained side by side."""
        import xarray as xr

        from theodolite.draw.progress import progress

        inits = ("torch default", "critical gaussian", "critical orthogonal")
        cases = [(init, lr, seed) for init in inits for lr in self.lr for seed in range(self.seeds)]
        runs = [self._train(*case) for case in progress(cases, "networks")]
        loss, accuracy = np.array([r[0] for r in runs]), np.array([r[1] for r in runs])
        shape = (len(inits), len(self.lr), self.seeds)
        dims = ("init", "lr", "seed")
        return xr.Dataset(
            {
                "loss": ((*dims, "step"), loss.reshape(*shape, -1), {"description": "cross-entropy of the mini-batch"}),
                "accuracy": (dims, accuracy.reshape(shape), {"description": "test accuracy after training"}),
            },
            coords={"init": list(inits), "lr": list(self.lr), "seed": range(self.seeds), "step": np.arange(self.steps)},
            attrs={"depth": self.depth, "width": self.width},
        )

    def _train(self, init: str, lr: float, seed: int) -> tuple[list[float], float]:
        """(losses, test accuracy) of one plain module, from its initialisation on."""
        # float64: the default's gradients shrink below the range of float32, where arithmetic is slow and means nothing
        x, y, x_test, y_test = _data()
        x, x_test = x.double(), x_test.double()
        model = mlp([64, *(self.width,) * self.depth, 10], "tanh", dtype=torch.float64)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(child_seed(seed, "default"))
            for layer in model:
                if isinstance(layer, torch.nn.Linear):
                    layer.reset_parameters()
        if init != "torch default":
            critical_init_(model, weights=init.split()[1], generator=generator(seed, "critical"))  # type: ignore[arg-type]
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        batches, losses = generator(seed, "batches"), []
        for _ in range(self.steps):
            chosen = torch.randint(0, len(x), (self.batch,), generator=batches)
            loss = torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        with torch.no_grad():
            return losses, float((model(x_test).argmax(1) == y_test).double().mean())
