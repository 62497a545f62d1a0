"""Double descent of random features on digits and MNIST."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from theodolite.core.errors import ArgumentError
from theodolite.core.experiment import Experiment
from theodolite.core.seed import child_seed
from theodolite.draw.progress import progress
from theodolite.maths.nestedleastsquares import nested_least_squares
from theodolite.theory.generalization.construct.random_features import random_features
from theodolite.theory.generalization.experiments.classification import corrupted, load, one_hot
from theodolite.theory.generalization.predict.random_features_risk import random_features_risk

if TYPE_CHECKING:
    import xarray as xr

    from theodolite.data.digits import Split

__all__ = ["DoubleDescentFeatures"]

_MEASURED = {
    "train_mse": "mean over training samples of the squared error, summed over the ten outputs",
    "test_mse": "the same on clean test samples",
    "test_error": "fraction of test samples misclassified",
    "norm": "Frobenius norm of the coefficients",
}


@dataclass(frozen=True)
class DoubleDescentFeatures(Experiment):
    """Test error of least squares on N random features against N/n, through the interpolation threshold N = n.

    Attributes:
        data: ``"digits"``, or ``"mnist"`` (with ``samples=10_000, test_samples=10_000, feature_scale=0.2`` for the paper's size).
        kinds: kinds of random features.
        samples: n.
        test_samples: number of test samples, as far as there are.
        ratios: N/n.
        feature_scale: of the random directions, in units of pixels in [0, 1].
        label_noise: probabilities that a training label is replaced by a random one.
        ridges: λ of the penalty λ‖a‖² on the summed squared error; 0 is least squares of least norm.
        seeds: repetitions; each has its own split, features and label noise.
    """

    data: str = "digits"
    kinds: tuple[str, ...] = ("fourier", "cosine", "relu")
    samples: int = 400
    test_samples: int = 1397
    ratios: tuple[float, ...] = (
        *(0.05, 0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.975, 1.0, 1.025, 1.05, 1.1, 1.2, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0),
    )
    feature_scale: float = 0.5
    label_noise: tuple[float, ...] = (0.0, 0.1)
    ridges: tuple[float, ...] = (0.0, 0.01, 1.0)
    seeds: int = 5

    reference: ClassVar[str] = "belkin2019 Fig. 2, Fig. 4"
    small: ClassVar[Mapping[str, Any]] = {
        "samples": 100,
        "test_samples": 300,
        "seeds": 2,
        "kinds": ("fourier", "cosine"),
        "ratios": (0.25, 0.5, 0.9, 1.0, 1.1, 2.0, 10.0),
        "ridges": (0.0, 0.01),
    }

    def measure(self) -> xr.Dataset:
        """Curves over (kind, label_noise, ridge, seed, ratio), and the theory's for kinds with a known kernel."""
        import xarray as xr

        dims = ("kind", "label_noise", "ridge", "seed", "ratio")
        shape = (len(self.kinds), len(self.label_noise), len(self.ridges), self.seeds, len(self.ratios))
        found = {name: np.full(shape, np.nan) for name in _MEASURED}
        rank = np.zeros((len(self.kinds), self.seeds, len(self.ratios)), dtype=np.int64)
        runs = [(k, s) for k in range(len(self.kinds)) for s in range(self.seeds)]
        for k, s in progress(runs, "double descent", total=len(runs)):
            split = load(self.data, self.samples, self.test_samples, s)
            count, seed = max(self.widths), child_seed(s, "features", self.kinds[k])
            features = [
                random_features(x.numpy(), count, kind=self.kinds[k], scale=self.feature_scale, generator=seed)
                for x in (split.x, split.x_test)
            ]
            for r in range(len(self.ridges)):
                self._sweep(found, rank, (k, r, s), features, split)
        data: dict[str, Any] = {name: (dims, found[name], {"description": about}) for name, about in _MEASURED.items()}
        data["rank"] = (
            ("kind", "seed", "ratio"),
            rank,
            {"description": "numerical rank of the features on the training samples"},
        )
        data["theory_test_mse"] = (
            ("kind", "ridge", "ratio"),
            self._theory(),
            {"description": "deterministic equivalent, clean labels"},
        )
        coords = {
            "kind": list(self.kinds),
            "label_noise": list(self.label_noise),
            "ridge": list(self.ridges),
            "seed": range(self.seeds),
            "ratio": ("ratio", list(self.ratios), {"description": "features per training sample, N/n"}),
        }
        return xr.Dataset(data, coords=coords, attrs={"samples": self.samples, "data": self.data})

    @property
    def widths(self) -> list[int]:
        """N for every ratio."""
        if not all(0 < ratio < np.inf for ratio in self.ratios):
            raise ArgumentError(f"ratios N/n must be positive and finite, got {self.ratios}")
        return [max(1, round(ratio * self.samples)) for ratio in self.ratios]

    def _sweep(
        self,
        found: dict[str, np.ndarray],
        rank: np.ndarray,
        where: tuple[int, int, int],
        features: list[np.ndarray],
        split: Split,
    ) -> None:
        """All widths and all levels of label noise of one factorisation; the levels are further right-hand sides."""
        (k, r, s), (train, test) = where, features
        targets = _noisy_targets(split, self.label_noise, s)
        levels, classes = len(self.label_noise), targets.shape[1] // len(self.label_noise)
        clean = one_hot(split.y_test).numpy()
        widths = np.array(self.widths)  # of a small set two ratios may round to one width
        for solution in nested_least_squares(train, targets, sorted(set(self.widths)), ridge=self.ridges[r]):
            a = solution.coefficients
            fitted = (train[:, : solution.width] @ a).real - targets
            predicted = (test[:, : solution.width] @ a).real.reshape(len(test), levels, classes)
            values = {
                "train_mse": (fitted**2).reshape(len(train), levels, classes).sum(2).mean(0),
                "test_mse": ((predicted - clean[:, None]) ** 2).sum(2).mean(0),
                "test_error": (predicted.argmax(2) != clean.argmax(1)[:, None]).mean(0),
                "norm": np.linalg.norm(a.reshape(len(a), levels, classes), axis=(0, 2)),
            }
            for i in np.flatnonzero(widths == solution.width):
                for name, value in values.items():
                    found[name][k, :, r, s, i] = value
                rank[k, s, i] = solution.rank

    def _theory(self) -> np.ndarray:
        """Deterministic equivalent over (kind, ridge, ratio) from the kernel on all images; NaN where no kernel is known here."""
        out = np.full((len(self.kinds), len(self.ridges), len(self.ratios)), np.nan)
        if "cosine" not in self.kinds or self.data != "digits":
            return out
        pool = load(self.data, 1796, 1, 0)
        x, y = pool.x.numpy(), one_hot(pool.y).numpy()
        eigenvalues, vectors = np.linalg.eigh(np.exp(-(self.feature_scale**2) * _distances2(x) / 2) / len(x))
        kept = eigenvalues > 1e-13 * eigenvalues[-1]
        energy = ((vectors[:, kept].T @ y) ** 2).sum(1) / len(x)
        share = self.samples / len(x)
        for r, ridge in enumerate(self.ridges):
            risk = random_features_risk(eigenvalues[kept], energy, self.samples, np.array(self.widths), ridge=ridge)
            # The measure of the theory is uniform on all images, of which the training samples are a part: the test error is
            # that on the others.
            out[self.kinds.index("cosine"), r] = (risk.test_mse - share * risk.train_mse) / (1 - share)
        return out


def _noisy_targets(split: Split, levels: tuple[float, ...], seed: int) -> np.ndarray:
    """One-hot targets of every level of label noise, side by side, (n, levels · 10)."""
    return np.hstack([one_hot(corrupted(split.y, level, seed)).numpy() for level in levels])


def _distances2(x: np.ndarray) -> np.ndarray:
    """Squared distances of all pairs of rows, (M, M)."""
    from scipy.spatial.distance import pdist, squareform

    return squareform(pdist(x, "sqeuclidean"))
