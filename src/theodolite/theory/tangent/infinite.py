"""NNGP and NTK kernels of infinitely wide fully connected networks of any depth and activation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from theodolite.core.arrays import as_float64, as_given
from theodolite.core.errors import ArgumentError
from theodolite.theory.tangent.predict.layers import layer_of
from theodolite.theory.tangent.predict.recursion import Recursion
from theodolite.theory.tangent.tiles import fingerprint, tile_arguments

__all__ = ["InfiniteKernels", "infinite_kernels"]

Array = npt.NDArray[np.float64]

#: Rows of a tile that is handed to an executor or written to disk.
_TILE = 1024


@dataclass(frozen=True)
class InfiniteKernels:
    """Kernels of an infinitely wide network.

    Attributes:
        nngp: covariance of the outputs at initialisation, ``(N1, N2)``.
        ntk: tangent kernel, ``(N1, N2)``.
    """

    nngp: Any
    ntk: Any

    def __repr__(self) -> str:
        return f"InfiniteKernels(nngp{tuple(self.nngp.shape)}, ntk{tuple(self.ntk.shape)})"


def _widths(width: float | Sequence[float] | None, depth: int, parameterization: str) -> tuple[float, ...] | None:
    if parameterization == "ntk":
        if width is not None:
            raise ArgumentError(
                "width is for parameterization='standard'; in the NTK parameterisation kernels do not depend on it"
            )
        return None
    if parameterization != "standard":
        raise ArgumentError(f"parameterization must be 'ntk' or 'standard', got {parameterization!r}")
    if width is None:
        raise ArgumentError("width must be given for parameterization='standard': its tangent kernel grows with the width")
    widths = (float(width),) * depth if isinstance(width, (int, float)) else tuple(float(w) for w in width)
    if len(widths) != depth or not all(0 < w < math.inf for w in widths):
        raise ArgumentError(f"width must be one positive number or one per hidden layer ({depth}), got {width}")
    return widths


def infinite_kernels(
    x1: Any,
    x2: Any = None,
    *,
    depth: int,
    activation: Any,
    sigma_w2: float,
    sigma_b2: float,
    parameterization: Literal["ntk", "standard"] = "ntk",
    width: float | Sequence[float] | None = None,
    bias: bool | None = None,
    executor: Executor | None = None,
    out: Any = None,
) -> InfiniteKernels:
    """NNGP and NTK of an infinitely wide fully connected network with one output.

    NTK parameterisation: K^{l+1} = σ_w² E φφ + σ_b², Θ^{l+1} = K^{l+1} + σ_w² E φ′φ′ Θ^l, from K⁰ = Θ⁰ = σ_w² x·x′/d + σ_b².
    Standard parameterisation (weights N(0, σ_w²/n) trained themselves): the NNGP is the same, weight gradients are larger by the
    fan-in and carry no σ_w²: Θ⁰ = x·x′ + 1, Θ^{l+1} = n_{l+1} E φφ + 1 + σ_w² E φ′φ′ Θ^l, the ones only with biases.

    Args:
        x1: inputs ``(N1, d)``; further dimensions are flattened.
        x2: inputs ``(N2, d)``; None means ``x1``, and half of the symmetric kernels is computed.
        depth: number of hidden layers (0: a linear model).
        activation: any elementwise function; closed forms for (leaky) ReLU, erf, sin and others, tables for the rest.
        sigma_w2: variance of weights times fan-in.
        sigma_b2: variance of biases.
        parameterization: ``"ntk"`` or ``"standard"``.
        width: for ``"standard"``: width of the hidden layers, one number or one per layer.
        bias: for ``"standard"``: whether biases are trained; default, if ``sigma_b2 > 0``.
        executor: any ``concurrent.futures.Executor`` that carries the tiles out; a process pool needs a picklable activation.
        out: folder or URL of a zarr group to write the kernels to, tile by tile; an interrupted run is resumed.

    Returns:
        `InfiniteKernels`: numpy or torch as ``x1``, and on its device; zarr arrays when ``out`` is given.

    Raises:
        ArgumentError: negative variances or depth, NaN, a missing or superfluous width.
        StoreError: ``out`` holds the kernels of other settings or inputs.

    Cost: O(N1 N2 (d + depth)) time; two results and blocks of 256² numbers of memory; two tiles of 1024² with ``out``.

    Reference: jacot2018; lee2018; novak2020; sohldickstein2020 for the standard parameterisation.

    Example:
        >>> k = infinite_kernels([[1.0, 1.0]], depth=3, activation="relu", sigma_w2=2.0, sigma_b2=0.0)
        >>> print(round(float(k.nngp[0, 0]), 12), round(float(k.ntk[0, 0]), 12))
        2.0 8.0
    """
    if int(depth) != depth or depth < 0:
        raise ArgumentError(f"depth must be a whole number ≥ 0, got {depth}")
    if not (0 < sigma_w2 < math.inf and 0 <= sigma_b2 < math.inf):
        raise ArgumentError(f"sigma_w2 must be > 0 and sigma_b2 ≥ 0, both finite, got {sigma_w2} and {sigma_b2}")
    first = _rows(x1, "x1")
    second = None if x2 is None or x2 is x1 else _rows(x2, "x2")
    if second is not None and second.shape[1] != first.shape[1]:
        raise ArgumentError(f"x2 must have {first.shape[1]} features as x1, got {second.shape[1]}")
    widths = _widths(width, int(depth), parameterization)
    settings = Recursion(int(depth), activation, float(sigma_w2), float(sigma_b2), widths, sigma_b2 > 0 if bias is None else bias)
    layer_of(activation)  # refuses what is no elementwise function before any work
    if executor is None and out is None:
        nngp, ntk = settings.kernels(first, second)
    else:
        from theodolite.lab import Grid, fill_grid

        shape = len(first), len(first if second is None else second)
        nngp, ntk = fill_grid(
            _tile,
            Grid(shape, (_TILE, _TILE), symmetric=second is None, names=("nngp", "ntk")),
            arguments=tile_arguments((settings,), first, second),
            executor=executor,
            out=out,
            spec=fingerprint(settings, first, second),
        )
        if out is not None:
            return InfiniteKernels(nngp, ntk)
    return InfiniteKernels(_given(nngp, x1), _given(ntk, x1))


def _tile(settings: Recursion, x1: Array, x2: Array | None) -> tuple[Array, Array]:
    """The kernels of one tile; runs in a worker."""
    return settings.kernels(x1, x2)


def _rows(x: Any, name: str) -> Array:
    array = as_float64(x, name, at_least=1).detach().cpu().numpy()
    if array.shape[0] == 0:
        raise ArgumentError(f"{name} must hold at least one input, got shape {array.shape}")
    return np.ascontiguousarray(array.reshape(array.shape[0], -1))


def _given(result: Array, x: Any) -> Any:
    import torch

    return as_given(torch.from_numpy(result), x)
