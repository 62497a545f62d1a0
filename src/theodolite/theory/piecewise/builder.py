"""Nodes of a traced graph as steps of a piecewise-linear program, one kind of operation after the other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from theodolite.core.errors import UnsupportedError
from theodolite.lens.graph import Graph, Node, Ref
from theodolite.theory.piecewise.knots import RELU6, Knots, knots_of
from theodolite.theory.piecewise.program import Affine, Array, Maximum, Step, Switching
from theodolite.theory.piecewise.windows import pooling_windows

__all__ = ["Builder", "as_array", "diagonal", "selection", "switching"]

#: Fraction of non-zeros above which a weight is kept dense.
DENSE = 0.25

_SAME = frozenset(
    ["to", "float", "double", "type", "type_as", "detach", "clone", "contiguous", "cpu", "cuda", "alias", "positive"]
)
_LINEAR_POOLS = ("avg_pool", "adaptive_avg_pool", "mean", "sum")


def as_array(tensor: torch.Tensor) -> Array:
    """A tensor as float64 numbers on the CPU: a copy, since the model may go on training."""
    return np.array(tensor.detach().to(device="cpu", dtype=torch.float64).numpy())


@functools.lru_cache(maxsize=256)
def switching(source: int, size: int, knots: Knots, name: str) -> Switching:
    """The same activation on all of ``size`` entries; its tables are read-only, since equal steps are shared."""
    return Switching(source, _table(knots.knots, size), _table(knots.slopes, size), _table(knots.offsets, size), name)


def _table(values: tuple[float, ...], size: int) -> Array:
    table = np.tile(np.array(values, dtype=np.float64), (size, 1))
    table.setflags(write=False)
    return table


@dataclass
class Builder:
    """Turns nodes into steps. Values are flattened tensors of batch size one."""

    graph: Graph
    steps: list[Step] = field(default_factory=list)
    values: dict[Ref, int] = field(default_factory=dict)
    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def value(self, ref: Ref) -> int:
        """The value that a reference stands for."""
        if ref not in self.values:
            node = self.graph[ref.index]
            raise UnsupportedError(f"the result {ref.item} of {_place(node)} has no piecewise-linear form")
        return self.values[ref]

    def push(self, step: Step, shape: tuple[int, ...]) -> int:
        """Append a step; its value."""
        self.steps.append(step)
        self.shapes[len(self.steps)] = shape
        return len(self.steps)

    def add(self, node: Node) -> None:
        """Lower one node."""
        treat: Callable[[Node], int] | None = {
            "affine": self._affine,
            "elementwise": self._elementwise,
            "add": self._addition,
            "multiply": self._multiply,
            "concat": self._gather,
            "reshape": self._gather,
            "norm": self._norm,
            "pool": self._pool,
            "dropout": self._dropout,
        }.get(node.kind)
        if node.label in ("maximum", "minimum"):
            treat = self._extremum
        if treat is None:
            raise _refusal(node)
        result = treat(node)
        if result >= 0:
            self.values[Ref(node.index)] = result

    def _affine(self, node: Node) -> int:
        (ref,) = node.refs if len(node.refs) == 1 else (None,)
        if ref is None or node.label == "bilinear":
            raise _refusal(node, "it multiplies two values that both depend on the input")
        source = self.value(ref)
        bias = node.bias
        if node.label == "linear" and len(self.shapes[source]) == 2:
            offset = np.zeros(node.shape[-1]) if bias is None else as_array(bias)
            return self.push(Affine((source,), (as_array(node.weight),), offset, node.name), node.shape)
        linear = _with_tensors(node, lambda t: torch.zeros_like(t) if t is bias else t)
        return self._probe(linear, source, node, None if bias is None else _run(node, ref, torch.zeros(self.shapes[source])))

    def _probe(self, linear: Node, source: int, node: Node, offset: Array | None) -> int:
        """A linear operation as a sparse matrix, read off unit vectors; exact, since each column holds single products."""
        from scipy import sparse

        (ref,) = linear.refs
        shape = self.shapes[source]
        size = int(np.prod(shape, dtype=int))
        chunk = max(1, min(size, (1 << 22) // max(size, 1)))
        columns = []
        for low in range(0, size, chunk):
            high = min(low + chunk, size)
            units = torch.zeros((high - low, size), dtype=torch.float64)
            units[torch.arange(high - low), torch.arange(low, high)] = 1.0
            columns.append(sparse.csr_matrix(_run(linear, ref, units.reshape(high - low, *shape[1:])).reshape(high - low, -1)))
        matrix = sparse.vstack(columns).T.tocsr()
        matrix.sort_indices()
        weight = matrix.toarray() if matrix.nnz > DENSE * matrix.shape[0] * matrix.shape[1] else matrix
        bias = np.zeros(matrix.shape[0]) if offset is None else offset.reshape(-1)
        return self.push(Affine((source,), (weight,), bias, node.name), node.shape)

    def _elementwise(self, node: Node) -> int:
        (ref,) = node.refs
        source = self.value(ref)
        shape = self.shapes[source]
        size = int(np.prod(shape, dtype=int))
        constants = [a for a in node.args if not isinstance(a, Ref)]
        if node.label in ("neg", "__neg__"):
            return self.push(Affine((source,), (diagonal(-np.ones(size)),), np.zeros(size), node.name), shape)
        if node.label == "prelu":
            slope = as_array(constants[0] if constants else node.kwargs["weight"]).reshape(-1)
            if len(slope) > 1:
                slope = np.broadcast_to(slope.reshape(-1, *[1] * (len(shape) - 2)), shape[1:]).reshape(-1)
            slopes = np.stack([np.broadcast_to(slope, size), np.ones(size)], axis=1)
            return self.push(Switching(source, np.zeros((size, 1)), slopes, np.zeros((size, 2)), node.name), shape)
        if node.label == "hardsigmoid":
            # max(0, min(6, x + 3)) / 6: in this form it is continuous although 1/6 is rounded
            shifted = self.push(Affine((source,), (None,), np.full(size, 3.0), node.name), shape)
            clamped = self.push(switching(shifted, size, RELU6, node.name), shape)
            return self.push(Affine((clamped,), (diagonal(np.full(size, 1 / 6)),), np.zeros(size), node.name), shape)
        knots = knots_of(node.label, tuple(constants), dict(node.kwargs))
        if knots is None:
            raise _refusal(node, "it is not a continuous piecewise-linear function")
        return self.push(switching(source, size, knots, node.name), shape)

    def _addition(self, node: Node) -> int:
        signs = {"sub": (1, -1), "sub_": (1, -1), "__sub__": (1, -1), "__isub__": (1, -1), "rsub": (-1, 1), "__rsub__": (-1, 1)}
        first, second = signs.get(node.label, (1, 1))
        if node.label == "sum_of" or len(node.args) != 2:
            raise _refusal(node)
        alpha = float(node.kwargs.get("alpha", 1))
        scales = (first * (alpha if first < 0 else 1), second * alpha) if node.label not in ("rsub", "__rsub__") else (-alpha, 1)
        size = int(np.prod(node.shape, dtype=int))
        sources, weights, bias = [], [], np.zeros(size)
        for argument, scale in zip(node.args, scales, strict=True):
            if isinstance(argument, Ref):
                sources.append(self.value(argument))
                weights.append(_spread(self.shapes[sources[-1]], node.shape, float(scale)))
            else:
                constant = as_array(argument) if isinstance(argument, torch.Tensor) else np.float64(argument)
                bias = bias + scale * np.broadcast_to(constant, node.shape).reshape(-1)
        return self.push(Affine(tuple(sources), tuple(weights), bias, node.name), node.shape)

    def _multiply(self, node: Node) -> int:
        arguments = list(node.args)
        if len(node.refs) != 1 or len(arguments) != 2 or node.label == "glu" or node.kwargs.get("rounding_mode"):
            raise _refusal(node, "a product of two values that both depend on the input is not piecewise linear")
        divides = "div" in node.label
        if (divides and not isinstance(arguments[0], Ref)) or node.label == "__rtruediv__":
            raise _refusal(node, "dividing by a value that depends on the input is not piecewise linear")
        constant = next(a for a in arguments if not isinstance(a, Ref))
        factor = as_array(constant) if isinstance(constant, torch.Tensor) else np.float64(constant)
        factor = 1.0 / factor if divides else factor
        source = self.value(node.refs[0])
        spread = _spread(self.shapes[source], node.shape, 1.0)
        scale = diagonal(np.broadcast_to(factor, node.shape).reshape(-1))
        weight = scale if spread is None else scale @ spread
        return self.push(Affine((source,), (weight,), np.zeros(weight.shape[0]), node.name), node.shape)

    def _gather(self, node: Node) -> int:
        """Reshapes, selections, repetitions, padding with zeros, concatenations: every result entry is an input entry, or zero."""
        if node.label in _SAME and len(node.refs) == 1:
            return self.value(node.refs[0])
        if node.label in ("half",):
            raise _refusal(node, "half precision rounds inside the network")
        numbered, sources, offset = {}, [], 1
        for ref in dict.fromkeys(node.refs):
            value = self.value(ref)
            shape = self.shapes[value]
            size = int(np.prod(shape, dtype=int))
            numbered[ref] = torch.arange(offset, offset + size, dtype=torch.float64).reshape(shape)
            sources.append((value, offset, size))
            offset += size
        result = _apply_refs(node, numbered)
        if isinstance(result, torch.Tensor):
            return self._entries(result, sources, node)
        for item, tensor in enumerate(result):
            self.values[Ref(node.index, item)] = self._entries(tensor, sources, node)
        return -1

    def _entries(self, result: torch.Tensor, sources: list[tuple[int, int, int]], node: Node) -> int:
        entries = as_array(result).reshape(-1)
        if not ((entries >= 0) & (entries == np.round(entries)) & (entries < sources[-1][1] + sources[-1][2])).all():
            raise _refusal(node, "it inserts values of its own")
        used, weights = [], []
        for value, offset, size in sources:
            local = entries.astype(int) - offset
            inside = (local >= 0) & (local < size)
            if inside.any():
                used.append(value)
                weights.append(selection(np.where(inside, local, -1), size))
        if not used:
            raise _refusal(node, "its result does not depend on the input")
        same = len(used) == 1 and np.array_equal(entries, np.arange(len(entries)) + sources[0][1])
        if same and len(entries) == sources[0][2]:  # a pure reshape: the flattened vector is unchanged
            return self._renamed(used[0], tuple(result.shape))
        return self.push(Affine(tuple(used), tuple(weights), np.zeros(len(entries)), node.name), tuple(result.shape))

    def _renamed(self, value: int, shape: tuple[int, ...]) -> int:
        if self.shapes[value] == shape:
            return value
        size = int(np.prod(shape, dtype=int))
        return self.push(Affine((value,), (None,), np.zeros(size), "reshape"), shape)

    def _norm(self, node: Node) -> int:
        if node.label != "batch_norm":
            raise _refusal(node, "it divides by a statistic of its input")
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        if given.get("training") or given.get("running_mean") is None:
            raise _refusal(node, "without running statistics it divides by a statistic of its input")
        mean, var = as_array(given["running_mean"]), as_array(given["running_var"])
        scale = 1.0 / np.sqrt(var + float(given.get("eps", 1e-5)))
        if given.get("weight") is not None:
            scale = scale * as_array(given["weight"])
        shift = -mean * scale + (0.0 if given.get("bias") is None else as_array(given["bias"]))
        source = self.value(node.refs[0])
        shape = self.shapes[source]
        wide = [np.broadcast_to(v.reshape(-1, *[1] * (len(shape) - 2)), shape[1:]).reshape(-1) for v in (scale, shift)]
        return self.push(Affine((source,), (diagonal(wide[0]),), wide[1], node.name), shape)

    def _pool(self, node: Node) -> int:
        (ref,) = node.refs
        source = self.value(ref)
        if node.label.startswith(_LINEAR_POOLS):
            if (node.label in ("mean", "sum") and len(node.shape) and node.shape[0] != 1) or not node.shape:
                raise _refusal(node, "it reduces over the batch")
            return self._probe(node, source, node, None)
        groups = pooling_windows(node, self.shapes[source])
        if groups is None:
            raise _refusal(node)
        value = self.push(Maximum(source, groups, node.name), node.shape)
        self.values[Ref(node.index, 0)] = value
        return value

    def _extremum(self, node: Node) -> int:
        """maximum(x, y), and minimum(x, y) = −maximum(−x, −y)."""
        sign = 1.0 if node.label == "maximum" else -1.0
        size = int(np.prod(node.shape, dtype=int))
        sources, weights, bias = [], [], np.zeros(2 * size)
        for k, argument in enumerate(node.args):
            if isinstance(argument, Ref):
                spread = _spread(self.shapes[self.value(argument)], node.shape, sign)
                sources.append(self.value(argument))
                weights.append(_stacked(spread, size, k))
            else:
                constant = as_array(argument) if isinstance(argument, torch.Tensor) else np.float64(argument)
                bias[k * size : (k + 1) * size] = sign * np.broadcast_to(constant, node.shape).reshape(-1)
        both = self.push(Affine(tuple(sources), tuple(weights), bias, node.name), (1, 2 * size))
        groups = np.stack([np.arange(size), size + np.arange(size)], axis=1)
        best = self.push(Maximum(both, groups, node.name), node.shape)
        if sign > 0:
            return best
        return self.push(Affine((best,), (diagonal(-np.ones(size)),), np.zeros(size), node.name), node.shape)

    def _dropout(self, node: Node) -> int:
        if node.kwargs.get("training", node.args[2] if len(node.args) > 2 else True):
            raise _refusal(node, "it is random in training mode")
        return self.value(node.refs[0])


def _place(node: Node) -> str:
    return f"{node.label!r}" + (f" in module {node.module!r}" if node.module else "")


def _refusal(node: Node, why: str = "") -> UnsupportedError:
    reason = f": {why}" if why else f" (an operation of kind {node.kind!r})"
    return UnsupportedError(
        f"{_place(node)} has no place in an exact piecewise-linear program{reason}; replace it, or stop before it"
    )


def selection(entries: Array, size: int) -> Any:
    """The matrix that picks the entries; −1 picks nothing."""
    from scipy import sparse

    rows = np.flatnonzero(entries >= 0)
    return sparse.csr_matrix((np.ones(len(rows)), (rows, entries[rows])), shape=(len(entries), size))


def diagonal(values: Array) -> Any:
    """The diagonal matrix of the values."""
    from scipy import sparse

    return sparse.diags(np.asarray(values, dtype=np.float64), format="csr")


def _spread(shape: tuple[int, ...], target: tuple[int, ...], scale: float) -> Any:
    """scale × broadcasting from one shape to another, as a matrix; None for the identity."""
    size = int(np.prod(shape, dtype=int))
    if shape == target:
        return None if scale == 1.0 else diagonal(np.full(size, scale))
    entries = np.broadcast_to(np.arange(size).reshape(shape), target).reshape(-1)
    return selection(entries, size) * scale


def _stacked(spread: Any, size: int, position: int) -> Any:
    """A matrix put into the upper (0) or lower (1) half of a matrix with twice its rows."""
    from scipy import sparse

    block = sparse.identity(size, format="csr") if spread is None else spread
    empty = sparse.csr_matrix(block.shape)
    return sparse.vstack([block, empty] if position == 0 else [empty, block]).tocsr()


def _with_tensors(node: Node, change: Callable[[torch.Tensor], torch.Tensor]) -> Node:
    def moved(value: Any) -> Any:
        return change(value) if isinstance(value, torch.Tensor) else value

    return replace(node, args=tuple(moved(a) for a in node.args), kwargs={k: moved(v) for k, v in node.kwargs.items()})


def _run(node: Node, ref: Ref, value: torch.Tensor) -> Array:
    """An operation of one value on another value, in float64 on the CPU."""
    return as_array(_apply_refs(node, {ref: value.to(torch.float64)}))


def _apply_refs(node: Node, given: dict[Ref, torch.Tensor]) -> Any:
    wide = _with_tensors(node, lambda t: t.detach().to("cpu", torch.float64) if t.is_floating_point() else t.cpu())
    values: dict[int, Any] = {}
    for ref, tensor in given.items():
        if ref.item is None:
            values[ref.index] = tensor
        else:
            values.setdefault(ref.index, {})[ref.item] = tensor
    with torch.no_grad():
        return wide.apply(values)
