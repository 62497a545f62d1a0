"""Training of two-layer networks from initialisations of different size: the notebook of the condensation papers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from theodolite.core.errors import ArgumentError, TheodoliteWarning
from theodolite.core.experiment import Experiment
from theodolite.core.schedule import log_spaced
from theodolite.data.functions import two_kinks
from theodolite.nets.activations import activation as find_activation
from theodolite.theory.condensation.measure.neurons import orientation_entropy, relative_distance
from theodolite.theory.condensation.predict.coordinates import regime, scaling_exponents
from theodolite.train.ensemble import find_device

if TYPE_CHECKING:
    import xarray as xr

    from theodolite.train.ensemble import Ensemble
    from theodolite.train.probes import View

__all__ = ["TwoLayerTraining", "gradient_scale"]

#: A relative output below this is lost in f − y in float32 (it resolves 6e-8 |y|).
FLOAT32_OUTPUT = 1e-5
#: Gradients below this have squares that underflow in float32.
FLOAT32_GRADIENT = 1e-15


@dataclass(frozen=True)
class TwoLayerTraining(Experiment):
    """A two-layer network f(x) = Σ a_k σ(w_k x + b_k) fitted to the target with two kinks, from parameters of size m^−t.

    With ``convention="std"`` every parameter has standard deviation m^−t, so γ = 2t and γ′ = 0: t < ½ is linear, t = ½ critical,
    t > ½ condensed. With ``"variance"`` the variance is m^−t, and γ = t.

    Attributes:
        t: exponent of the initialisation.
        width: m.
        activation: name of the activation.
        optimizer: ``"sgd"`` (full batch: gradient descent), ``"adam"``, ``"momentum"``, ….
        lr: learning rate.
        epochs: steps (the whole data set is one batch).
        seeds: one network per seed.
        training_size: equally spaced training points on ``boundary``.
        test_size: equally spaced test points on ``boundary``, widened by ½ on either side.
        boundary: interval of the training points.
        convention: ``"std"`` or ``"variance"`` equal to m^−t.
        device: where to train.
        dtype: ``"float64"`` or ``"float32"``.
        eps: Adam's eps.
    """

    t: float = 1.0
    width: int = 1000
    activation: str = "relu"
    optimizer: str = "sgd"
    lr: float = 0.05
    epochs: int = 10_000
    seeds: tuple[int, ...] = (0,)
    training_size: int = 4
    test_size: int = 10_000
    boundary: tuple[float, float] = (-1.0, 1.0)
    convention: str = "std"
    device: str = "cpu"
    dtype: str = "float64"
    eps: float = 1e-8

    reference: ClassVar[str] = "luo2021 Fig. 1"
    small: ClassVar[Mapping[str, Any]] = {"width": 100, "epochs": 300, "test_size": 500, "seeds": (0, 1)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.convention not in ("std", "variance"):
            raise ArgumentError(f"convention must be 'std' or 'variance' (which of the two equals m^−t), got {self.convention!r}")
        if self.dtype not in ("float64", "float32"):
            raise ArgumentError(f"dtype must be 'float64' or 'float32', got {self.dtype!r}")
        for name in ("width", "epochs", "training_size", "test_size"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} must be a whole number of at least 1, got {getattr(self, name)!r}")
        if not np.isfinite(self.t):
            raise ArgumentError(f"t must be a finite number, got {self.t!r}")
        find_device(self.device)
        if len(self.boundary) != 2 or not self.boundary[0] < self.boundary[1]:
            raise ArgumentError(f"boundary must be an interval (low, high) with low < high, got {self.boundary!r}")
        find_activation(self.activation)

    @property
    def shape(self) -> tuple[object, ...]:
        """What experiments must share to be trained as one ensemble; sizes, rates and seeds may differ."""
        names = ("width", "activation", "optimizer", "epochs", "training_size", "test_size", "boundary", "device", "dtype", "eps")
        return tuple(getattr(self, name) for name in names)

    def measure(self) -> xr.Dataset:
        """Train one network per seed, and look at it at no fewer than twenty epochs (all, if there are fewer)."""
        return self.measure_many([self])[0]

    @classmethod
    def measure_many(cls, experiments: Sequence[TwoLayerTraining]) -> list[xr.Dataset]:
        """The datasets of experiments of one ``shape``, all their networks trained side by side; each is what it is by itself."""
        one, sizes = experiments[0], [len(e.seeds) for e in experiments]
        ensemble, x, y = cls._prepared(experiments)
        ends = np.cumsum(sizes).tolist()
        rows = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        for experiment, part in zip(experiments, rows, strict=True):
            experiment._warn(ensemble, part, x, y)
        looks = one._looks()
        low, high = one.boundary
        points = torch.linspace(low - 0.5, high + 0.5, one.test_size, dtype=torch.float64)[:, None]
        snapshots = sorted({looks[0], looks[len(looks) // 2], looks[3 * len(looks) // 4], looks[-1]})
        data = ensemble.train(
            x,
            y,
            steps=one.epochs,
            optimizer=one._optimizer(),
            lr=[e.lr for e in experiments for _ in e.seeds],
            schedule=looks,
            probes={
                "relative_distance": _distance,
                "relative_distance_a": _outer_distance,
                "orientation_entropy": _entropy,
                "neurons": _Snapshots(snapshots),
                "output": _Outputs(snapshots, torch.from_numpy(one._grid())),
            },
            test=(points, two_kinks(points)[:, None]),
            curve=False,
            progress=True,
        ).data
        return [e._dataset(data.isel(member=part), x, y, snapshots) for e, part in zip(experiments, rows, strict=True)]

    def prepare(self) -> tuple[Ensemble, Tensor, Tensor]:
        """The networks at their start, and the training data."""
        return self._prepared([self])

    @classmethod
    def _prepared(cls, experiments: Sequence[TwoLayerTraining]) -> tuple[Ensemble, Tensor, Tensor]:
        from theodolite.train import Ensemble, Gaussian, MLPSpec, side_by_side

        one = experiments[0]
        spec = MLPSpec((1, int(one.width), 1), one.activation.lower(), bias="hidden", init=Gaussian(std=1.0))
        ensemble = Ensemble(
            spec,
            side_by_side([len(e.seeds) for e in experiments]),
            dtype=getattr(torch, one.dtype),
            device=one.device,
            seed=[seed for e in experiments for seed in e.seeds],
            init_scale=[e.std for e in experiments for _ in e.seeds],
        )
        x = torch.linspace(*one.boundary, one.training_size, dtype=torch.float64)[:, None]
        return ensemble, x, two_kinks(x)[:, None]

    @property
    def std(self) -> float:
        """Standard deviation of all initial parameters."""
        return float(self.width) ** -(self.t if self.convention == "std" else self.t / 2)

    def _grid(self) -> Any:
        """Points at which outputs are kept for the figure."""
        return np.linspace(self.boundary[0] - 0.5, self.boundary[1] + 0.5, 301)

    def _optimizer(self) -> Any:
        from theodolite.train import Adam

        return Adam(eps=self.eps) if self.optimizer.lower() == "adam" else self.optimizer

    def _looks(self) -> list[int]:
        """Log-spaced epochs, at least twenty of them where there are as many."""
        for per_decade in range(10, 500, 5):
            looks = log_spaced(per_decade).looks(self.epochs)
            if len(looks) >= min(20, self.epochs + 1):
                return looks
        return list(range(self.epochs + 1))

    def _warn(self, ensemble: Ensemble, rows: slice, x: Tensor, y: Tensor) -> None:
        """Warn where the arithmetic, not the theory, would decide what is seen."""
        typical, output = gradient_scale(ensemble, self.activation, x, y, rows)
        if self.optimizer.lower() == "adam" and typical < self.eps:
            warnings.warn(
                f"Adam's eps = {self.eps:.0e} exceeds the typical gradient {typical:.1e} at the start: Adam then is momentum "
                f"descent of rate lr/eps and hardly moves; use eps of at most {typical * 1e-2:.0e}, a larger initialisation, or "
                "gradient descent",
                TheodoliteWarning,
                stacklevel=5,
            )
        if self.dtype == "float32" and (typical < FLOAT32_GRADIENT or output < FLOAT32_OUTPUT):
            warnings.warn(
                f"float32 is under its resolution here: |f|/|y| = {output:.1e} is lost in f − y below 1e-5, gradients are about "
                f"{typical:.1e}; use dtype='float64'",
                TheodoliteWarning,
                stacklevel=5,
            )

    def _dataset(self, data: xr.Dataset, x: Tensor, y: Tensor, snapshots: list[int]) -> xr.Dataset:
        import xarray as xr

        looks = data["look"].values
        at = [int(np.flatnonzero(looks == s)[0]) for s in snapshots]
        place = scaling_exponents(self.std, self.std, 1.0, self.width) if self.width > 1 else None
        neurons = data["neurons"].values[:, at]  # (seed, snapshot, neuron, 3): w, b, a
        run, kept = ("seed", "epoch"), ("seed", "snapshot", "neuron")
        length = np.hypot(neurons[..., 0], neurons[..., 1])
        spread = self._grid()
        return xr.Dataset(
            {
                "loss": (run, data["train_loss"].values, {"description": "mean (f − y)² on the training points"}),
                "test_loss": (run, data["test_loss"].values, {"description": "mean (f − y)² on the test points"}),
                "relative_distance": (run, data["relative_distance"].values, {"description": "of (w, b) from the start"}),
                "relative_distance_a": (run, data["relative_distance_a"].values, {"description": "of a from the start"}),
                "orientation_entropy": (run, data["orientation_entropy"].values, {"description": "by amplitude, 1: spread out"}),
                "orientation": (kept, np.arctan2(neurons[..., 1], neurons[..., 0]), {"units": "rad"}),
                "amplitude": (kept, np.abs(neurons[..., 2]) * length, {"description": "|a| ‖(w, b)‖"}),
                "outgoing_sign": (kept, np.sign(neurons[..., 2])),
                "output": (("seed", "snapshot", "position"), data["output"].values[:, at]),
                "target": ("position", two_kinks(torch.from_numpy(spread)[:, None]).numpy()),
                "training_y": ("training_x", y[:, 0].numpy()),
                "status": ("seed", data["status"].values, {"description": "running, or diverged"}),
                "stopped_at": ("seed", data["stopped_at"].values, {"description": "epoch of divergence; −1: none"}),
            },
            {
                "seed": list(self.seeds),
                "epoch": looks,
                "snapshot": snapshots,
                "neuron": np.arange(self.width),
                "position": spread,
                "training_x": x[:, 0].numpy(),
            },
            {
                "gamma": float("nan") if place is None else place.gamma,
                "gamma_prime": float("nan") if place is None else place.gamma_prime,
                "regime": "undefined" if place is None else regime(*place),
            },
        )


def gradient_scale(ensemble: Ensemble, activation: str, x: Tensor, y: Tensor, rows: slice = slice(None)) -> tuple[float, float]:
    """Median |∂ loss/∂ parameter| and median |f|/max |y| of some members of a two-layer ensemble, in float64."""
    w = ensemble.weights("hidden1")[rows].detach().cpu().double().requires_grad_()  # (E, m, D)
    a = ensemble.parameters["output.weight"][rows].detach().cpu().double().requires_grad_()  # (E, 1, m)
    inputs = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    with torch.enable_grad():
        f = (a @ find_activation(activation)(w @ inputs.T)).squeeze(1)  # (E, N)
        loss = (f - y[:, 0]).square().mean(1).sum()
        gradients = torch.autograd.grad(loss, (w, a))
    typical = float(torch.cat([g.flatten() for g in gradients]).abs().median())
    return typical, float(f.detach().abs().median() / y.abs().max().clamp_min(1e-300))


def _first_layer(view: View) -> tuple[Tensor, Tensor, Tensor]:
    """Weights now and at the start (E, m, 2), and which members are finite (E,)."""
    now, start = view.show("weights", 0), view.show("initial_weights", 0)
    fine = torch.isfinite(now).flatten(1).all(1) & torch.isfinite(view.show("amplitudes", 0)).all(1)
    return torch.where(fine[:, None, None], now, start), start, fine


def _distance(view: View) -> Tensor:
    now, start, fine = _first_layer(view)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TheodoliteWarning)  # the run's own warning has spoken of float32
        return torch.where(fine, relative_distance(now, start), float("nan"))


def _outer_distance(view: View) -> Tensor:
    now, start = view.parameters["output.weight"].double(), view.initial["output.weight"].double()
    return ((now - start).flatten(1).norm(dim=1)) / start.flatten(1).norm(dim=1)


def _entropy(view: View) -> Tensor:
    now, _, fine = _first_layer(view)
    amplitudes = torch.where(fine[:, None], view.show("amplitudes", 0).double(), 1.0)
    return torch.where(fine, orientation_entropy(now, amplitudes), float("nan"))


class _Snapshots:
    """(w, b, a) of every neuron at chosen epochs, NaN elsewhere; (E, m, 3)."""

    def __init__(self, epochs: list[int]) -> None:
        self.epochs = set(epochs)

    def __call__(self, view: View) -> Tensor:
        now, a = view.show("weights", 0).double(), view.parameters["output.weight"].double()
        state = torch.cat([now, a.mT], 2)
        return state if view.step in self.epochs else torch.full_like(state, float("nan"))


class _Outputs:
    """f on a grid at chosen epochs, NaN elsewhere; (E, P)."""

    def __init__(self, epochs: list[int], grid: Tensor) -> None:
        self.epochs, self.grid = set(epochs), grid[:, None]

    def __call__(self, view: View) -> Tensor:
        if view.step not in self.epochs:
            return torch.full((len(view.ensemble), len(self.grid)), float("nan"), dtype=torch.float64)
        return view.ensemble.forward(self.grid)[..., 0].double()
