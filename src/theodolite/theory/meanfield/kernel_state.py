"""The state of a theory pass: the covariance, per unit, of a tensor's values between all its sites (inputs × positions)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from theodolite.core.errors import UnsupportedError
from theodolite.maths.activation import identify
from theodolite.maths.dual import dual
from theodolite.maths.gaussian import integrate
from theodolite.maths.resolution import Array
from theodolite.theory.meanfield.predict.moments import mean, second_moment, variance_slope

__all__ = [
    "KernelState",
    "added",
    "affine",
    "batch_norm_map",
    "batch_normalised",
    "convolved",
    "elementwise",
    "measured",
    "moved",
    "normalised",
]


@dataclass(frozen=True)
class KernelState:
    """Second moments of one tensor in the limit of many units.

    Attributes:
        kernel: (S, S) second moments per unit between sites.
        mean: (S,) mean per site over units; 0 behind weights of zero mean.
        shape: shape of the tensor it stands for, units included.
        axis: the axis of the units.
        gaussian: values are Gaussian over units (behind an affine layer), so that Gaussian expectations apply.
        sources: the affine nodes whose weights made it: states without a common source are independent.
        spread: relative variance of the kernel's diagonal over draws of the weights (finite width).
        wobble: variance of the correlations over draws of the weights (finite width).
    """

    kernel: Array
    mean: Array
    shape: tuple[int, ...]
    axis: int
    gaussian: bool = False
    sources: frozenset[int] = frozenset()
    spread: float = 0.0
    wobble: float = 0.0

    @property
    def sites(self) -> tuple[int, ...]:
        """Sizes of all axes but that of the units."""
        return self.shape[: self.axis] + self.shape[self.axis + 1 :]

    @property
    def units(self) -> int:
        """Number of units."""
        return self.shape[self.axis]

    @property
    def length(self) -> float:
        """Mean of the diagonal: q."""
        return float(np.diag(self.kernel).mean())

    @property
    def cosines(self) -> Array:
        """(S, S) correlations between sites."""
        size = np.sqrt(np.maximum(np.diag(self.kernel), 1e-300))
        return np.asarray(self.kernel / np.outer(size, size))

    def overlap(self, power: int = 1) -> float:
        """Mean of |c|^power over pairs of sites, each with itself included: 1/S where no two resemble each other, 1 where all do.

        Averages over sites scatter less than the values at one: the covariance of f(u) and f(v) is at most |c| times the variance
        of f, and c² times that of u².
        """
        return float((np.abs(self.cosines) ** power).mean())

    @property
    def sampling(self) -> float:
        """Variance of `correlation` in a sample of the units: (1 − c²)² per unit, shared by the pairs that are independent."""
        if self.shape[0] < 2:
            return 0.0
        return (1.0 - self.correlation**2) ** 2 / self.units * min(1.0, 2.0 * self.overlap() ** 2)

    @property
    def correlation(self) -> float:
        """Mean correlation of two different inputs at equal positions; NaN for a single input."""
        n = self.shape[0]
        if n < 2:
            return float("nan")
        c = self.cosines.reshape(n, len(self.mean) // n, n, len(self.mean) // n)
        same = np.einsum("ipjp->ij", c) / c.shape[1]
        return float((same.sum() - np.trace(same)) / (n * (n - 1)))


def measured(value: torch.Tensor, axis: int, sources: frozenset[int], gaussian: bool = False) -> KernelState:
    """The state of an actual tensor: its empirical second moments."""
    flat = value.detach().double().movedim(axis, -1)
    matrix = flat.reshape(-1, flat.shape[-1]).cpu().numpy()
    return KernelState(matrix @ matrix.T / matrix.shape[1], matrix.mean(1), tuple(value.shape), axis, gaussian, sources)


def affine(state: KernelState, weight: torch.Tensor, bias: torch.Tensor | None, node: int, shape: tuple[int, ...]) -> KernelState:
    """Behind a linear layer: K ↦ σ_b² + σ_w² K, both variances measured from the tensors."""
    w2 = float((weight.detach().double() ** 2).mean()) * weight.shape[-1]
    return _weighted(state, w2 * state.kernel, bias, node, shape, len(shape) - 1)


def _weighted(
    state: KernelState, kernel: Array, bias: torch.Tensor | None, node: int, shape: tuple[int, ...], axis: int
) -> KernelState:
    b2 = 0.0 if bias is None else float((bias.detach().double() ** 2).mean())
    before, after = float(np.trace(kernel)), float(np.trace(kernel)) + b2 * len(kernel)
    share = (before / after) ** 2 if after > 0 else 0.0
    return KernelState(
        kernel + b2, np.zeros(len(kernel)), shape, axis, True, frozenset({node}), share * state.spread, share * state.wobble
    )


def taps(sites: Sequence[int], outputs: Sequence[int], kernel: Sequence[int], stride: Any, padding: Any, dilation: Any) -> Array:
    """For each tap of a kernel and each output position the flat input position, or −1 in the padding; (taps, positions)."""
    per_axis = []
    for axis, (size, out, k) in enumerate(zip(sites, outputs, kernel, strict=True)):
        s, p, d = (v[axis] if isinstance(v, (tuple, list)) else v for v in (stride, padding, dilation))
        place = np.arange(out)[None, :] * s - p + np.arange(k)[:, None] * d
        per_axis.append(np.where((place < 0) | (place >= size), -1, place))
    index = np.zeros((1, 1), dtype=int)
    for place, size in zip(per_axis, sites, strict=True):
        combined = index[:, None, :, None] * size + place[None, :, None, :]
        outside = (index[:, None, :, None] < 0) | (place[None, :, None, :] < 0)
        index = np.where(outside, -1, combined).reshape(index.shape[0] * place.shape[0], -1)
    return index


def convolved(
    state: KernelState,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    node: int,
    shape: tuple[int, ...],
    options: tuple[Any, Any, Any],
) -> KernelState:
    """Behind a convolution: Σ_β s_β K shifted by tap β, s_β the measured variance of the tap times c_in; zero padding."""
    stride, padding, dilation = options
    if isinstance(padding, str):
        padding = (
            [d * (k - 1) // 2 for k, d in zip(weight.shape[2:], _each(dilation, weight.ndim - 2), strict=True)]
            if padding == "same"
            else 0
        )
    index = taps(state.sites[1:], shape[2:], tuple(weight.shape[2:]), stride, padding, dilation)
    tap_variance = (weight.detach().double() ** 2).mean((0, 1)).reshape(-1).cpu().numpy() * weight.shape[1]
    n = shape[0]
    old = state.kernel.reshape(n, -1, n, state.kernel.shape[0] // n)
    kernel = np.zeros((n, index.shape[1], n, index.shape[1]))
    for places, variance in zip(index, tap_variance, strict=True):
        inside = places >= 0
        block = old[:, places][:, :, :, places]
        kernel += variance * block * inside[None, :, None, None] * inside
    size = n * index.shape[1]
    return _weighted(state, kernel.reshape(size, size), bias, node, shape, 1)


def _each(value: Any, count: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * count


def elementwise(state: KernelState, activation: Any) -> KernelState:
    """Behind an activation of Gaussian values: K ↦ E φ(u)φ(v)."""
    if not state.gaussian:
        raise UnsupportedError("its inputs are not Gaussian over units, because no affine layer stands between")
    q = np.diag(state.kernel).copy()
    c = np.clip(state.cosines, -1.0, 1.0)
    kernel = np.asarray(dual(activation).value(q[:, None], q[None, :], c))
    np.fill_diagonal(kernel, second_moment(activation, q))
    typical = np.array(state.length)
    second = float(second_moment(activation, typical))
    a = identify(activation)
    fourth = float(integrate(lambda x, z: a.function(x) ** 4, typical, a))
    rate = float(variance_slope(a, typical)) * float(typical) / second if second > 0 else 0.0
    spread = rate**2 * state.spread + (fourth / second**2 - 1.0) * state.overlap() / state.units if second > 0 else 0.0
    # What was off before shrinks or grows with the slope of the map.
    typical_c = state.correlation if state.shape[0] > 1 else 1.0
    pull = float(dual(a).derivative(typical, typical, typical_c)) * float(typical) / second if second > 0 and not a.jumps else 1.0
    wobble = pull**2 * state.wobble + state.sampling
    return replace(state, kernel=kernel, mean=mean(activation, q), gaussian=False, spread=spread, wobble=wobble)


def added(first: KernelState, second: KernelState, signs: tuple[float, float] = (1.0, 1.0)) -> KernelState:
    """Sum of two independent states; their means multiply into the cross terms."""
    if first.sources & second.sources or not (first.sources or second.sources):
        raise UnsupportedError("its summands depend on the same weights, so that their covariance is not known")
    if first.shape != second.shape:
        raise UnsupportedError("its summands have different shapes")
    cross = np.outer(first.mean, second.mean) * signs[0] * signs[1]
    kernel = first.kernel + second.kernel + cross + cross.T
    share = first.length / max(first.length + second.length, 1e-300)
    return replace(
        first,
        kernel=kernel,
        mean=signs[0] * first.mean + signs[1] * second.mean,
        gaussian=first.gaussian and second.gaussian,
        sources=first.sources | second.sources,
        spread=share**2 * first.spread + (1 - share) ** 2 * second.spread,
        wobble=share**2 * first.wobble + (1 - share) ** 2 * second.wobble,
    )


def normalised(
    state: KernelState, centred: bool, eps: float, weight: torch.Tensor | None, bias: torch.Tensor | None
) -> KernelState:
    """Behind a layer norm (``centred``) or RMS norm over the units: every site gets length 1; then its scales and offsets."""
    kernel, means = state.kernel, state.mean
    if centred:
        kernel, means = kernel - np.outer(means, means), np.zeros_like(means)
    root = np.sqrt(np.diag(kernel) + eps)
    scale = torch.ones(1) if weight is None else weight
    offset = torch.zeros(1) if bias is None else bias
    unit = replace(state, kernel=kernel / np.outer(root, root), mean=means / root, spread=0.0)
    return batch_normalised(unit, scale.detach().double(), offset.detach().double())


def batch_norm_map(given: Mapping[str, Any], eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(scale, offset) of each channel under a batch norm in evaluation mode."""
    running_mean, running_var, weight, bias = (given.get(k) for k in ("running_mean", "running_var", "weight", "bias"))
    if running_mean is None or running_var is None:
        raise UnsupportedError("a batch norm without running statistics has no rule")
    scale = 1.0 / (running_var.detach().double() + eps).sqrt()
    if weight is not None:
        scale = scale * weight.detach().double()
    offset = -running_mean.detach().double() * scale
    if bias is not None:
        offset = offset + bias.detach().double()
    return scale, offset


def batch_normalised(state: KernelState, scale: torch.Tensor, offset: torch.Tensor) -> KernelState:
    """Behind an affine map of each unit, independent of the weights: averages over units of what it does to second moments."""
    s2, s1 = float((scale**2).mean()), float(scale.mean())
    cross = float((scale * offset).mean()) * state.mean
    kernel = s2 * state.kernel + cross[:, None] + cross[None, :] + float((offset**2).mean())
    return replace(state, kernel=kernel, mean=s1 * state.mean + float(offset.mean()))


def moved(state: KernelState, averaging: Array, axis: int, shape: tuple[int, ...]) -> KernelState:
    """Behind a linear map of positions: ``averaging`` (outputs, positions), the same for every unit and input."""
    n = state.shape[0]
    old = state.kernel.reshape(n, -1, n, state.kernel.shape[0] // n)
    kernel = np.einsum("pa,iajb,qb->ipjq", averaging, old, averaging, optimize=True)
    size = n * len(averaging)
    means = (state.mean.reshape(n, -1) @ averaging.T).ravel()
    return replace(state, kernel=kernel.reshape(size, size), mean=means, shape=shape, axis=axis)
