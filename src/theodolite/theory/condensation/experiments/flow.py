"""Gradient descent on two-layer ReLU networks in normalised coordinates: the whole phase diagram without under- or overflow.

With a = β₁A, w = β₂V and time in units of 1/(β₁β₂) the gradient flow of ½·mean (f − y)² depends on κ = β₁β₂/α and κ′ = β₁/β₂
alone (ReLU is 1-homogeneous):

    f = κ Σ A σ(V·x),   A′ = −(κ/κ′) mean_i e_i σ(V·x_i),   V′ = −κκ′ mean_i e_i A σ′(V·x_i) x_i,   A, V ~ N(0, 1) at the start.

The state is the displacement from the start, so that relative distances of 1e-10 keep their digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from theodolite.draw.progress import progress

__all__ = ["FlowResult", "Start", "draw_start", "train_many"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Start:
    """Normalised initial parameters: A (m,) and V (D, m)."""

    a: Array
    v: Array


@dataclass(frozen=True)
class FlowResult:
    """End of one run: relative distances of V and of A, steps taken, loss ½·mean e², whether it reached the tolerance."""

    distance_w: float
    distance_a: float
    steps: int
    loss: float
    converged: bool


def draw_start(width: int, dimension: int, seed: int, antisymmetric: bool) -> Start:
    """A, V ~ N(0, 1), the same for all cells of a diagram; antisymmetric: the second half repeats the first with −A, so f = 0.

    The stream depends on the seed alone: neuron k is the same at every width.
    """
    import torch

    from theodolite.core.seed import generator

    drawn = width // 2 if antisymmetric else width
    # Blocks of their own streams: the first rows of a long draw are not those of a short one.
    blocks = [
        torch.randn(256, dimension + 1, generator=generator(seed, "condensation.phase_diagram", b), dtype=torch.float64)
        for b in range(-(-drawn // 256))
    ]
    rows = torch.cat(blocks)[:drawn].numpy()
    a, v = rows[:, 0], rows[:, 1:]
    if antisymmetric:
        a, v = np.concatenate([a, -a]), np.concatenate([v, v])
    return Start(np.ascontiguousarray(a), np.ascontiguousarray(v.T))


def train_many(
    jobs: Sequence[tuple[Start, float, float]], x: Array, y: Array, growth: float, tolerance: float, steps: int, workers: int
) -> list[FlowResult]:
    """Train every (start, κ, κ′) until mean e² ≤ tolerance · mean y², in threads (the kernel releases the interpreter).

    The step is 1/tr K of the current tangent kernel K, so that it never exceeds 1/λ_max, and at most what moves A or V by a
    share ``growth`` of its norm: a longer one would jump over the alignment of small initialisations.
    """
    from theodolite.theory.condensation.experiments.flow_kernel import descend

    floor = tolerance * float(np.mean(y**2))

    def one(job: tuple[Start, float, float]) -> FlowResult:
        start, kappa, kappa_prime = job
        w, a, taken, loss, done = descend(start.a, start.v, x, y, kappa, kappa_prime, growth, floor, steps)
        return FlowResult(float(w), float(a), int(taken), float(loss) / 2, bool(done))

    # The slowest first, so that no thread is left alone with a wide network at the end.
    order = sorted(range(len(jobs)), key=lambda k: -len(jobs[k][0].a))
    results: list[FlowResult | None] = [None] * len(jobs)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for k, result in zip(order, progress(pool.map(one, [jobs[k] for k in order]), "networks", len(jobs)), strict=True):
            results[k] = result
    return [result for result in results if result is not None]
