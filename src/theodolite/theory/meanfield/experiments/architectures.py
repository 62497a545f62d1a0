"""Experiments on residual, recurrent and batch-normalised networks at initialisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from theodolite.core.experiment import Experiment
from theodolite.core.seed import generator
from theodolite.maths.activation import Activation, identify
from theodolite.theory.meanfield import predict
from theodolite.theory.meanfield.experiments.cells import RandomCell, perturbation_growth

if TYPE_CHECKING:
    import torch
    import xarray as xr

__all__ = ["BatchnormGradients", "RecurrentMemory", "ResnetGradients", "ResnetOptimalVariance"]


@dataclass(frozen=True)
class ResnetGradients(Experiment):
    """Growth of the squared gradient over the blocks of residual networks, predicted and measured.

    Attributes:
        cases: (activation, kind, σ_w², σ_v²) of each network; σ_b² = σ_a² = 0.
        depth: number of blocks.
        width: of the networks.
        seeds: number of networks.
    """

    reference = "yang2017"
    small: ClassVar = {"depth": 60, "width": 150, "seeds": 3}

    cases: tuple[tuple[str, str, float, float], ...] = (
        ("tanh", "rrn", 1.0, 1.0),
        ("tanh", "frn", 2.0, 1.0),
        ("relu", "frn", 1.0, 1.0),
    )
    depth: int = 200
    width: int = 500
    seeds: int = 5

    def measure(self) -> xr.Dataset:
        """Recursion, and backpropagation of a random error through random networks."""
        import xarray as xr

        theory, measured = [], []
        for index, (name, kind, w, v) in enumerate(self.cases):
            theory.append(predict.resnet(name, w, 0.0, v, depth=self.depth, p0=1.0, kind=kind))  # type: ignore[arg-type]
            measured.append([self._network(index, seed) for seed in range(self.seeds)])
        logs, lengths = np.moveaxis(np.array(measured), 2, 0)
        return xr.Dataset(
            {
                "log_growth": (
                    ("case", "block"),
                    [t.log_gradient_growth for t in theory],
                    {"description": "predicted ln growth"},
                ),
                "length": (("case", "block"), [t.length for t in theory], {"description": "predicted E x²"}),
                "measured_log_growth": (("case", "seed", "block"), logs, {"description": "ln ‖∂f/∂x⁰‖²/‖∂f/∂x^l‖²"}),
                "measured_length": (("case", "seed", "block"), lengths, {"description": "‖x^l‖²/width"}),
            },
            coords={"case": [f"{a} {k}" for a, k, _, _ in self.cases], "block": np.arange(self.depth + 1)},
        )

    def _network(self, index: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(ln growth of the squared gradient, length) at blocks 0 … depth of one random network."""
        import torch

        name, kind, w, v = self.cases[index]
        phi, g, n = identify(name), generator(seed, "resnet", index), self.width
        x = torch.randn(n, dtype=torch.float64, generator=g)
        x, blocks = x * math.sqrt(n) / x.norm(), []
        lengths = [float(x.square().mean())]
        for _ in range(self.depth):
            inner = torch.randn(n, n, dtype=torch.float64, generator=g) * math.sqrt(w / n)
            h = inner @ x
            outer = torch.randn(n, n, dtype=torch.float64, generator=g) * math.sqrt(v / n) if kind == "frn" else None
            branch = torch.from_numpy(np.asarray(phi(h.numpy())))
            x = x + (branch if outer is None else outer @ branch)
            lengths.append(float(x.square().mean()))
            blocks.append((inner, outer, torch.from_numpy(np.asarray(phi.derivative(h.numpy())))))
        delta = torch.randn(n, dtype=torch.float64, generator=g)
        logs = [math.log(float(delta.square().sum()))]
        for inner, outer, slope in reversed(blocks):
            delta = delta + inner.T @ (slope * (delta if outer is None else outer.T @ delta))
            logs.append(math.log(float(delta.square().sum())))
        at = np.array(logs[::-1])
        return at[0] - at, np.array(lengths)


@dataclass(frozen=True)
class ResnetOptimalVariance(Experiment):
    """Test accuracy on digits of tanh residual networks over depth and σ_w², as training goes on, and the contour of equal growth.

    Attributes:
        sigma_w2: variances of the inner weights.
        depths: numbers of blocks x ← x + tanh(W x).
        width: of them.
        steps: of stochastic gradient descent with momentum, after which the accuracy is taken; increasing.
        lr: learning rate of a network of one block; divided by the depth.
        log_growth: the contour of theory that is shown.
        batch: mini-batch size.
        seeds: number of draws of weights and batches.
    """

    reference = "yang2017"
    small: ClassVar = {
        "sigma_w2": (1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0),
        "depths": (10, 30, 90),
        "width": 40,
        "steps": (20, 80),
        "seeds": 2,
    }

    sigma_w2: tuple[float, ...] = tuple(float(w) for w in np.geomspace(1e-3, 30.0, 16).round(6))
    depths: tuple[int, ...] = (5, 10, 20, 40, 80, 160)
    width: int = 100
    steps: tuple[int, ...] = (30, 100, 300)
    lr: float = 0.1
    log_growth: float = 1.0
    batch: int = 64
    seeds: int = 3

    def measure(self) -> xr.Dataset:
        """Train one network per depth, σ_w² and seed."""
        import xarray as xr

        from theodolite.draw.progress import progress

        runs = [(depth, seed) for depth in self.depths for seed in range(self.seeds)]
        found = np.stack([self._train(*run) for run in progress(runs, "networks")])
        accuracy = found.reshape(len(self.depths), self.seeds, *found.shape[1:])
        contour = [predict.optimal_variance(depth, "tanh", log_growth=self.log_growth) for depth in self.depths]
        growth = [
            [predict.resnet("tanh", w, depth=depth).log_gradient_growth[-1] for w in self.sigma_w2] for depth in self.depths
        ]
        return xr.Dataset(
            {
                "accuracy": (("depth", "seed", "step", "sigma_w2"), accuracy, {"description": "test accuracy on digits"}),
                "contour": (
                    "depth",
                    contour,
                    {"description": f"σ_w² at which the squared gradient grows by e^{self.log_growth:g}"},
                ),
                "log_growth": (("depth", "sigma_w2"), growth, {"description": "predicted ln growth of the squared gradient"}),
            },
            coords={"depth": list(self.depths), "step": list(self.steps), "sigma_w2": list(self.sigma_w2)},
        )

    def _train(self, depth: int, seed: int) -> np.ndarray:
        """Accuracies, step by σ_w², of networks trained at once; 0.1 is chance, also for a network that diverged."""
        import torch

        from theodolite.data.digits import digits

        split, n, g = digits(), self.width, generator(seed, "residual", depth)
        centre, scale = split.x.mean(), split.x.std()
        x, x_test = ((part - centre).float() / scale.float() for part in (split.x, split.x_test))
        size = torch.tensor(self.sigma_w2).sqrt()[:, None, None]
        draw = lambda m: torch.randn(m, n, generator=g) / math.sqrt(n)  # noqa: E731
        first = (torch.randn(n, 64, generator=g) / 8.0).expand(len(size), -1, -1).clone()
        inner = [(size * draw(n)).clone() for _ in range(depth)]
        parameters = [first, *inner, draw(10).expand(len(size), -1, -1).clone()]
        velocity = [torch.zeros_like(p) for p in parameters]

        def forward(inputs: torch.Tensor) -> torch.Tensor:
            state = inputs @ parameters[0].mT
            for weight in parameters[1:-1]:
                state = state + torch.tanh(state @ weight.mT)
            # The readout divides by what the length has grown to, so that all depths start from logits of order one
            return (state / math.sqrt(1.0 + depth)) @ parameters[-1].mT

        for parameter in parameters:
            parameter.requires_grad_()
        accuracies = []
        for step in range(1, max(self.steps) + 1):
            rows = torch.randint(len(x), (self.batch,), generator=g)
            logits = forward(x[rows])
            target = split.y[rows].expand(len(size), -1)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum") / self.batch
            for parameter, speed, grad in zip(parameters, velocity, torch.autograd.grad(loss, parameters), strict=True):
                with torch.no_grad():
                    parameter -= self.lr / depth * speed.mul_(0.9).add_(grad)
            if step in self.steps:
                with torch.no_grad():
                    accuracies.append((forward(x_test).argmax(-1) == split.y_test).double().mean(-1).numpy())
        return np.stack(accuracies)


@dataclass(frozen=True)
class RecurrentMemory(Experiment):
    """Growth per step of a perturbed state, and so the memory −1/ln χ, of four recurrent networks: predicted and measured.

    Attributes:
        vanilla_sigma_w2: σ_w² of vanilla networks (tanh), whose memory they set.
        gate_bias: bias of the memory gate of the minimal network, the LSTM and the GRU; as many as above.
        sigma_w2: σ_w² of these three.
        sigma_v2: σ_v² of all.
        width: of the networks.
        sequences: input sequences at once.
        steps: of warm-up and of measurement.
        seed: of weights and sequences.
    """

    reference = "chen2018 (LSTM, GRU: gilboa2019)"
    small: ClassVar = {"width": 150, "sequences": 4, "steps": (30, 40)}

    vanilla_sigma_w2: tuple[float, ...] = (0.3, 0.7, 1.1, 1.4)
    gate_bias: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0)
    sigma_w2: float = 1.0
    sigma_v2: float = 1.0
    width: int = 600
    sequences: int = 16
    steps: tuple[int, int] = (100, 200)
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Predictions, and simulations with fresh and with tied weights."""
        import xarray as xr

        names = ("vanilla", "minimal", "lstm", "gru")
        chi, q, measured, lengths = [], [], [], []
        for row, name in enumerate(names):
            for column, bias in enumerate(self.gate_bias):
                w = self.vanilla_sigma_w2[column] if name == "vanilla" else self.sigma_w2
                found = self._theory(name, w, bias)
                chi.append(found.chi)
                q.append(found.q_star)
                for tied in (False, True):
                    g = generator(self.seed, "memory", row, column, int(tied))
                    cell = RandomCell(name, w, self.sigma_v2, bias)
                    options = {"width": self.width, "sequences": self.sequences, "steps": self.steps}
                    length, growth = perturbation_growth(cell, **options, tied=tied, g=g)  # type: ignore[arg-type]
                    lengths.append(length)
                    measured.append(growth)
        shape, dims = (len(names), len(self.gate_bias)), ("network", "setting")
        both, kinds = (*shape, 2), (*dims, "weights")
        return xr.Dataset(
            {
                "chi": (dims, np.reshape(chi, shape), {"description": "predicted growth of squared perturbations per step"}),
                "q_star": (dims, np.reshape(q, shape), {"description": "predicted second moment of the state"}),
                "measured_chi": (kinds, np.reshape(measured, both), {"description": "measured growth"}),
                "measured_q": (kinds, np.reshape(lengths, both), {"description": "measured second moment"}),
                "gate_bias": ("setting", list(self.gate_bias), {"description": "bias of the memory gate"}),
                "vanilla_sigma_w2": ("setting", list(self.vanilla_sigma_w2), {"description": "σ_w² of the vanilla network"}),
            },
            coords={"network": list(names), "setting": range(len(self.gate_bias)), "weights": ["fresh", "tied"]},
        )

    def _theory(self, name: str, w: float, bias: float) -> predict.VanillaRNN | predict.MinimalRNN | predict.GatedRNN:
        if name == "vanilla":
            return predict.vanilla_rnn("tanh", w, self.sigma_v2, 0.0, 1.0)
        if name == "minimal":
            return predict.minimal_rnn(w, self.sigma_v2, bias, 0.0)
        return (predict.lstm if name == "lstm" else predict.gru)(w, self.sigma_v2, bias)


@dataclass(frozen=True)
class BatchnormGradients(Experiment):
    """Growth of the squared gradient per layer in batch-normalised networks, against the batch size.

    Attributes:
        activations: names of φ.
        batches: sizes B ≥ 4 of the batch.
        depth: number of layers; the growth is averaged over the lower half, where gradients have found their direction.
        width: of the networks.
        multiples: of that width, at which the case of the smallest predicted growth is measured, to tell theory from finite width.
        seeds: number of networks.
    """

    reference = "yang2019"
    small: ClassVar = {"batches": (6, 32), "depth": 20, "width": 200, "seeds": 3}

    activations: tuple[str, ...] = ("identity", "relu", "tanh", "gelu")
    batches: tuple[int, ...] = (6, 12, 24, 48, 96)
    depth: int = 30
    width: int = 800
    multiples: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    seeds: int = 6

    def measure(self) -> xr.Dataset:
        """Theory for every batch and for large ones; backpropagation through random networks."""
        import xarray as xr

        phis = [identify(name) for name in self.activations]
        theory = [[predict.batchnorm_gradient_growth(phi, batch) for batch in self.batches] for phi in phis]
        measured = [[self._networks(phi, batch, self.width) for batch in self.batches] for phi in phis]
        weakest, largest = divmod(int(np.argmin(theory)), len(self.batches))
        widths = [round(multiple * self.width) for multiple in self.multiples]
        wider = [self._networks(phis[weakest], self.batches[largest], width) for width in widths]
        return xr.Dataset(
            {
                "growth": (
                    ("activation", "batch"),
                    theory,
                    {"description": "predicted growth of the squared gradient per layer"},
                ),
                "large_batch": (
                    "activation",
                    [predict.batchnorm_gradient_growth(phi) for phi in phis],
                    {"description": "the same for B → ∞"},
                ),
                "measured": (("activation", "batch", "seed"), measured, {"description": "measured growth per layer"}),
                "weakest": (("width", "seed"), wider, {"description": "the same where the smallest growth is predicted"}),
            },
            coords={
                "activation": list(self.activations),
                "batch": list(self.batches),
                "width": widths,
                "seed": range(self.seeds),
            },
        )

    def _networks(self, phi: Activation, batch: int, width: int) -> list[float]:
        return [self._network(phi, batch, width, seed) for seed in range(self.seeds)]

    def _network(self, phi: Activation, batch: int, width: int, seed: int) -> float:
        """Growth per layer over the lower half, by the chain rule written out."""
        import torch

        g, n = generator(seed, "batchnorm", batch), width
        z, layers = torch.randn(batch, n, dtype=torch.float64, generator=g), []
        for _ in range(self.depth):
            spread = z.std(0, correction=0)
            u = (z - z.mean(0)) / spread
            weight = torch.randn(n, n, dtype=torch.float64, generator=g) / math.sqrt(n)
            layers.append((u, spread, torch.from_numpy(np.asarray(phi.derivative(u.numpy()))), weight))
            z = torch.from_numpy(np.asarray(phi(u.numpy()))) @ weight.T
        delta, sizes = torch.randn(batch, n, dtype=torch.float64, generator=g), []
        for u, spread, slope, weight in reversed(layers):
            delta = (delta @ weight) * slope
            delta = (delta - delta.mean(0) - u * (delta * u).mean(0)) / spread
            sizes.append(math.log(float(delta.square().sum())))
        half = self.depth // 2
        # z shrinks in the first layers while its law settles: they are left out
        return math.exp((sizes[-4] - sizes[half]) / (self.depth - 4 - half))
