"""The phase diagram of two-layer ReLU networks: S_w over (γ, γ′)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from theodolite.core.errors import ArgumentError
from theodolite.core.experiment import Experiment
from theodolite.theory.condensation.experiments.flow import FlowResult, draw_start, train_many
from theodolite.theory.condensation.predict.coordinates import (
    NAMED_INITIALISATIONS,
    boundary_distance,
    regime,
    relative_distance_exponent,
)

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["PhaseDiagram"]


@dataclass(frozen=True)
class PhaseDiagram(Experiment):
    """S_w, the slope of log RD over log m, over the plane (γ, γ′): below zero linear, zero critical, above zero condensed.

    Two-layer ReLU networks of several widths are trained to convergence by gradient descent in normalised coordinates, from the
    same A, V ~ N(0, 1) in all cells (common random numbers), on four points of the target with two kinks.

    Attributes:
        gamma: values of γ, or one.
        gamma_prime: values of γ′, or one.
        widths: at least two widths m.
        seeds: seeds; S_w is the mean of the seeds' slopes.
        x: one-dimensional inputs.
        y: targets; None: 0.2 relu(x − 1/3) + 0.2 relu(−x − 1/3).
        antisymmetric: start at f = 0 by pairs of neurons with opposite outgoing weights (otherwise f₀ ~ m^(1/2−γ)).
        tolerance: mean e² at the end, as a share of mean y².
        steps: most steps per network.
        growth: largest relative movement of A or V in one step.
        workers: threads; 1 by default, as everywhere.
    """

    gamma: tuple[float, ...] = tuple(np.linspace(0.3, 2.3, 21).round(6).tolist())
    gamma_prime: tuple[float, ...] = tuple(np.linspace(-1.0, 1.0, 21).round(6).tolist())
    widths: tuple[int, ...] = (256, 1024, 4096)
    seeds: tuple[int, ...] = tuple(range(8))
    x: tuple[float, ...] = (-1.0, -1 / 3, 1 / 3, 1.0)
    y: tuple[float, ...] | None = None
    antisymmetric: bool = True
    tolerance: float = 1e-5
    steps: int = 20_000
    growth: float = 0.1
    workers: int = 1

    reference: ClassVar[str] = "luo2021 Fig. 3"
    small: ClassVar[Mapping[str, Any]] = {
        "gamma": (0.5, 1.0, 1.5, 2.0),
        "gamma_prime": (-0.5, 0.0, 0.5, 1.0),
        "widths": (64, 256, 1024),
        "seeds": (0, 1),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gamma", "gamma_prime", "x"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        widths = self.widths
        if len(set(widths)) < 2 or min(widths) < 2:
            raise ArgumentError(f"widths must be at least two different whole numbers ≥ 2 (a slope needs two), got {widths!r}")
        if self.antisymmetric and any(m % 2 for m in widths):
            raise ArgumentError(f"widths must be even when antisymmetric=True (neurons come in pairs), got {widths!r}")
        if not (self.tolerance > 0 and self.growth > 0 and self.steps > 0):
            raise ArgumentError("tolerance, growth and steps must be positive")
        targets = self._targets()
        if not np.isfinite(targets).all() or not np.isfinite(self.x).all() or len(targets) != len(self.x):
            raise ArgumentError(f"x and y must be finite and of equal length, got {self.x!r} and {self.y!r}")

    def _targets(self) -> Any:
        if self.y is not None:
            return np.asarray(self.y, dtype=np.float64)
        x = np.asarray(self.x, dtype=np.float64)
        return 0.2 * np.maximum(x - 1 / 3, 0) + 0.2 * np.maximum(-x - 1 / 3, 0)

    @property
    def shape(self) -> tuple[object, ...]:
        """What experiments must share to be trained together; γ and γ′ may differ."""
        names = ("widths", "seeds", "x", "y", "antisymmetric", "tolerance", "steps", "growth", "workers")
        return tuple(getattr(self, name) for name in names)

    def measure(self) -> xr.Dataset:
        """Train every network and fit the slopes."""
        return self.measure_many([self])[0]

    @classmethod
    def measure_many(cls, experiments: Sequence[PhaseDiagram]) -> list[xr.Dataset]:
        """The datasets of experiments of one ``shape``: initial parameters are drawn once, and threads share all networks."""
        one = experiments[0]
        x = np.stack([np.asarray(one.x, dtype=np.float64), np.ones(len(one.x))], 1)
        starts = {(m, s): draw_start(m, 2, s, one.antisymmetric) for m in one.widths for s in one.seeds}
        jobs = [
            (starts[m, s], float(m) ** -g, float(m) ** -p)
            for e in experiments
            for g in e.gamma
            for p in e.gamma_prime
            for m in one.widths
            for s in one.seeds
        ]
        results = iter(train_many(jobs, x, one._targets(), one.growth, one.tolerance, one.steps, one.workers))
        return [e._dataset(list(itertools.islice(results, e._count))) for e in experiments]

    @property
    def _count(self) -> int:
        return len(self.gamma) * len(self.gamma_prime) * len(self.widths) * len(self.seeds)

    def _dataset(self, results: list[FlowResult]) -> xr.Dataset:
        """Labels for the results, in the order of γ, γ′, width and seed."""
        import xarray as xr

        shape = (len(self.gamma), len(self.gamma_prime), len(self.widths), len(self.seeds))
        distance = np.array([r.distance_w for r in results]).reshape(shape)
        slopes = self._slopes(distance)
        plane, run = ("gamma", "gamma_prime"), ("gamma", "gamma_prime", "width", "seed")
        g, p = np.array(self.gamma)[:, None], np.array(self.gamma_prime)[None, :]
        error = slopes.std(-1, ddof=1) / np.sqrt(len(self.seeds)) if len(self.seeds) > 1 else np.full(shape[:2], np.nan)
        return xr.Dataset(
            {
                "S_w": (plane, slopes.mean(-1), {"description": "slope of log RD over log m, mean over seeds"}),
                "S_w_error": (plane, error, {"description": "standard error of S_w over seeds"}),
                "relative_distance": (run, distance, {"description": "‖θ_w − θ_w(0)‖ / ‖θ_w(0)‖ at the end"}),
                "relative_distance_a": (run, np.array([r.distance_a for r in results]).reshape(shape)),
                "steps": (run, np.array([r.steps for r in results]).reshape(shape)),
                "loss": (run, np.array([r.loss for r in results]).reshape(shape), {"description": "½·mean (f − y)² at the end"}),
                "converged": (run, np.array([r.converged for r in results]).reshape(shape)),
                "regime": (plane, regime(g, p), {"description": "of the theorem"}),
                "boundary_distance": (plane, boundary_distance(g, p), {"description": "signed, positive when condensed"}),
                "exponent": (plane, relative_distance_exponent(g, p), {"description": "S of the balance argument"}),
                "named_gamma": ("initialisation", [c.gamma for c in NAMED_INITIALISATIONS.values()]),
                "named_gamma_prime": ("initialisation", [c.gamma_prime for c in NAMED_INITIALISATIONS.values()]),
            },
            {
                "gamma": list(self.gamma),
                "gamma_prime": list(self.gamma_prime),
                "width": list(self.widths),
                "seed": list(self.seeds),
                "initialisation": list(NAMED_INITIALISATIONS),
            },
        )

    def _slopes(self, distance: Any) -> Any:
        """Slopes of log RD over log m, (γ, γ′, seed)."""
        log_m = np.log(np.asarray(self.widths, dtype=np.float64))
        centred = log_m - log_m.mean()
        return np.einsum("gpws,w->gps", np.log(np.maximum(distance, 1e-300)), centred) / (centred**2).sum()
