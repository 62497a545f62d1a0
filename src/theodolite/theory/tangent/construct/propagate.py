"""Kernel states of an infinitely wide network and the maps that its layers act on them by.

A state holds, for two blocks of n and m inputs with S positions each, the covariance of one channel between all pairs of
(input, position), the covariances within each input, and the tangent kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from theodolite.theory.tangent.predict.layers import Layer

__all__ = ["Sources", "State", "affine", "elementwise", "layer_norm", "mix", "scaled", "summed"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sources:
    """Where a value comes from: the nodes it is a sum of, and whether each is a fresh zero-mean linear map."""

    nodes: frozenset[tuple[int, bool]]

    @classmethod
    def affine(cls, index: int) -> Self:
        """The output of linear node ``index``."""
        return cls(frozenset({(index, True)}))

    @classmethod
    def other(cls, index: int) -> Self:
        """The output of another node."""
        return cls(frozenset({(index, False)}))

    def uncorrelated(self, other: Sources) -> bool:
        """Whether every pair has zero covariance: of two distinct nodes the later must be a fresh linear map."""
        return all(a[0] != b[0] and max(a, b)[1] for a in self.nodes for b in other.nodes)

    def joined(self, other: Sources) -> Sources:
        """The sources of a sum."""
        return Sources(self.nodes | other.nodes)


@dataclass(frozen=True)
class State:
    """Kernels at one place of the network.

    Attributes:
        cross: ``(n S, m S)`` covariance between the blocks.
        first: ``(n, S, S)`` covariance within each input of the first block.
        second: ``(m, S, S)`` likewise of the second.
        tangent: ``(n S, m S)`` tangent kernel.
        means: means ``(n, S)`` and ``(m, S)`` over channels.
        sources: where the value comes from.
        gaussian: whether the value is Gaussian over the weights.
    """

    cross: Array
    first: Array
    second: Array
    tangent: Array
    means: tuple[Array, Array]
    sources: Sources
    gaussian: bool

    @classmethod
    def of_inputs(cls, a: Array, b: Array) -> Self:
        """Inputs ``(n, C, *spatial)``: covariances are averages over channels."""
        a, b = a.reshape(*a.shape[:2], -1), b.reshape(*b.shape[:2], -1)  # (n, C, S)
        channels = a.shape[1]
        cross = np.einsum("ncp,mcq->npmq", a, b, optimize=True).reshape(a.shape[0] * a.shape[2], -1) / channels
        first, second = (np.einsum("ncp,ncq->npq", t, t, optimize=True) / channels for t in (a, b))
        return cls(cross, first, second, np.zeros_like(cross), (a.mean(1), b.mean(1)), Sources.other(-1), False)

    @property
    def positions(self) -> int:
        """S."""
        return self.first.shape[1]

    @property
    def variances(self) -> tuple[Array, Array]:
        """q at every (input, position) of both blocks, flat."""
        return tuple(np.diagonal(t, axis1=1, axis2=2).reshape(-1) for t in (self.first, self.second))  # type: ignore[return-value]

    def _split(self, kernel: Array) -> Array:
        return kernel.reshape(len(self.first), self.positions, len(self.second), self.positions)

    def flattened(self) -> State:
        """Positions become channels: covariances average over equal positions."""
        size = self.positions
        if size == 1:
            return self

        def diagonal(kernel: Array) -> Array:
            return np.einsum("npmp->nm", self._split(kernel)) / size

        within = [np.einsum("npp->n", t)[:, None, None] / size for t in (self.first, self.second)]
        means = tuple(m.mean(1, keepdims=True) for m in self.means)
        return replace(
            self, cross=diagonal(self.cross), first=within[0], second=within[1], tangent=diagonal(self.tangent), means=means
        )


def affine(
    state: State, variances: tuple[float, float], gradient: tuple[float, float], windows: Array | None, sources: Sources
) -> State:
    """z = W a + b: K′ = σ_w² ⟨K⟩ + σ_b², Θ′ = g_w ⟨K⟩ + g_b + σ_w² ⟨Θ⟩, with ⟨·⟩ the mean over the window of a convolution.

    Args:
        state: before the layer.
        variances: (σ_w², σ_b²).
        gradient: (g_w, g_b): (σ_w², σ_b²) in the NTK parameterisation, (fan-in, 1) in the standard one.
        windows: ``(S_out, k)`` positions that each output position reads; None for a linear layer.
        sources: of the result.
    """
    w2, b2 = variances
    if windows is not None:
        state = _convolved(state, windows)
    means = tuple(np.zeros_like(m) for m in state.means)
    return State(
        w2 * state.cross + b2,
        w2 * state.first + b2,
        w2 * state.second + b2,
        gradient[0] * state.cross + gradient[1] + w2 * state.tangent,
        means,  # type: ignore[arg-type]
        sources,
        gaussian=True,
    )


def _convolved(state: State, windows: Array) -> State:
    """Means over a convolution's window of the covariances at shifted positions; the padding has covariance zero."""
    outputs, taps = windows.shape
    n, m, size = len(state.first), len(state.second), state.positions

    def padded(kernel: Array, axes: tuple[int, ...]) -> Array:
        return np.pad(kernel, [(0, 1) if axis in axes else (0, 0) for axis in range(kernel.ndim)])

    def over_pairs(kernel: Array) -> Array:
        full = padded(kernel.reshape(n, size, m, size), (1, 3))
        total = np.zeros((n, outputs, m, outputs))
        for tap in range(taps):
            at = windows[:, tap]
            total += full[:, at][:, :, :, at]
        return total.reshape(n * outputs, m * outputs) / taps

    def within(kernel: Array) -> Array:
        full = padded(kernel, (1, 2))
        total = np.zeros((len(kernel), outputs, outputs))
        for tap in range(taps):
            at = windows[:, tap]
            total += full[:, at][:, :, at]
        return total / taps

    means = (np.zeros((n, outputs)), np.zeros((m, outputs)))
    return replace(
        state,
        cross=over_pairs(state.cross),
        first=within(state.first),
        second=within(state.second),
        tangent=over_pairs(state.tangent),
        means=means,
    )


def elementwise(state: State, layer: Layer, sources: Sources) -> State:
    """a = φ(z): K′ = E φφ, Θ′ = E φ′φ′ Θ."""
    q1, q2 = state.variances
    value, slope = layer.maps(state.cross, q1, q2)
    within = []
    for kernels, q in ((state.first, q1), (state.second, q2)):
        size = kernels.shape[1]
        result = np.empty_like(kernels)
        if size > 1:
            for i, kernel in enumerate(kernels):
                part = q[i * size : (i + 1) * size]
                result[i] = layer.maps(kernel, part, part)[0]
        result[:, range(size), range(size)] = layer.variance(q).reshape(-1, size)
        within.append(result)
    means = tuple(layer.mean(q).reshape(m.shape) for q, m in zip((q1, q2), state.means, strict=True))
    return State(value, within[0], within[1], slope * state.tangent, means, sources, gaussian=False)  # type: ignore[arg-type]


def summed(a: State, b: State) -> State:
    """A sum of uncorrelated values."""
    return State(
        a.cross + b.cross,
        a.first + b.first,
        a.second + b.second,
        a.tangent + b.tangent,
        tuple(x + y for x, y in zip(a.means, b.means, strict=True)),  # type: ignore[arg-type]
        a.sources.joined(b.sources),
        a.gaussian and b.gaussian,
    )


def scaled(state: State, c: float) -> State:
    """c · z."""
    return replace(
        state,
        cross=c * c * state.cross,
        first=c * c * state.first,
        second=c * c * state.second,
        tangent=c * c * state.tangent,
        means=(c * state.means[0], c * state.means[1]),
    )


def mix(state: State, weights: Array) -> State:
    """Linear maps of the positions, such as average pooling: K′ = A K Aᵀ with A ``(S_out, S)``."""
    n, m, size = len(state.first), len(state.second), state.positions

    def over_pairs(kernel: Array) -> Array:
        mixed = np.einsum("ap,npmq,bq->namb", weights, kernel.reshape(n, size, m, size), weights, optimize=True)
        return np.ascontiguousarray(mixed).reshape(n * len(weights), m * len(weights))

    within = [np.einsum("ap,npq,bq->nab", weights, t, weights, optimize=True) for t in (state.first, state.second)]
    means = (state.means[0] @ weights.T, state.means[1] @ weights.T)
    return replace(
        state, cross=over_pairs(state.cross), first=within[0], second=within[1], tangent=over_pairs(state.tangent), means=means
    )


def layer_norm(state: State, scale2: float, shift2: float) -> State:
    """(z − m)/√(q − m²) · γ + β with γ, β counted by their mean squares: K′ = γ² (K − m m′)/√(v v′) + β²."""
    m1, m2 = (m.reshape(-1) for m in state.means)
    q1, q2 = state.variances
    s1, s2 = np.sqrt(q1 - m1**2), np.sqrt(q2 - m2**2)
    norm = np.multiply.outer(s1, s2)
    cross = scale2 * (state.cross - np.multiply.outer(m1, m2)) / norm + shift2
    within = [np.full_like(t, scale2 + shift2) for t in (state.first, state.second)]  # one position: variance 1
    means = tuple(np.zeros_like(m) for m in state.means)
    return replace(state, cross=cross, first=within[0], second=within[1], tangent=scale2 * state.tangent / norm, means=means)  # type: ignore[arg-type]
