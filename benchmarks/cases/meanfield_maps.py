"""The correlation map of tanh at 101 correlations, against quadrature loops and dks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.elsewhere import Elsewhere

from theodolite.theory.meanfield import c_map, q_map

TITLE = "Mean field: correlation map C(c) of tanh at q = 1, 101 correlations (slow ones: a sample of them, time scaled to all)"
TOLERANCE = 1e-9
COUNT = 101
SHARE: dict[str, float] = {}


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """All return the map at the sampled correlations."""
    correlations = np.linspace(-1, 1, COUNT)
    sample = [20, 75] if quick else [10, 35, 60, 90]
    # E φ(z)² = 1/σ_w² makes q = 1 the fixed point without biases, so that C is the normalised map that dks defines.
    sigma_w2 = 1 / q_map(1.0, "tanh", 1.0, 0.0)
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / weight.sum()

    def gauss_hermite() -> np.ndarray:
        u = np.tanh(z)
        values = []
        for c in correlations:
            v = np.tanh(c * z[:, None] + np.sqrt(1 - c * c) * z)
            values.append(weight @ (u * (v @ weight)))
        return np.array(values)[sample] * sigma_w2

    def dblquad() -> np.ndarray:
        from scipy.integrate import dblquad as integrate

        found = []
        for c in correlations[sample]:
            root = np.sqrt(1 - c * c)
            value, _ = integrate(
                lambda y, x, c=c, root=root: np.exp(-(x * x + y * y) / 2) * np.tanh(x) * np.tanh(c * x + root * y),
                *(-10, 10, -10, 10), epsabs=1e-10, epsrel=1e-10,
            )  # fmt: skip
            found.append(value / (2 * np.pi) * sigma_w2)
        return np.array(found)

    SHARE["scipy dblquad"] = SHARE["dks"] = len(sample) / COUNT
    arguments = {"activation": "tanh", "correlations": correlations[sample].tolist()}
    return {
        "theodolite": lambda: np.asarray(c_map(correlations, "tanh", sigma_w2, 0.0))[sample],
        "loop of 120² Gauss–Hermite nodes": gauss_hermite,
        "scipy dblquad": dblquad,
        "dks": Elsewhere("jax", "benchmarks.peers.correlation_maps:c_map", arguments),
    }
