"""NNGP and NTK of a depth-10 ReLU network, against the plain recursion on whole matrices and neural-tangents."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from theodolite.theory.tangent import infinite_kernels

TITLE = "NNGP + NTK, depth 10, ReLU, N = 2,000, float64"
TOLERANCE = 1e-8
DEPTH, SIGMA_W2, SIGMA_B2 = 10, 2.0, 0.1


def plain(x: np.ndarray, activation: str) -> np.ndarray:
    """The recursion on full N × N torch matrices, as it stands in the literature."""
    t = torch.from_numpy(x)
    kernel = SIGMA_W2 * t @ t.T / t.shape[1] + SIGMA_B2
    ntk = kernel.clone()
    for _ in range(DEPTH):
        q = kernel.diagonal()
        if activation == "relu":
            root = (q[:, None] * q[None, :]).sqrt()
            c = (kernel / root).clamp(-1, 1)
            angle = torch.acos(c)
            value = root * (torch.sin(angle) + (math.pi - angle) * c) / (2 * math.pi)
            slope = (math.pi - angle) / (2 * math.pi)
        else:
            outer = (1 + 2 * q)[:, None] * (1 + 2 * q)[None, :]
            value = 2 / math.pi * torch.asin(2 * kernel / outer.sqrt())
            slope = 4 / math.pi / (outer - 4 * kernel**2).sqrt()
        kernel = SIGMA_W2 * value + SIGMA_B2
        ntk = kernel + SIGMA_W2 * slope * ntk
    return torch.stack([kernel, ntk]).numpy()


def ours(x: np.ndarray, activation: str) -> np.ndarray:
    """Both kernels."""
    found = infinite_kernels(x, depth=DEPTH, activation=activation, sigma_w2=SIGMA_W2, sigma_b2=SIGMA_B2)
    return np.stack([found.nngp, found.ntk])


def neural_tangents(x: np.ndarray, activation: str) -> np.ndarray:
    """neural-tangents in float64; raises where it does not install."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from neural_tangents import stax

    layers = []
    for _ in range(DEPTH):
        layers += [stax.Dense(1, W_std=SIGMA_W2**0.5, b_std=SIGMA_B2**0.5), stax.Relu() if activation == "relu" else stax.Erf()]
    _, _, kernel = stax.serial(*layers, stax.Dense(1, W_std=SIGMA_W2**0.5, b_std=SIGMA_B2**0.5))
    found = jax.jit(lambda a: kernel(a, None, ("nngp", "ntk")))(x)
    return np.stack([np.asarray(found.nngp), np.asarray(found.ntk)])


def inputs(quick: bool) -> np.ndarray:
    """Gaussian inputs."""
    return np.random.default_rng(0).standard_normal((300 if quick else 2000, 50))


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Ours, plain torch, neural-tangents."""
    x = inputs(quick)
    return {
        "theodolite": lambda: ours(x, "relu"),
        "plain torch": lambda: plain(x, "relu"),
        "neural-tangents": lambda: neural_tangents(x, "relu"),
    }
