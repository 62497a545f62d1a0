"""The statements of the theory on random instances: by how much does each inequality hold?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from theodolite.core.experiment import Experiment
from theodolite.maths.interpolative import interpolate
from theodolite.theory.rank.predict import approximation_bound, loss_lower_bound, submatrix_bound

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Theorems"]


@dataclass(frozen=True)
class Theorems(Experiment):
    """Lemma 3.1, Theorems 3.2 and 3.3 and the pruning identity on random features of decaying spectrum.

    Every instance draws n, p and features A = U diag(σ) Vᵀ with σ falling over up to six decades. Lemma and Theorem 3.2 are tried over
    all subsets, so n stays small; the identity and Theorem 3.3 need no enumeration.

    Attributes:
        trials: number of random instances.
        samples: N of the features.
        largest: largest n.
        seed: seed of all of them.
    """

    reference: ClassVar[str] = "yang2024"
    small: ClassVar[Mapping[str, Any]] = {"trials": 60}

    trials: int = 500
    samples: int = 24
    largest: int = 9
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Per trial, the ratio of each side: ``lemma`` ≥ 1, ``approximation`` ≤ 1, ``loss_bound`` ≤ 1; ``identity`` is a difference."""
        import xarray as xr

        rng = np.random.default_rng(self.seed)
        rows = [self._trial(rng) for _ in range(self.trials)]
        about = {
            "lemma": "max over row subsets of σ_min(U_J), over the bound 1/√(1+k(n−k))",
            "approximation": "least error over subsets of p neurons, over the bound of Theorem 3.2 at ε = λ_{p+1}",
            "identity": "|error of interpolative pruning − ‖R22 B_J‖| relative to ‖u‖",
            "optimal": "error of interpolative pruning over that of least squares on the same neurons",
            "loss_bound": "lower bound of Theorem 3.3 over the loss, for β on the sphere of radius B",
        }
        return xr.Dataset({k: ("trial", [row[k] for row in rows], {"description": v}) for k, v in about.items()})

    def _trial(self, rng: np.random.Generator) -> dict[str, float]:
        n = int(rng.integers(2, self.largest + 1))
        p = int(rng.integers(1, n))
        left = np.linalg.qr(rng.normal(size=(self.samples, n)))[0]
        right = np.linalg.qr(rng.normal(size=(n, n)))[0]
        sigma = np.sort(10.0 ** -rng.uniform(0, 6, n))[::-1]
        a, beta = left @ np.diag(sigma) @ right.T, rng.normal(size=n)
        u = a @ beta
        basis = right[:, p:]  # n × (n − p), orthonormal columns: the lemma's U with k = n − p
        subsets = list(combinations(range(n), n - p))
        lemma = max(np.linalg.svd(basis[list(j)], compute_uv=False)[-1] for j in subsets) / submatrix_bound(n, n - p)
        errors = [_least_squares_error(a[:, list(i)], u) for i in combinations(range(n), p)]
        bound = approximation_bound(n, p, float(sigma[p] ** 2), float(np.linalg.norm(beta)))
        found = interpolate(a, p)
        dropped = beta[found.dropped]
        pruned = float(np.linalg.norm(a[:, found.dropped] @ dropped - a[:, found.kept] @ found.coefficients @ dropped))
        target = rng.normal(size=self.samples)
        radius = float(np.linalg.norm(beta))
        loss = float(np.sum((u - target) ** 2))
        lower = float(loss_lower_bound(a, target, radius, weights=np.ones(self.samples)))
        best = _least_squares_error(a[:, found.kept], u)
        return {
            "lemma": float(lemma),
            "approximation": min(errors) / bound,
            "identity": abs(pruned - float(np.linalg.norm(found.remainder @ dropped))) / float(np.linalg.norm(u)),
            "optimal": pruned / best if best > 1e-13 else 1.0,
            "loss_bound": lower / loss,
        }


def _least_squares_error(columns: np.ndarray, u: np.ndarray) -> float:
    q = np.linalg.qr(columns)[0]
    return float(np.linalg.norm(u - q @ (q.T @ u)))
