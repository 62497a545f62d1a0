"""Regression with a network's kernel: which prior it implies, what the feature map is, and how it compares with trained networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr

from theodolite.core.experiment import Experiment
from theodolite.core.seed import generator
from theodolite.draw.progress import progress
from theodolite.lens.kernel import parameter_jacobian, tangent_kernel
from theodolite.theory.tangent.experiments.setting import TrainedWidths, networks, slope_variables, sphere, train
from theodolite.theory.tangent.infinite import infinite_kernels
from theodolite.theory.tangent.predict import training_dynamics

__all__ = ["FeatureMap", "InfiniteVsFinite", "KernelPrior"]


@dataclass(frozen=True)
class KernelPrior(Experiment):
    """NTK regression's implicit prior: of all interpolants the one of least norm, and no datum at the origin.

    Constant targets y = 1 away from the origin are interpolated with several bias variances. The weights move by exactly
    √(yᵀΘ⁻¹y), the least that any interpolant can; adding a kernel vector of the Jacobian keeps the fit and lengthens the move. The
    prediction at x = 0, where a "prior sample at (0, 0)" would pull to 0, is recorded.

    Attributes:
        samples: training inputs.
        depth: hidden layers.
        width: hidden width.
        activation: hidden activation, by name.
        biases: bias variances σ_b².
        points: points of the grid on which the regressor is drawn.
        seed: seed of data and networks.
    """

    reference: ClassVar[str] = "jacot2018"
    small: ClassVar[Mapping[str, Any]] = {"width": 64, "biases": (0.0, 0.1, 1.0)}

    samples: int = 6
    depth: int = 2
    width: int = 256
    activation: str = "relu"
    biases: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0)
    points: int = 201
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Closed-form regression on a line, and the norm of the least move of a finite network."""
        x = np.concatenate(
            [-np.linspace(1.0, 2.0, self.samples // 2)[::-1], np.linspace(1.0, 2.0, self.samples - self.samples // 2)]
        )
        grid = np.linspace(-3, 3, self.points)
        y = np.ones(len(x))
        curves, origin, norms = [], [], []
        for b in self.biases:
            settings: dict[str, Any] = {"depth": self.depth, "activation": self.activation, "sigma_w2": 2.0, "sigma_b2": b}
            k = infinite_kernels(x[:, None], **settings).ntk
            across = infinite_kernels(np.append(grid, 0.0)[:, None], x[:, None], **settings).ntk
            found = training_dynamics(k, y, kernel_test=across, t=np.inf).test
            curves.append(found[:-1])
            origin.append(found[-1])
            norms.append(float(y @ np.linalg.lstsq(k, y, rcond=1e-12)[0]) ** 0.5)
        least, longer, reached = self._moves()
        return xr.Dataset(
            {
                "prediction": (("sigma_b2", "x"), np.array(curves), {"description": "NTK regression with targets 1"}),
                "at_origin": (("sigma_b2",), np.array(origin), {"description": "prediction at x = 0"}),
                "norm": (("sigma_b2",), np.array(norms), {"description": "norm of the interpolant, √(yᵀΘ⁻¹y)"}),
                "least_move": (
                    (),
                    reached,
                    {"description": "‖θ_T − θ_0‖ of the linearised network, trained by gradient descent from θ_0"},
                ),
                "predicted_move": ((), least, {"description": "√(yᵀK⁻¹y) with the finite network's kernel"}),
                "other_moves": (("draw",), longer, {"description": "‖θ − θ_0‖ of other exact interpolants"}),
                "train_x": (("sample",), x),
            },
            coords={"sigma_b2": list(self.biases), "x": grid},
        )

    def _moves(self) -> tuple[float, np.ndarray, float]:
        """(predicted least move, moves of other interpolants, move of gradient descent on the linearised network)."""
        inputs, y = sphere(self.samples, 4, self.seed)
        model = networks(4, self.width, self.activation, 1, seed=self.seed).member(0)
        jacobian = parameter_jacobian(model, inputs).flatten(0, 1)
        with torch.no_grad():
            target = (y - model(inputs)).reshape(-1)
        kernel = jacobian @ jacobian.T
        least = float(target @ torch.linalg.solve(kernel, target)) ** 0.5
        move = torch.zeros(jacobian.shape[1], dtype=torch.float64)
        step = 1.0 / float(torch.linalg.eigvalsh(kernel)[-1])
        for _ in range(20000):
            residual = target - jacobian @ move
            if float(residual.norm()) < 1e-12 * float(target.norm()):
                break
            move += step * (jacobian.T @ residual)
        draw = generator(self.seed, "null space")
        longer = []
        for _ in range(20):
            v = torch.randn(len(move), dtype=torch.float64, generator=draw)
            v -= jacobian.T @ torch.linalg.solve(kernel, jacobian @ v)
            length = 1.5 * least * float(torch.rand((), dtype=torch.float64, generator=draw))
            longer.append(float((move + length * v / v.norm()).norm()))
        return least, np.array(longer), float(move.norm())


@dataclass(frozen=True)
class FeatureMap(TrainedWidths):
    """A wide network is a linear model on φ(x) = ∂f(x; θ₀)/∂θ: Θ = φ φᵀ exactly; the network leaves it at finite width.

    Attributes:
        activation: hidden activation, by name.
        tests: number of test inputs.
    """

    reference: ClassVar[str] = "jacot2018"
    small: ClassVar[Mapping[str, Any]] = {"widths": (32, 64, 128), "seeds": 2, "steps": 100}

    widths: tuple[int, ...] = (64, 128, 256, 512)
    activation: str = "tanh"
    samples: int = 12
    tests: int = 12
    dim: int = 6

    def measure(self) -> xr.Dataset:
        """Gradient descent on the feature weights, the kernel's closed form, and the network itself, at test inputs."""
        both, labels = sphere(self.samples + self.tests, self.dim, self.seed)
        x, z, y = both[: self.samples], both[self.samples :], labels[: self.samples]
        shape = (len(self.widths), self.seeds)
        identity, closed, gap = np.empty(shape), np.empty(shape), np.empty(shape)
        for w, width in enumerate(progress(self.widths, "feature maps")):
            ensemble = networks(self.dim, width, self.activation, self.seeds, seed=self.seed)
            members = [ensemble.member(e) for e in range(self.seeds)]
            starts = ensemble.forward(both)[..., 0]
            features = [parameter_jacobian(m, both)[:, 0] for m in members]
            grams = [tangent_kernel(m, both, outputs=0) for m in members]
            run = train(ensemble, x, y, self.steps, [])
            ends = ensemble.forward(z)[..., 0]
            for e in range(self.seeds):
                identity[w, e] = float((features[e] @ features[e].T - grams[e]).norm() / grams[e].norm())
                by_weights = self._linear_model(features[e], starts[e], y[:, 0], float(run.rates[e]))
                train_part, cross = grams[e][: self.samples, : self.samples], grams[e][self.samples :, : self.samples]
                by_kernel = training_dynamics(
                    train_part,
                    y[:, 0],
                    kernel_test=cross,
                    f0=starts[e, : self.samples],
                    f0_test=starts[e, self.samples :],
                    learning_rate=float(run.rates[e]),
                    t=self.steps,
                    method="gd",
                ).test
                closed[w, e] = float((by_weights - by_kernel).abs().max())
                gap[w, e] = float((ends[e] - by_kernel).square().mean().sqrt())
        dims = ("width", "seed")
        slopes = slope_variables(self.widths, gap[None], ("one",), "gap")
        return xr.Dataset(
            {
                "identity_error": (dims, identity, {"description": "‖φφᵀ − Θ‖_F/‖Θ‖_F"}),
                "model_error": (
                    dims,
                    closed,
                    {"description": "largest difference of the linear model on φ and kernel regression"},
                ),
                "gap": (dims, gap, {"description": "RMS difference of the trained network and the linear model at test inputs"}),
                **{name: variable.isel(one=0) for name, variable in slopes.items()},
            },
            coords={"width": list(self.widths)},
        )

    def _linear_model(self, features: torch.Tensor, start: torch.Tensor, y: torch.Tensor, rate: float) -> torch.Tensor:
        """Test outputs of f_0 + φ·w after gradient descent on w from 0."""
        inside, outside = features[: self.samples], features[self.samples :]
        weights = torch.zeros(features.shape[1], dtype=features.dtype)
        for _ in range(self.steps):
            weights -= rate * (inside.T @ (start[: self.samples] + inside @ weights - y))
        return start[self.samples :] + outside @ weights


@dataclass(frozen=True)
class InfiniteVsFinite(Experiment):
    """Digit classification by the infinite NTK and NNGP, by the kernels of finite networks at initialisation, and by those networks.

    Least squares on centred one-hot targets. Networks are trained by gradient descent from centred outputs (f − f₀); their kernels
    and the infinite kernel are given the same number of steps of the same size, and the infinite ones also t = ∞.

    Attributes:
        sizes: training set sizes.
        widths: hidden widths.
        seeds: independent splits and networks.
        tests: number of test inputs.
        depth: hidden layers.
        activation: hidden activation, by name.
        steps: training steps of gradient descent.
        seed: seed of data and networks.
    """

    reference: ClassVar[str] = "lee2019"
    small: ClassVar[Mapping[str, Any]] = {"sizes": (50, 100), "widths": (32, 128), "seeds": 1, "tests": 200, "steps": 100}

    sizes: tuple[int, ...] = (50, 100, 200, 400, 800)
    widths: tuple[int, ...] = (64, 256, 1024)
    seeds: int = 3
    tests: int = 500
    depth: int = 2
    activation: str = "relu"
    steps: int = 2000
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Test accuracy of each method over training sizes, widths and seeds."""
        shape, most = (len(self.sizes), self.seeds), max(self.sizes)
        ntk, nngp, timed = np.empty(shape), np.empty(shape), np.empty(shape)
        empirical, trained = np.empty((*shape, len(self.widths))), np.empty((*shape, len(self.widths)))
        settings: dict[str, Any] = {"depth": self.depth, "activation": self.activation, "sigma_w2": 2.0, "sigma_b2": 0.0}
        for s in progress(range(self.seeds), "digits"):
            x, labels = _digits(most + self.tests, self.seed + s)
            a, z = x[:most], x[-self.tests :]
            task = _Task(torch.nn.functional.one_hot(labels[:most], 10).double() - 0.1, labels[-self.tests :])
            inside, across = infinite_kernels(a, **settings), infinite_kernels(z, a, **settings)
            for n, size in enumerate(self.sizes):
                ntk[n, s] = task.accuracy(inside.ntk, across.ntk, size)
                nngp[n, s] = task.accuracy(inside.nngp, across.nngp, size)
                timed[n, s] = task.accuracy(inside.ntk, across.ntk, size, self.steps)
            for w, width in enumerate(self.widths):
                empirical[:, s, w], trained[:, s, w] = self._finite(a, z, task, width, self.seed + s)
        dims = ("size", "seed")
        about = {"description": "share of test digits classified correctly"}
        return xr.Dataset(
            {
                "infinite_ntk": (dims, ntk, about),
                "infinite_nngp": (dims, nngp, about),
                "infinite_ntk_timed": (dims, timed, {"description": "the infinite NTK after as many steps as the networks take"}),
                "empirical_ntk": ((*dims, "width"), empirical, {"description": "the finite kernel after as many steps"}),
                "trained": ((*dims, "width"), trained, about),
            },
            coords={"size": list(self.sizes), "width": list(self.widths)},
            attrs={"tests": self.tests},
        )

    def _finite(self, a: torch.Tensor, z: torch.Tensor, task: _Task, width: int, seed: int) -> tuple[list[float], list[float]]:
        """Accuracies of a network's kernel at the start, and of the network once trained, for every training size."""
        from theodolite.train import NTK, Ensemble, MLPSpec

        spec = MLPSpec((a.shape[1], *[width] * self.depth, 10), self.activation, bias=False, init=NTK(2**0.5, 0.0))
        model = Ensemble(spec, 1, dtype=torch.float64, seed=seed).member(0)
        # at width m the kernels of single outputs agree up to m^(-1/2); their mean is used for every output
        inside, across = tangent_kernel(model, a, outputs="trace") / 10, tangent_kernel(model, z, a, outputs="trace") / 10
        scores, trained = [], []
        for size in self.sizes:
            scores.append(task.accuracy(inside, across, size, self.steps))
            # the same network in float32: which class is the largest does not hang on the digits that this loses
            network, x = Ensemble(spec, 1, dtype=torch.float32, seed=seed), a[:size]
            start, targets = network.forward(z), task.targets[:size] + network.forward(x)[0]
            rate = _rate(inside[:size, :size])
            network.train(x, targets, steps=self.steps, loss="half_mse", optimizer="gd", lr=rate * size, schedule=[self.steps])
            trained.append(task.score((network.forward(z) - start)[0]))
        return scores, trained


#: Learning rate over the inverse of the largest eigenvalue; single outputs' kernels have larger ones than their mean.
_FRACTION = 0.5


def _rate(kernel: torch.Tensor) -> float:
    return _FRACTION / float(torch.linalg.eigvalsh(kernel)[-1])


@dataclass(frozen=True)
class _Task:
    """Targets of all training digits, and the classes of the test digits."""

    targets: torch.Tensor
    truth: torch.Tensor

    def score(self, outputs: torch.Tensor) -> float:
        """Share of test digits classified correctly."""
        return float((outputs.argmax(1) == self.truth).double().mean())

    def accuracy(self, inside: torch.Tensor, across: torch.Tensor, size: int, steps: float = np.inf) -> float:
        """The score of regression on the first ``size`` digits, with the kernels of all."""
        kernel = inside[:size, :size]
        found = training_dynamics(
            kernel, self.targets[:size], kernel_test=across[:, :size], t=steps, learning_rate=_rate(kernel), method="gd"
        ).test
        return self.score(found)


def _digits(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``count`` digits 8 × 8 in random order, centred and scaled to norm about √64, and their labels."""
    from theodolite.data.digits import digits

    split = digits(train=count, seed=seed, dtype=torch.float64)
    x = split.x - split.x.mean(0)
    return x / x.norm(dim=1).mean() * x.shape[1] ** 0.5, split.y
