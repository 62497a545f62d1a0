"""A program made homogeneous: every value carries u as its last entry, and all constants multiply it.

For u > 0, u times the program at x is the homogeneous program at u · (x, 1). It is linear along rays, which brings infinity within
reach.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from theodolite.theory.piecewise.builder import switching
from theodolite.theory.piecewise.knots import RELU
from theodolite.theory.piecewise.program import Affine, Array, Matrix, Maximum, Program, Step, Switching

__all__ = ["homogeneous"]


def homogeneous(program: Program) -> tuple[Program, Array]:
    """The homogeneous program; and its pattern columns as columns of the program, −1 for those that u brings along."""
    steps: list[Step] = []
    columns = [np.zeros(0, dtype=np.int64)]
    sizes = [program.input_size, *(step.size for step in program.steps)]
    at = [0]
    for i, step in enumerate(program.steps):
        brought = 0
        if isinstance(step, Affine):
            steps.append(_affine(step, [at[s] for s in step.sources], [sizes[s] for s in step.sources]))
        elif isinstance(step, Maximum):
            brought = step.groups.shape[1]
            alone = np.append(sizes[step.source], np.full(brought - 1, -1))
            steps.append(Maximum(at[step.source], np.concatenate([step.groups, alone[None]]), step.name))
        elif step.is_relu:
            brought = 1  # u > 0 passes a ReLU unchanged, so that chains of layers stay such
            steps.append(switching(at[step.source], step.size + 1, RELU, step.name))
        else:
            steps += _by_relus(step, at[step.source], len(steps))
        at.append(len(steps))
        if not isinstance(step, Affine):
            columns += [np.arange(*program.columns[i]), np.full(brought, -1)]
    shape = (program.input_size + 1,), (program.output_size + 1,)
    return Program(tuple(steps), *shape), np.concatenate(columns)


def _affine(step: Affine, sources: list[int], sizes: list[int]) -> Affine:
    """Σ_k W_k v_k + b u; u comes from the first source."""
    weights = [_bordered(w, n, step.bias if k == 0 else None) for k, (w, n) in enumerate(zip(step.weights, sizes, strict=True))]
    return Affine(tuple(sources), tuple(weights), np.zeros(step.size + 1), step.name)


def _bordered(weight: Matrix, size: int, bias: Array | None) -> Matrix:
    """[[W, b], [0, 1]], or [[W, 0], [0, 0]] without b."""
    if isinstance(weight, np.ndarray):
        out = np.zeros((len(weight) + 1, size + 1))
        out[:-1, :-1] = weight
        if bias is not None:
            out[:-1, -1], out[-1, -1] = bias, 1.0
        return out
    from scipy import sparse

    inner: Any = sparse.identity(size) if weight is None else weight
    corner = sparse.csr_matrix([[0.0 if bias is None else 1.0]])
    column = sparse.csr_matrix((inner.shape[0], 1) if bias is None else bias[:, None])
    return sparse.bmat([[inner, column], [None, corner]], format="csr")


def _by_relus(step: Switching, source: int, count: int) -> list[Step]:
    """s₀ z + o₀ u + Σ_k (s_{k+1} − s_k) max(z − κ_k u, 0), as three steps behind the ``count`` that stand already."""
    n, knots = step.knots.shape
    entry = np.repeat(np.arange(n), knots)
    shifted = np.zeros((n * knots, n + 1))
    shifted[np.arange(n * knots), entry], shifted[:, -1] = 1.0, -step.knots.reshape(-1)
    bends = np.zeros((n + 1, n * knots))
    bends[entry, np.arange(n * knots)] = np.diff(step.slopes, axis=1).reshape(-1)
    before = _bordered(np.diag(step.slopes[:, 0]), n, step.offsets[:, 0])
    return [
        Affine((source,), (shifted,), np.zeros(n * knots), step.name),
        switching(count + 1, n * knots, RELU, step.name),
        Affine((source, count + 2), (before, bends), np.zeros(n + 1), step.name),
    ]
