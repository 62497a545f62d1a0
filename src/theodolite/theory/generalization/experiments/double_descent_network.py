"""Double descent of trained two-layer networks, over width and over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from theodolite.core.experiment import Experiment
from theodolite.core.schedule import log_spaced
from theodolite.core.seed import generator
from theodolite.draw.progress import progress
from theodolite.theory.generalization.experiments.classification import CLASSES, corrupted, load, one_hot
from theodolite.train import Ensemble, MLPSpec, side_by_side

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["DoubleDescentNetwork", "Epochwise", "members_data"]


def members_data(
    data: str, samples: int, test_samples: int, members: Sequence[tuple[float, int]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Data of an ensemble of ``members`` (label noise, seed): inputs, noisy one-hot targets, test inputs, clean targets; [E, …]."""
    rows = []
    for level, seed in members:
        split = load(data, samples, test_samples, seed, dtype=torch.float32)
        noisy = one_hot(corrupted(split.y, level, seed), torch.float32)
        rows.append((split.x, noisy, split.x_test, one_hot(split.y_test, torch.float32)))
    x, y, x_test, y_test = (torch.stack(column) for column in zip(*rows, strict=True))
    return x, y, x_test, y_test


def _judge(ensemble: Ensemble, x: torch.Tensor, y: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Squared error summed over outputs, and fraction misclassified, per member."""
    out = ensemble.forward(x)
    wrong = out.argmax(-1) != y.argmax(-1)
    return (out - y).square().sum(-1).mean(-1).double().numpy(), wrong.double().mean(-1).numpy()


@dataclass(frozen=True)
class DoubleDescentNetwork(Experiment):
    """Two-layer ReLU networks of growing width, trained to the end with the squared loss, through P = n·K parameters.

    Attributes:
        data: ``"digits"`` or ``"mnist"`` (the paper: n = 4000).
        samples: n.
        test_samples: number of test samples, as far as there are.
        widths: hidden widths H; P = (d + 1)H + (H + 1)K.
        label_noise: probabilities that a training label is replaced by a random one.
        seeds: repetitions; each has its own split, initialisation and label noise. Equal seeds start equally at every noise.
        steps: most full-batch steps.
        target: mean squared error at which a network counts as interpolating, and stops (looked at every 250 steps).
        optimizer: of the engine.
        learning_rate: its rate.
        reuse: below the threshold start from the trained network of the previous width, the new weights drawn from N(0, 0.01)
            (variance), as the paper does; without it every width starts anew.
    """

    data: str = "digits"
    samples: int = 200
    test_samples: int = 1000
    widths: tuple[int, ...] = (2, 5, 10, 15, 20, 24, 27, 30, 35, 45, 70, 120, 250)
    label_noise: tuple[float, ...] = (0.0, 0.1, 0.2)
    seeds: int = 5
    steps: int = 8000
    target: float = 1e-6
    optimizer: str = "adam"
    learning_rate: float = 3e-3
    reuse: bool = False

    reference: ClassVar[str] = "belkin2019 Fig. 3"
    small: ClassVar[Mapping[str, Any]] = {
        "samples": 60,
        "test_samples": 200,
        "widths": (2, 8, 30),
        "seeds": 1,
        "steps": 300,
    }

    @property
    def shape(self) -> tuple[object, ...]:
        """What experiments must share to be trained as one ensemble; rates, levels of noise and seeds may differ."""
        return self.data, self.samples, self.test_samples, self.widths, self.steps, self.target, self.optimizer, self.reuse

    @property
    def members(self) -> list[tuple[float, int]]:
        """(label noise, seed) of every network of one width."""
        return [(level, seed) for level in self.label_noise for seed in range(self.seeds)]

    def measure(self) -> xr.Dataset:
        """Final errors over (label_noise, seed, width)."""
        return self.measure_many([self])[0]

    @classmethod
    def measure_many(cls, experiments: Sequence[DoubleDescentNetwork]) -> list[xr.Dataset]:
        """The datasets of experiments of one ``shape``, the networks of all of them trained side by side."""
        one = experiments[0]
        members = [member for e in experiments for member in e.members]
        rates = [e.learning_rate for e in experiments for _ in e.members]
        x, y, x_test, y_test = members_data(one.data, one.samples, one.test_samples, members)
        seeds = [seed for _, seed in members]
        numbers = side_by_side([len(e.members) for e in experiments])
        rows, counts, previous = [], [], None
        for width in progress(one.widths, "widths"):
            spec = MLPSpec((x.shape[-1], width, CLASSES), "relu")
            ensemble = Ensemble(spec, numbers, dtype=torch.float32, seed=seeds)
            counts.append(sum(int(np.prod(shape)) for shape in spec.parameter_shapes.values()))
            if one.reuse and previous is not None and counts[-1] <= one.samples * CLASSES:
                _inherit(ensemble, previous, seeds)
            run = ensemble.train(
                x,
                y,
                steps=one.steps,
                optimizer=one.optimizer,
                lr=rates,
                curve=False,
                schedule=[*range(0, one.steps, 250), one.steps],
                target_loss=one.target,
            )
            previous = ensemble
            stopped = run.data["stopped_at"].values  # −1: it was trained to the end
            taken = np.where(stopped < 0, one.steps, stopped).astype(float)
            rows.append(np.stack([*_judge(ensemble, x, y), *_judge(ensemble, x_test, y_test), taken]))
        values = np.array(rows)  # (width, name, member)
        ends = np.cumsum([len(e.members) for e in experiments])[:-1]
        return [e._dataset(part, counts) for e, part in zip(experiments, np.split(values, ends, axis=2), strict=True)]

    def _dataset(self, values: np.ndarray, counts: list[int]) -> xr.Dataset:
        """Labels for the results (width, name, member) of one experiment."""
        import xarray as xr

        abouts = {
            "train_mse": "squared error summed over outputs, mean over training samples",
            "train_error": "fraction of training samples misclassified",
            "test_mse": "squared error summed over outputs, mean over clean test samples",
            "test_error": "fraction of test samples misclassified",
            "steps": "steps taken",
        }
        shape = (len(self.widths), len(self.label_noise), self.seeds)
        data: dict[str, Any] = {
            name: (("width", "label_noise", "seed"), values[:, i].reshape(shape), {"description": about})
            for i, (name, about) in enumerate(abouts.items())
        }
        data["parameters"] = (("width",), np.array(counts), {"description": "number of parameters P"})
        coords = {"width": list(self.widths), "label_noise": list(self.label_noise), "seed": range(self.seeds)}
        return xr.Dataset(data, coords=coords, attrs={"threshold": self.samples * CLASSES, "samples": self.samples})


def _inherit(ensemble: Ensemble, previous: Ensemble, seeds: list[int]) -> None:
    """Copy the trained neurons of a narrower ensemble into a wider one, whose other weights become small."""
    for name, value in ensemble.parameters.items():
        old = previous.parameters[name]
        for row, seed in enumerate(seeds):
            fresh = 0.1 * torch.randn(
                value.shape[1:], generator=generator(seed, "reuse", name, value.shape[1]), dtype=value.dtype
            )
            fresh[tuple(slice(0, n) for n in old.shape[1:])] = old[row]
            value[row] = fresh


@dataclass(frozen=True)
class Epochwise(Experiment):
    """Test error of one wide two-layer network over training time, with and without label noise.

    Attributes:
        data: ``"digits"`` or ``"mnist"``.
        samples: n.
        test_samples: number of test samples, as far as there are.
        width: hidden width.
        label_noise: probabilities that a training label is replaced by a random one.
        seeds: repetitions.
        steps: full-batch steps.
        optimizer: of the engine.
        learning_rate: its rate.
        per_decade: looks per decade of steps.
    """

    data: str = "digits"
    samples: int = 300
    test_samples: int = 1000
    width: int = 300
    label_noise: tuple[float, ...] = (0.0, 0.2, 0.4)
    seeds: int = 5
    steps: int = 10_000
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    per_decade: int = 8

    reference: ClassVar[str] = "nakkiran2020 §5"
    small: ClassVar[Mapping[str, Any]] = {"samples": 60, "test_samples": 200, "width": 40, "seeds": 1, "steps": 300}

    def measure(self) -> xr.Dataset:
        """Errors over (label_noise, seed, step)."""
        import xarray as xr

        members = [(level, seed) for level in self.label_noise for seed in range(self.seeds)]
        x, y, x_test, y_test = members_data(self.data, self.samples, self.test_samples, members)
        seeds = [seed for _, seed in members]
        ensemble = Ensemble(MLPSpec((x.shape[-1], self.width, CLASSES), "relu"), len(x), dtype=torch.float32, seed=seeds)
        looks = log_spaced(self.per_decade).looks(self.steps)

        def look(view: Any) -> np.ndarray:
            train, test = _judge(view.ensemble, x, y), _judge(view.ensemble, x_test, y_test)
            return np.stack([*train, *test], axis=1)

        record = ensemble.train(
            x,
            y,
            steps=self.steps,
            optimizer=self.optimizer,
            lr=self.learning_rate,
            curve=False,
            schedule=looks,
            probes={"errors": look},
            progress=True,
        )
        values = record.data["errors"].values.reshape(len(self.label_noise), self.seeds, len(looks), 4)
        names = ("train_mse", "train_error", "test_mse", "test_error")
        data: dict[str, Any] = {
            name: (("label_noise", "seed", "step"), values[..., i], {"description": name.replace("_", " ")})
            for i, name in enumerate(names)
        }
        coords = {"label_noise": list(self.label_noise), "seed": range(self.seeds), "step": looks}
        return xr.Dataset(data, coords=coords, attrs={"samples": self.samples, "width": self.width})
