"""Kernels of infinitely wide networks by neural-tangents."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np


def import_neural_tangents() -> Any:
    """The package without its ``experimental`` part, which asks for tensorflow and serves nothing here."""
    sys.modules.setdefault("neural_tangents.experimental", types.ModuleType("neural_tangents.experimental"))
    import neural_tangents

    return neural_tangents


def kernels(x: np.ndarray, activation: str, depth: int, sigma_w2: float, sigma_b2: float) -> Callable[[], np.ndarray]:
    """NNGP and NTK, jitted, float64."""
    import jax

    import_neural_tangents()
    from neural_tangents import stax

    jax.config.update("jax_enable_x64", True)
    dense = {"W_std": sigma_w2**0.5, "b_std": sigma_b2**0.5}
    layers = []
    for _ in range(depth):
        layers += [stax.Dense(1, **dense), stax.Relu() if activation == "relu" else stax.Erf()]
    _, _, kernel = stax.serial(*layers, stax.Dense(1, **dense))
    compiled = jax.jit(lambda a: kernel(a, None, ("nngp", "ntk")))
    inputs = jax.numpy.asarray(x)

    def call() -> np.ndarray:
        found = compiled(inputs)
        return np.stack([np.asarray(found.nngp), np.asarray(found.ntk)])

    return call
