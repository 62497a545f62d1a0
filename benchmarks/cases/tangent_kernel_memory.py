"""Full tangent kernel of 500 samples and ten outputs, whose Jacobian alone would take 117 gigabytes in float64 (58 in float32)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases._layers import layers_of
from benchmarks.cases.tangent_kernel_wide import jacobian_contraction, kernel_work, mlp, samples, theodolite_kernel
from benchmarks.elsewhere import Elsewhere
from benchmarks.machine import Work

TITLE = "NTK of an MLP 784-1024³-10, all 100 pairs of outputs, N = 500, float64"
TOLERANCE = 1e-9
NOTE = (
    "torch.func's contraction holds N·K·P numbers (117 GB here): it is timed on 20 of the 500 samples and its time is multiplied by "
    "(500/20)², the growth of the contraction, which is all but a few per cent of its arithmetic at 20."
)
GOALS = {"torch.func Jacobian contraction": 50.0, "neural-tangents, structured (jit)": 1.0}
LIMITS = {"working_mb": 1000.0}
PART = 20
SHARE: dict[str, float] = {}


def _size(quick: bool) -> tuple[int, int]:
    return (128, 60) if quick else (1024, 500)


def floor(quick: bool) -> Work:
    width, count = _size(quick)
    return kernel_work((784, width, width, width, 10), count)


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """All return the block of the first samples, so that they can be compared."""
    width, count = _size(quick)
    model, x = mlp(width, 10), samples(count)
    SHARE["torch.func Jacobian contraction"] = (PART / count) ** 2
    arguments = {"layers": layers_of(model), "x": x.numpy()}
    structured = Elsewhere("jax", "benchmarks.peers.tangent_kernels:neural_tangents", {**arguments, "keep": PART})
    return {
        "theodolite": lambda: theodolite_kernel(model, x)[:PART, :PART],
        "torch.func Jacobian contraction": lambda: jacobian_contraction(model, x[:PART]),
        "neural-tangents, structured (jit)": structured,
    }
