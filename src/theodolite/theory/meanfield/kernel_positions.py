"""Operations that map the positions of every unit linearly, whatever they are called: found by applying them to a basis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from theodolite.core.errors import TheodoliteError
from theodolite.lens.graph import Node, Ref
from theodolite.maths.resolution import Array
from theodolite.theory.meanfield.kernel_state import KernelState

__all__ = ["position_map", "with_value"]


def with_value(values: dict[int, Any], ref: Ref, value: Any, network: Mapping[int, Any]) -> None:
    """Put ``value`` in the place of what ``ref`` refers to; the other parts of a tuple stay those of the network."""
    if ref.item is None:
        values[ref.index] = value
    else:
        values.setdefault(ref.index, list(network[ref.index]))[ref.item] = value


def position_map(
    node: Node, ref: Ref, state: KernelState, network: Mapping[int, Any], shape: tuple[int, ...]
) -> tuple[Array, int] | None:
    """The matrix A (outputs, positions) with result[n, q, unit] = Σ_p A_qp x[n, p, unit], and the axis of the units in the result.

    Padding, pooling by averages, means over positions, interpolation, selecting and reordering positions, factors: all of them act on
    each unit and each input alone and linearly, and leave the number of units as it is. Each column of A is the response to one
    position; a random tensor confirms that there is nothing else to the operation.

    Args:
        node: the operation, of one operand.
        ref: what it reads.
        state: the state of that.
        network: node index -> the network's own values.
        shape: of the result.

    Returns:
        (A, axis), or None where the operation is not of this kind.
    """
    sites = state.sites[1:]
    count = math.prod(sites)
    basis = torch.eye(count, dtype=torch.float64).reshape(count, *sites).unsqueeze(state.axis)
    trial = torch.randn(2, *sites, state.units, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    response, seen = (_applied(node, ref, x, network) for x in (basis, trial.movedim(-1, state.axis)))
    if response is None or seen is None or response.shape[:1] != (count,) or len(shape) != response.ndim:
        return None
    for axis in dict.fromkeys((min(state.axis, len(shape) - 1), 1, len(shape) - 1)):
        outputs = shape[1:axis] + shape[axis + 1 :]
        single, many = (*outputs[: axis - 1], 1, *outputs[axis - 1 :]), (*outputs[: axis - 1], state.units, *outputs[axis - 1 :])
        if axis < 1 or tuple(response.shape[1:]) != single or tuple(seen.shape) != (2, *many) or tuple(shape[1:]) != many:
            continue
        matrix = response.reshape(count, -1).T
        expected = torch.einsum("qp,npu->nqu", matrix, trial.reshape(2, count, -1))
        got = seen.movedim(axis, -1).reshape(expected.shape)
        if bool(torch.allclose(got, expected, rtol=1e-6, atol=1e-6)):
            return np.asarray(matrix), axis
    return None


def _applied(node: Node, ref: Ref, x: torch.Tensor, network: Mapping[int, Any]) -> torch.Tensor | None:
    like = network[ref.index] if ref.item is None else network[ref.index][ref.item]
    values: dict[int, Any] = {}
    with_value(values, ref, x.to(like.device), network)
    try:
        with torch.no_grad():
            out = node.apply(values)
    except (RuntimeError, TheodoliteError, ValueError, TypeError, IndexError):
        return None
    return out.double().cpu() if isinstance(out, torch.Tensor) else None
