"""The windows of max pooling and of maxima over dimensions, as groups of entries."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from theodolite.lens.graph import Node, Ref
from theodolite.theory.piecewise.program import Array

__all__ = ["pooling_windows"]


def pooling_windows(node: Node, shape: tuple[int, ...]) -> Array | None:
    """Groups (m, g) of flattened entries over which a pooling node takes the maximum, padded with −1; None if it takes none.

    Args:
        node: a traced node of kind ``pool``.
        shape: shape of what it reads, with a batch dimension of size one.
    """
    if node.label.startswith("max_pool"):
        return _max_pool(node, shape)
    if node.label.startswith("adaptive_max_pool"):
        out = node.shape[2:]
        ranges = [
            [range(i * size // o, -((-(i + 1) * size) // o)) for i in range(o)] for size, o in zip(shape[2:], out, strict=True)
        ]
        return _groups(shape, ranges)
    if node.label in ("amax", "max"):
        return _over_dimensions(node, shape)
    return None


def _max_pool(node: Node, shape: tuple[int, ...]) -> Array:
    names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    dims = len(shape) - 2
    kernel = _each(given["kernel_size"], dims)
    stride = _each(given.get("stride") or kernel, dims)
    padding = _each(given.get("padding", 0), dims)
    dilation = _each(given.get("dilation", 1), dims)
    ranges = []
    for k in range(dims):
        starts = [i * stride[k] - padding[k] for i in range(node.shape[2 + k])]
        windows = [range(s, s + dilation[k] * (kernel[k] - 1) + 1, dilation[k]) for s in starts]
        ranges.append([[i for i in w if 0 <= i < shape[2 + k]] for w in windows])
    return _groups(shape, ranges)


def _each(value: Any, dims: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return tuple(int(v) for v in (values * dims if len(values) == 1 else values))


def _groups(shape: tuple[int, ...], ranges: list[Any]) -> Array:
    """One group per channel and output position, in row-major order; ``ranges[k][i]``: entries of dimension k seen from i."""
    index = np.arange(int(np.prod(shape, dtype=int))).reshape(-1, *shape[2:])
    groups = [[int(channel[entry]) for entry in product(*window)] for channel in index for window in product(*ranges)]
    return _padded(groups)


def _padded(groups: list[list[int]]) -> Array:
    width = max(len(g) for g in groups)
    out = np.full((len(groups), width), -1)
    for row, group in zip(out, groups, strict=True):
        row[: len(group)] = group
    return out


def _over_dimensions(node: Node, shape: tuple[int, ...]) -> Array | None:
    constants = [a for a in node.args if not isinstance(a, Ref)]
    dims = node.kwargs.get("dim", constants[0] if constants else None)
    if dims is None or isinstance(dims, Ref) or hasattr(dims, "numel"):
        return None
    chosen = sorted({int(d) % len(shape) for d in (dims if isinstance(dims, (tuple, list)) else (dims,))})
    if 0 in chosen:
        return None
    rest = [k for k in range(len(shape)) if k not in chosen]
    index = np.arange(int(np.prod(shape, dtype=int))).reshape(shape).transpose(*rest, *chosen)
    return index.reshape(int(np.prod([shape[k] for k in rest], dtype=int)), -1)
