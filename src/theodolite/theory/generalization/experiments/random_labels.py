"""Networks that fit anything: true, corrupted and random labels, destroyed images; norms; explicit memorisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from theodolite.core.errors import unknown
from theodolite.core.experiment import Experiment
from theodolite.core.schedule import log_spaced
from theodolite.core.seed import generator
from theodolite.data.digits import Split
from theodolite.draw.progress import progress
from theodolite.theory.generalization.construct.memorize import memorize
from theodolite.theory.generalization.experiments.classification import CLASSES, corrupted, load
from theodolite.theory.generalization.measure.norms import norms
from theodolite.train import Ensemble, MLPSpec

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["VARIANTS", "Memorization", "NormGrowth", "RandomLabels", "variant"]

#: What may be done to a data set before training on it.
VARIANTS = ("true", "partial", "random", "shuffled_pixels", "random_pixels", "gaussian")


def variant(split: Split, name: str, seed: int, fraction: float = 0.5) -> Split:
    """A data set with its labels or images destroyed, training and test part alike where it is the images.

    ``true``: as it is. ``partial``: each label replaced with probability ``fraction`` by a random one. ``random``: all labels
    random. ``shuffled_pixels``: one fixed permutation of the pixels for all images. ``random_pixels``: another permutation for
    each image. ``gaussian``: images of independent normal pixels with the data's mean and deviation. Test labels stay true.

    Raises:
        UnknownNameError: another name.
    """
    if name not in VARIANTS:
        raise unknown("variant", name, VARIANTS)
    if name in ("partial", "random"):
        return Split(split.x, corrupted(split.y, fraction if name == "partial" else 1.0, seed), split.x_test, split.y_test)
    if name == "true":
        return split
    source, d = generator(seed, "variant", name), split.x.shape[1]
    if name == "shuffled_pixels":
        order = torch.randperm(d, generator=source)
        return Split(split.x[:, order], split.y, split.x_test[:, order], split.y_test)
    if name == "random_pixels":
        parts = [x.gather(1, torch.rand(x.shape, generator=source).argsort(1)) for x in (split.x, split.x_test)]
    else:
        mean, std = float(split.x.mean()), float(split.x.std())
        parts = [mean + std * torch.randn(x.shape, generator=source, dtype=x.dtype) for x in (split.x, split.x_test)]
    return Split(parts[0], split.y, parts[1], split.y_test)


@dataclass(frozen=True)
class RandomLabels(Experiment):
    """The same network and optimiser on true, partially corrupted and random labels, shuffled and random pixels, Gaussian inputs.

    Attributes:
        data: ``"digits"`` or ``"mnist"``.
        variants: names among `VARIANTS`.
        partial: probability of a random label in ``partial``.
        samples: n.
        test_samples: number of test samples, as far as there are.
        hidden: hidden widths.
        steps: full-batch steps.
        learning_rate: of Adam.
        seeds: repetitions.
        per_decade: looks per decade of steps.
    """

    data: str = "digits"
    variants: tuple[str, ...] = VARIANTS
    partial: float = 0.5
    samples: int = 1000
    test_samples: int = 797
    hidden: tuple[int, ...] = (512,)
    steps: int = 3000
    learning_rate: float = 1e-3
    seeds: int = 3
    per_decade: int = 8

    reference: ClassVar[str] = "zhang2017 Table 1, Fig. 1"
    small: ClassVar[Mapping[str, Any]] = {"samples": 100, "test_samples": 200, "hidden": (128,), "steps": 400, "seeds": 1}

    def measure(self) -> xr.Dataset:
        """Loss and errors over (variant, seed, step); norms at the end over (variant, seed)."""
        import xarray as xr

        splits = [
            variant(load(self.data, self.samples, self.test_samples, s, torch.float32), name, s, self.partial)
            for name in self.variants
            for s in range(self.seeds)
        ]
        x, y, x_test, y_test = (torch.stack([getattr(s, part) for s in splits]) for part in ("x", "y", "x_test", "y_test"))
        ensemble = Ensemble(
            MLPSpec((x.shape[-1], *self.hidden, CLASSES), "relu"),
            len(splits),
            dtype=torch.float32,
            seed=[s for _ in self.variants for s in range(self.seeds)],
        )
        start = [ensemble.member(e) for e in range(len(splits))]
        looks = log_spaced(self.per_decade).looks(self.steps)

        def errors(view: Any) -> np.ndarray:
            pairs = ((x, y), (x_test, y_test))
            return torch.stack([(view.ensemble.forward(a).argmax(-1) != b).double().mean(-1) for a, b in pairs], 1).numpy()

        record = ensemble.train(
            x,
            y,
            steps=self.steps,
            loss="cross_entropy",
            optimizer="adam",
            lr=self.learning_rate,
            curve=False,
            schedule=looks,
            probes={"errors": errors},
            progress=True,
        )
        shape = (len(self.variants), self.seeds)
        curves = record.data["errors"].values.reshape(*shape, len(looks), 2)
        dims = ("variant", "seed", "step")
        data: dict[str, Any] = {
            "train_loss": (dims, record.data["train_loss"].values.reshape(*shape, len(looks)), {"description": "cross-entropy"}),
            "train_error": (dims, curves[..., 0], {"description": "fraction of wrong training labels"}),
            "test_error": (dims, curves[..., 1], {"description": "fraction of wrong (true) test labels"}),
            **_norms_at_end(ensemble, start, shape),
        }
        coords = {"variant": list(self.variants), "seed": range(self.seeds), "step": looks}
        return xr.Dataset(data, coords=coords, attrs={"samples": self.samples, "hidden": list(self.hidden)})


def _norms_at_end(ensemble: Ensemble, start: list[torch.nn.Module], shape: tuple[int, int]) -> dict[str, Any]:
    """Norms of every member over (variant, seed)."""
    rows = [norms(ensemble.member(e), first) for e, first in enumerate(start)]
    abouts = {
        "frobenius": "‖θ‖ after training",
        "distance_from_init": "‖θ − θ₀‖",
        "spectral_product": "product of the layers' spectral norms",
        "path": "ℓ2 path norm",
    }
    return {
        name: (("variant", "seed"), np.array([getattr(row, name) for row in rows]).reshape(shape), {"description": about})
        for name, about in abouts.items()
    }


@dataclass(frozen=True)
class NormGrowth(Experiment):
    """Training goes on long after all labels are fitted: the norm grows, the loss falls, the validation loss rises.

    Attributes:
        data: ``"digits"`` or ``"mnist"``.
        samples: n.
        test_samples: number of test samples, as far as there are.
        hidden: hidden widths.
        steps: full-batch steps of gradient descent with momentum.
        learning_rate: of gradient descent.
        momentum: its momentum.
        seeds: repetitions.
        per_decade: looks per decade of steps.
    """

    data: str = "digits"
    samples: int = 1000
    test_samples: int = 797
    hidden: tuple[int, ...] = (128,)
    steps: int = 100_000
    learning_rate: float = 0.2
    momentum: float = 0.9
    seeds: int = 2
    per_decade: int = 8

    reference: ClassVar[str] = "soudry2018 Table 1"
    small: ClassVar[Mapping[str, Any]] = {"samples": 100, "test_samples": 200, "hidden": (32,), "steps": 3000, "seeds": 1}

    def measure(self) -> xr.Dataset:
        """Norms, losses and errors over (seed, step)."""
        import xarray as xr

        from theodolite.train import SGD

        splits = [load(self.data, self.samples, self.test_samples, s) for s in range(self.seeds)]
        x, y, x_test, y_test = (torch.stack([getattr(s, part) for s in splits]) for part in ("x", "y", "x_test", "y_test"))
        ensemble = Ensemble(MLPSpec((x.shape[-1], *self.hidden, CLASSES), "relu"), self.seeds, seed=list(range(self.seeds)))
        looks = log_spaced(self.per_decade).looks(self.steps)

        def look(view: Any) -> np.ndarray:
            out, out_test = view.ensemble.forward(x), view.ensemble.forward(x_test)
            top = out.topk(2, dim=-1)
            right = out.argmax(-1) == y
            margin = torch.where(right, top.values[..., 0] - top.values[..., 1], top.values[..., 1] - top.values[..., 0])
            loss = torch.stack([torch.nn.functional.cross_entropy(o, t) for o, t in zip(out_test, y_test, strict=True)])
            squares = sum(p.flatten(1).square().sum(1) for p in view.parameters.values())
            columns = (~right).double().mean(-1), (out_test.argmax(-1) != y_test).double().mean(-1), loss, squares.sqrt()
            return torch.stack([*columns, margin.amin(-1)], 1).numpy()

        record = ensemble.train(
            x,
            y,
            steps=self.steps,
            loss="cross_entropy",
            optimizer=SGD(momentum=self.momentum),
            lr=self.learning_rate,
            curve=False,
            schedule=looks,
            probes={"measured": look},
            progress=True,
        )
        values = record.data["measured"].values  # (seed, look, 5)
        abouts = {
            "train_error": "fraction of wrong training labels",
            "test_error": "fraction of wrong test labels",
            "test_loss": "cross-entropy on the test set",
            "norm": "‖θ‖",
            "margin": "least margin over the training set, not normalised",
        }
        data: dict[str, Any] = {
            name: (("seed", "step"), values[..., i], {"description": about}) for i, (name, about) in enumerate(abouts.items())
        }
        data["train_loss"] = (("seed", "step"), record.data["train_loss"].values, {"description": "cross-entropy"})
        return xr.Dataset(data, coords={"seed": range(self.seeds), "step": looks}, attrs={"samples": self.samples})


@dataclass(frozen=True)
class Memorization(Experiment):
    """The construction with 2n + d weights on random labels, and what it does between the points.

    Attributes:
        data: ``"digits"`` or ``"mnist"``.
        samples: numbers of points n.
        test_samples: number of test samples, as far as there are.
        seeds: repetitions.
    """

    data: str = "digits"
    samples: tuple[int, ...] = (10, 30, 100, 300, 1000)
    test_samples: int = 797
    seeds: int = 5

    reference: ClassVar[str] = "zhang2017 Thm 1"
    small: ClassVar[Mapping[str, Any]] = {"samples": (10, 50), "test_samples": 100, "seeds": 2}

    def measure(self) -> xr.Dataset:
        """Largest error, wrong labels, number of weights and norm over (labels, samples, seed); test error with true labels."""
        import xarray as xr

        names = ("largest_error", "train_error", "test_error", "weights", "norm", "points")
        found = np.full((len(names), 2, len(self.samples), self.seeds), np.nan)
        runs = [(i, s) for i in range(len(self.samples)) for s in range(self.seeds)]
        for i, s in progress(runs, "memorising", total=len(runs)):
            split = load(self.data, self.samples[i], self.test_samples, s)
            for k, labels in enumerate((split.y, corrupted(split.y, 1.0, s))):
                net = memorize(split.x, labels)
                with torch.no_grad():
                    out, out_test = net(split.x), net(split.x_test)
                weights = [p.detach() for p in net.parameters()]
                found[:, k, i, s] = (
                    float((out - labels).abs().max()),
                    float((out.round() != labels).double().mean()),
                    float((out_test.round() != split.y_test).double().mean()),
                    sum(p.numel() for p in weights),
                    float(sum(p.square().sum() for p in weights) ** 0.5),
                    len(net.b),
                )
        abouts = {
            "largest_error": "largest |c(x_i) − y_i|",
            "train_error": "fraction of training labels not recovered by rounding",
            "test_error": "fraction of true test labels missed",
            "weights": "number of weights",
            "norm": "‖θ‖",
            "points": "distinct points",
        }
        data = {name: (("labels", "samples", "seed"), found[i], {"description": abouts[name]}) for i, name in enumerate(names)}
        coords = {"labels": ["true", "random"], "samples": list(self.samples), "seed": range(self.seeds)}
        dimension = int(load(self.data, 10, 1, 0).x.shape[1])
        return xr.Dataset(data, coords=coords, attrs={"dimension": dimension})
