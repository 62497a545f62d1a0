"""One layer of a kernel recursion: the maps K -> E φφ and K -> E φ′φ′ on blocks, and their form for nearly equal inputs.

For an activation with a kink at zero E φ′φ′ is a function of the angle θ = arccos c, and 1 − c = θ²/2 is lost to rounding when two
inputs are nearly parallel. Such pairs are carried by h = sin²(θ/2) = (1 − c)/2 itself, from which the angle is exact.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from theodolite.maths.dual import Dual, dual
from theodolite.maths.gaussian import expectation

__all__ = ["Layer", "Scales", "layer_of"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scales:
    """σ_w², σ_b² and, per layer, (g_w, g_b) of Θ′ = g_w E φφ + g_b + σ_w² E φ′φ′ Θ."""

    w2: float
    b2: float
    gradients: Array


class Layer(Protocol):
    """The dual maps of an activation.

    ``sweep`` carries out all layers of a recursion on a block in compiled code, in place, where that is to be had.
    """

    def sweep(self, kernel: Array, tangent: Array, q1: list[Array], q2: list[Array], scales: Scales) -> bool:
        """K⁰ and Θ⁰ to K^L and Θ^L in place; False where the activation has no compiled form."""
        ...

    def variance(self, q: Array) -> Array:
        """E φ² at variance q."""
        ...

    def mean(self, q: Array) -> Array:
        """E φ at variance q."""
        ...

    def maps(self, kernel: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        """(E φφ, E φ′φ′) for a block ``(n, m)`` of covariances with variances ``(n,)`` and ``(m,)``; fresh arrays."""
        ...

    def near(self, h: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
        """(E φφ, E φ′φ′, √(E φ² E φ²) − E φφ) for single pairs with sin²(θ/2) = h."""
        ...


@dataclass(frozen=True)
class _Homogeneous:
    """φ(x) = x for x > 0 and a·x for x < 0: ReLU (a = 0), leaky ReLU, |x| (a = −1), identity (a = 1).

    E φφ = √(q₁q₂) [(1−a)² (sin θ + (π−θ) cos θ)/(2π) + a cos θ],   E φ′φ′ = (1−a)² (π−θ)/(2π) + a.
    """

    a: float

    def variance(self, q: Array) -> Array:
        """E φ² = (1 + a²)/2 · q."""
        return 0.5 * (1.0 + self.a**2) * q

    def mean(self, q: Array) -> Array:
        """E φ = (1 − a) √(q/2π)."""
        return (1.0 - self.a) * np.sqrt(q / (2.0 * math.pi))

    def maps(self, kernel: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        """From the angle, in one pass over the block."""
        from theodolite.theory.tangent.predict.arccosine import homogeneous_maps

        return homogeneous_maps(kernel, np.sqrt(q1), np.sqrt(q2), self.a)

    def sweep(self, kernel: Array, tangent: Array, q1: list[Array], q2: list[Array], scales: Scales) -> bool:
        """Compiled."""
        from theodolite.theory.tangent.predict.fused import homogeneous_layers

        r1, r2 = np.sqrt(np.stack(q1)), np.sqrt(np.stack(q2))
        homogeneous_layers(kernel, tangent, r1, r2, self.a, scales.w2, scales.b2, scales.gradients)
        return True

    def near(self, h: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
        """With 1 − cos θ = 2h and sin θ − θ cos θ = θ³/3 − …, free of cancellation."""
        product = np.sqrt(q1 * q2)
        theta = 2.0 * np.arcsin(np.sqrt(h))
        weight = (1.0 - self.a) ** 2 / (2.0 * math.pi)
        series = theta**3 * (1.0 / 3.0 - theta**2 / 30.0 + theta**4 / 840.0)
        arc = np.where(theta < 1e-2, series, np.sin(theta) - theta * np.cos(theta))
        loss = product * (2.0 * h * (math.pi * weight + self.a) - weight * arc)
        return 0.5 * (1.0 + self.a**2) * product - loss, weight * (math.pi - theta) + self.a, loss


@dataclass(frozen=True)
class _Erf:
    """φ = erf: E φφ = (2/π) asin(2K/√((1+2q₁)(1+2q₂))), E φ′φ′ = (4/π)/√((1+2q₁)(1+2q₂) − 4K²)."""

    def variance(self, q: Array) -> Array:
        """E φ² = (2/π) asin(2q/(1+2q))."""
        return 2.0 / math.pi * np.arcsin(2.0 * q / (1.0 + 2.0 * q))

    def mean(self, q: Array) -> Array:
        """0, as erf is odd."""
        return np.zeros_like(q)

    def maps(self, kernel: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        """In one pass over the block."""
        from theodolite.theory.tangent.predict.arccosine import erf_maps

        return erf_maps(kernel, 1.0 + 2.0 * q1, 1.0 + 2.0 * q2)

    def sweep(self, kernel: Array, tangent: Array, q1: list[Array], q2: list[Array], scales: Scales) -> bool:
        """Compiled."""
        from theodolite.theory.tangent.predict.fused import erf_layers

        v1, v2 = (1.0 / np.sqrt(1.0 + 2.0 * np.stack(q)) for q in (q1, q2))
        erf_layers(kernel, tangent, v1, v2, scales.w2, scales.b2, scales.gradients)
        return True

    def near(self, h: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
        """A smooth function of K: the product form is exact enough."""
        kernel = np.sqrt(q1 * q2) * (1.0 - 2.0 * h)
        outer = (1.0 + 2.0 * q1) * (1.0 + 2.0 * q2)
        value = 2.0 / math.pi * np.arcsin(2.0 * kernel / np.sqrt(outer))
        slope = 4.0 / math.pi / np.sqrt(outer - 4.0 * kernel**2)
        return value, slope, _loss(self, value, h, q1, q2)


@dataclass(frozen=True)
class _General:
    """Any activation, by its dual maps (tables in θ on large blocks)."""

    dual: Dual

    def variance(self, q: Array) -> Array:
        """E φ²."""
        return np.asarray(self.dual.value(q, q, np.ones_like(q)))

    def mean(self, q: Array) -> Array:
        """E φ by quadrature."""
        return np.asarray(expectation(self.dual.activation, q))

    def maps(self, kernel: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        """By the dual's own form."""
        v1, v2 = np.broadcast_arrays(q1[:, None], q2[None, :])
        root = np.sqrt(v1 * v2)
        c = np.clip(kernel / np.maximum(root, np.finfo(np.float64).tiny), -1.0, 1.0)
        return np.asarray(self.dual.value(v1, v2, c)), np.asarray(self.dual.derivative(v1, v2, c))

    def sweep(self, kernel: Array, tangent: Array, q1: list[Array], q2: list[Array], scales: Scales) -> bool:
        """Not compiled: layer by layer."""
        return False

    def near(self, h: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
        """Equal inputs have c = 1 exactly; others are within the √u of an angle that c resolves."""
        c = 1.0 - 2.0 * h
        value, slope = np.asarray(self.dual.value(q1, q2, c)), np.asarray(self.dual.derivative(q1, q2, c))
        return value, slope, _loss(self, value, h, q1, q2)


def _loss(layer: Layer, value: Array, h: Array, q1: Array, q2: Array) -> Array:
    """√(E φ² E φ²) − E φφ, zero for equal inputs."""
    loss = np.sqrt(layer.variance(q1) * layer.variance(q2)) - value
    return np.where((h == 0.0) & (q1 == q2), 0.0, np.maximum(loss, 0.0))


@functools.lru_cache(maxsize=64)
def _layer(maps: Dual) -> Layer:
    family = maps.activation.family
    if family[0] == "relu":
        return _Homogeneous(float(family[1]))
    if family[0] == "identity":
        return _Homogeneous(1.0)
    if family[0] == "erf":
        return _Erf()
    return _General(maps)


def layer_of(activation: Any) -> Layer:
    """The layer maps of an activation: closed forms where there are, else its dual maps.

    Args:
        activation: any elementwise function or its name.

    Returns:
        An object with ``variance``, ``maps`` and ``near``.

    Raises:
        ArgumentError: not an elementwise function.

    Example:
        >>> layer_of("relu").variance(np.array([2.0]))
        array([1.])
    """
    return _layer(dual(activation))
