"""The ten kernels of one output each, MLP 784-512³-10: asdl's structured class-wise kernels compute these and no others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases._layers import layers_of
from benchmarks.cases.tangent_kernel_wide import mlp, samples
from benchmarks.elsewhere import Elsewhere

from theodolite.theory.tangent import ntk

TITLE = "NTK of an MLP 784-512³-10, the ten kernels of single outputs, N = 64, float64"
TOLERANCE = 1e-9


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Ours (the diagonal of all pairs), and asdl's class-wise kernels."""
    model, x = mlp(512, 10), samples(16 if quick else 64)
    arguments = {"layers": layers_of(model), "x": x.numpy()}
    return {
        "theodolite": lambda: np.einsum("nmaa->nma", ntk(model, x).numpy()),
        "asdl, class-wise structured": Elsewhere("torch", "benchmarks.peers.tangent_kernels:asdl_class_wise", arguments),
    }
