"""NNGP and NTK of a depth-10 ReLU network, against the plain recursion on whole matrices and neural-tangents."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from benchmarks.elsewhere import Elsewhere
from benchmarks.machine import Work
from benchmarks.scaling import Curve

from theodolite.theory.tangent import infinite_kernels

TITLE = "NNGP + NTK, depth 10, ReLU, N = 2,000, float64"
TOLERANCE = 1e-8
GOALS = {"neural-tangents": 4.0}
#: Its NTK of a sample with itself passes through acos(c) at c = 1 − rounding; see NOTE.
APPROXIMATE = ("neural-tangents",)
NOTE = (
    "off the diagonal neural-tangents' kernels agree with ours to 1e-12 or better; on it, where the recursion is exact arithmetic "
    "(Θ ← K + σ_w²Θ/2), its NTK errs by some 1e-8 of the largest entry, because the arc cosine of a correlation rounded just below 1 loses half of the digits."
)
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


def neural_tangents(x: np.ndarray, activation: str) -> Elsewhere:
    """neural-tangents in float64, in an interpreter with a jax that it still imports with."""
    settings = {"activation": activation, "depth": DEPTH, "sigma_w2": SIGMA_W2, "sigma_b2": SIGMA_B2}
    return Elsewhere("jax", "benchmarks.peers.infinite_kernels:kernels", {"x": x, **settings})


def inputs(quick: bool) -> np.ndarray:
    """Gaussian inputs."""
    return np.random.default_rng(0).standard_normal((300 if quick else 2000, 50))


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Ours, plain torch, neural-tangents."""
    x = inputs(quick)
    return {
        "theodolite": lambda: ours(x, "relu"),
        "plain torch": lambda: plain(x, "relu"),
        "neural-tangents": neural_tangents(x, "relu"),
    }


def floor(quick: bool) -> Work:
    """One arc cosine and one root per layer and pair of samples (half of all pairs), at the speed of torch's functions."""
    pairs = len(inputs(quick)) ** 2 / 2 * DEPTH
    return Work(elements={"acos": pairs, "sqrt": pairs}, traffic=2 * 8.0 * len(inputs(quick)) ** 2)


def curves(quick: bool) -> list[Curve]:
    sizes, depths = ((100, 200, 400), (2, 4, 8)) if quick else ((500, 1000, 2000, 4000), (2, 4, 8, 16))

    def kernels(count: int, depth: int) -> Callable[[], object]:
        x = np.random.default_rng(0).standard_normal((count, 50))
        return lambda: infinite_kernels(x, depth=depth, activation="relu", sigma_w2=SIGMA_W2, sigma_b2=SIGMA_B2)

    return [
        Curve("NNGP + NTK, ReLU, depth 4", "N", sizes, 2, lambda n: kernels(n, 4)),
        Curve("NNGP + NTK, ReLU, N = 500", "depth", depths, 1, lambda d: kernels(500, d)),
    ]
