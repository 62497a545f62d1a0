"""Outputs of all members on many points, by the cheapest exact way that the network allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from theodolite.train.network import Network

__all__ = ["evaluate", "evaluate_blocks"]

#: Elements of a block's largest tensor: about 1 MB in float64.
BLOCK = 1 << 17
#: From so many activations a member on, compiled evaluation is worth its compilation.
MANY = 1 << 17
_COMPILED = ("relu", "tanh", "sigmoid", "xtanh", "x2tanh", "erf", "sin")


@torch.no_grad()
def evaluate(model: Any, params: Sequence[Tensor], x: Tensor) -> Tensor:
    """f(x) of all members.

    One-dimensional piecewise-linear two-layer networks are evaluated exactly by sorted breakpoints, other two-layer networks
    with one output by a compiled kernel that stores no activations, all others in blocks of points. The way is chosen by the
    network and the number of points, never by the number of members.

    Args:
        model: a stacked model with ``outputs(params, x)`` and ``elements(samples)``.
        params: per parameter (E, …).
        x: (1 or E, N, …).

    Returns:
        (E, N, K).
    """
    if isinstance(model, Network) and _two_layers(model) and x.shape[1] * model.spec.widths[1] >= MANY and x.device.type == "cpu":
        from theodolite.train.kernels.piecewise import PIECES

        if model.spec.widths[0] == 1 and model.activation.name in PIECES and x.shape[0] == 1:
            return _sorted(model, params, x)
        if model.activation.name in _COMPILED and model.spec.widths[0] <= 32:
            return _dense(model, params, x)
    return evaluate_blocks(model, params, x)


def _two_layers(model: Network) -> bool:
    return model.spec.depth == 2 and model.spec.widths[2] == 1 and model.activation.slope is not None


def _rows(model: Network, params: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Effective (E, m, d) weights, (E, m) biases and outgoing weights, and (E, 1) output bias, factors multiplied in."""
    (weight, bias), (outgoing, constant) = model.groups
    (c, cb), (ca, cc) = model.scales
    w, a = params[weight] * c, params[outgoing][:, 0] * ca
    b = torch.zeros_like(a) if bias is None else params[bias] * cb
    last = a.new_zeros(a.shape[0], 1) if constant is None else params[constant] * cc
    return w.numpy(), b.numpy(), a.contiguous().numpy(), last.numpy()


def _sorted(model: Network, params: Sequence[Tensor], x: Tensor) -> Tensor:
    from theodolite.train.kernels.piecewise import sorted_outputs

    w, b, a, last = _rows(model, params)
    result = sorted_outputs(model.activation.name, w[..., 0], b, a, x[0, :, 0].numpy()) + last
    return torch.from_numpy(result).to(params[0].dtype)[..., None]


def _dense(model: Network, params: Sequence[Tensor], x: Tensor) -> Tensor:
    from theodolite.train.kernels.dense import dense_evaluator

    w, b, a, last = _rows(model, params)
    result = np.empty((w.shape[0], x.shape[1]), w.dtype)
    run = dense_evaluator(w.shape[2], model.activation.name, w.dtype == np.float32)
    run(np.ascontiguousarray(w), np.ascontiguousarray(b), a, np.ascontiguousarray(x.numpy()), result)
    return torch.from_numpy(result + last)[..., None]


@torch.no_grad()
def evaluate_blocks(model: Any, params: Sequence[Tensor], x: Tensor) -> Tensor:
    """f(x) of all members, by members and blocks of points in preallocated buffers that stay in the cache.

    Large temporaries would be fresh memory mappings, whose page faults cost several times the arithmetic.

    Args:
        model: a stacked model.
        params: per parameter (E, …).
        x: (1 or E, N, …).

    Returns:
        (E, N, K).
    """
    members, samples = params[0].shape[0], x.shape[1]
    rows = samples if model.couples else max(1, min(samples, BLOCK // max(1, model.elements(1))))
    buffers = model.buffers(rows, params[0]) if isinstance(model, Network) else None
    result: Tensor | None = None
    for e in range(members):
        # Copies begin at aligned addresses whatever the row, and alignment decides how the last elements are rounded.
        part, data = [p[e : e + 1].clone() for p in params], x if x.shape[0] == 1 else x[e : e + 1].clone()
        for start in range(0, samples, rows):
            block = data[:, start : start + rows]
            f = model.outputs(part, block) if buffers is None else model.outputs_into(part, block, buffers)
            if result is None:
                result = f.new_empty(members, samples, *f.shape[2:])
            result[e : e + 1, start : start + rows] = f
    assert result is not None
    return result
