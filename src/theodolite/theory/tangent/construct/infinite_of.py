"""The infinite-width kernels of a given module, read off its traced graph: which layers, which activations, which variances."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from theodolite.core.arrays import as_float64, as_given
from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.lens.frozen import frozen
from theodolite.lens.graph import Graph, Node, Ref, trace
from theodolite.theory.tangent.construct.propagate import Sources, State, affine, elementwise, layer_norm, mix, scaled, summed
from theodolite.theory.tangent.infinite import InfiniteKernels
from theodolite.theory.tangent.predict.layers import layer_of

__all__ = ["infinite_kernels_of"]

Array = npt.NDArray[np.float64]

#: Entries of one block of the kernel over samples and positions.
_BLOCK_ENTRIES = 2**22


def infinite_kernels_of(
    model: nn.Module, x1: Any, x2: Any = None, *, parameterization: Literal["ntk", "standard"] = "ntk"
) -> InfiniteKernels:
    """NNGP and NTK of the network that a module becomes when its hidden layers (or channels) grow without bound.

    The module is traced; each weight tensor counts as Gaussian of the variance that it shows, σ_w² = fan-in · mean W² and
    σ_b² = mean b². Supported: linear layers and products with a weight matrix, convolutions (zero padding, one group), elementwise
    activations of any kind, residual sums, layer norm, average pooling, flattening, multiplication by constants, dropout at rest.
    Layer norms count as fixed: their scale enters by its mean square, and it is not trained.

    Args:
        model: looked at in evaluation mode; left as found.
        x1: inputs ``(N1, d)`` or ``(N1, channels, *spatial)``.
        x2: inputs ``(N2, ...)``; None means ``x1``.
        parameterization: ``"ntk"`` (gradients with respect to W/(σ_w/√fan-in)), or ``"standard"``: with respect to W itself, with the
            module's own widths; the latter is what `ntk` of the module approaches (per output).

    Returns:
        `InfiniteKernels` of one output; numpy or torch as ``x1``, and on its device.

    Raises:
        UnsupportedError: an operation without an infinite-width limit here (max pooling, attention, batch statistics, shared weights,
            a sum of correlated branches); it is named.
        ArgumentError: inputs that do not fit.

    Cost: O(N1 N2 S²) per layer for S positions; blocks of a few tens of megabytes.

    Reference: jacot2018; novak2020; arora2019.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, 1))
        >>> infinite_kernels_of(net, torch.eye(2, dtype=torch.float32))
        InfiniteKernels(nngp(2, 2), ntk(2, 2))
    """
    if parameterization not in ("ntk", "standard"):
        raise ArgumentError(f"parameterization must be 'ntk' or 'standard', got {parameterization!r}")
    first = as_float64(x1, "x1", at_least=2)
    second = first if x2 is None else as_float64(x2, "x2", at_least=2)
    if second.shape[1:] != first.shape[1:]:
        raise ArgumentError(
            f"x2 must have the shape of x1 beyond the first dimension, got {tuple(second.shape)} and {tuple(first.shape)}"
        )
    parameter = next(model.parameters(), None)
    probe = first[:2].to(parameter.dtype) if parameter is not None else first[:2]
    with frozen(model):
        graph = trace(model, probe.to(parameter.device) if parameter is not None else probe)
    plan = _Program(graph, parameterization == "standard", len(probe))
    a, b = (t.detach().cpu().numpy() for t in (first, second))
    symmetric = x2 is None or x2 is x1
    nngp, ntk = np.empty((len(a), len(b))), np.empty((len(a), len(b)))
    step = max(1, int(_BLOCK_ENTRIES**0.5 / math.prod(a.shape[2:])))
    for i in range(0, len(a), step):
        for j in range(i if symmetric else 0, len(b), step):
            rows, columns = slice(i, i + step), slice(j, j + step)
            nngp[rows, columns], ntk[rows, columns] = plan.run(a[rows], b[columns])
            if symmetric and i != j:
                nngp[columns, rows], ntk[columns, rows] = nngp[rows, columns].T, ntk[rows, columns].T
    return InfiniteKernels(*(as_given(torch.from_numpy(k), x1) for k in (nngp, ntk)))


class _Program:
    """The graph as a sequence of kernel maps."""

    def __init__(self, graph: Graph, standard: bool, batch: int) -> None:
        self.graph, self.standard, self.batch = graph, standard, batch
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise UnsupportedError(
                f"the module must have one input and one output, got {len(graph.inputs)} and {len(graph.outputs)}"
            )
        seen: dict[int, str] = {}
        for node in graph:
            if node.kind == "affine":
                key = node.weight.data_ptr()
                if key in seen:
                    raise UnsupportedError(
                        f"{node.name} shares its weights with {seen[key]}; shared weights have another infinite limit"
                    )
                seen[key] = node.name

    def run(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Kernels between two blocks of inputs."""
        states: dict[int, State] = {}
        for node in self.graph:
            states[node.index] = State.of_inputs(a, b) if node.kind == "input" else self._apply(node, states)
        final = states[self.graph.outputs[0].index]
        if final.positions > 1:
            raise UnsupportedError(
                "the module's output still has positions; end it with pooling or flattening and a linear layer"
            )
        return final.cross, final.tangent

    def _apply(self, node: Node, states: dict[int, State]) -> State:
        parents = [states[i] for i in node.parents]
        method = getattr(self, f"_{node.kind}", None)
        if method is None or any(ref.item is not None for ref in node.refs):
            raise UnsupportedError(f"{node.name} ({node.label}) has no infinite-width kernel here")
        state: State = method(node, parents)
        return state

    def _affine(self, node: Node, parents: list[State]) -> State:
        weight, bias = node.weight.detach().double(), node.bias
        b2 = 0.0 if bias is None else float(bias.detach().double().square().mean())
        if node.label.startswith("conv") and "transpose" not in node.label:
            fan_in, windows = weight[0].numel(), _windows(node, self.graph[node.parents[0]].shape[2:])
        elif node.label in ("linear", "addmm", "matmul", "mm", "__matmul__") and weight.ndim == 2:
            fan_in, windows = weight.shape[1 if node.label == "linear" else 0], None
            if parents[0].positions > 1:
                raise UnsupportedError(f"{node.name} is linear in the last dimension of images; flatten or pool first")
        else:
            raise UnsupportedError(f"{node.name} ({node.label}) has no infinite-width kernel here")
        w2 = float(fan_in * weight.square().mean())
        gradient = (float(fan_in), float(bias is not None)) if self.standard else (w2, b2)
        return affine(parents[0], (w2, b2), gradient, windows, Sources.affine(node.index))

    def _elementwise(self, node: Node, parents: list[State]) -> State:
        plain = len(node.args) == 1 and not node.kwargs
        layer = layer_of(node.function if plain and node.function is not None else node.activation)
        if not parents[0].gaussian:
            raise UnsupportedError(
                f"{node.name} acts on values that are not Gaussian (another activation before it without a linear map)"
            )
        return elementwise(parents[0], layer, Sources.other(node.index))

    def _add(self, node: Node, parents: list[State]) -> State:
        if len(node.refs) != 2 or len(parents) != 2 or node.label not in ("add", "add_", "__add__", "__iadd__", "sub", "__sub__"):
            raise UnsupportedError(f"{node.name} is no sum of two branches")
        if not parents[0].sources.uncorrelated(parents[1].sources):
            raise UnsupportedError(
                f"{node.name} adds branches that are correlated; a residual branch must end in its own linear map"
            )
        return summed(*parents)

    def _multiply(self, node: Node, parents: list[State]) -> State:
        numbers = [a for a in node.args if isinstance(a, (int, float))]
        if len(parents) != 1 or len(numbers) != 1 or len(node.args) != 2:
            raise UnsupportedError(f"{node.name} multiplies by something other than a constant")
        divides = "div" in node.label
        if divides and not isinstance(node.args[0], Ref):
            raise UnsupportedError(f"{node.name} divides by activations")
        return scaled(parents[0], 1.0 / numbers[0] if divides else float(numbers[0]))

    def _norm(self, node: Node, parents: list[State]) -> State:
        if node.label != "layer_norm" or len(node.shape) != 2:
            raise UnsupportedError(f"{node.name} ({node.label}) has no infinite-width kernel here; layer norm over features has")
        tensors = [a for a in (*node.args, *node.kwargs.values()) if isinstance(a, torch.Tensor)]
        squares = [float(t.detach().double().square().mean()) for t in tensors]
        return layer_norm(parents[0], squares[0] if squares else 1.0, squares[1] if len(squares) > 1 else 0.0)

    def _pool(self, node: Node, parents: list[State]) -> State:
        shape = self.graph[node.parents[0]].shape
        spatial, out = shape[2:], node.shape[2:]
        label = node.label
        averages = label.startswith(("adaptive_avg_pool", "avg_pool")) or (label == "mean" and len(node.shape) in (2, len(shape)))
        if averages:
            probe = torch.eye(math.prod(spatial), dtype=torch.float64).reshape(-1, 1, *spatial)
            weights = node.apply({node.parents[0]: probe}).reshape(math.prod(spatial), -1).T.numpy()
            if weights.shape[0] != math.prod(out):
                raise UnsupportedError(f"{node.name} averages over something other than positions")
            return mix(parents[0], weights)
        raise UnsupportedError(f"{node.name} ({label}) has no infinite-width kernel here; average pooling has")

    def _reshape(self, node: Node, parents: list[State]) -> State:
        before = self.graph[node.parents[0]].shape
        if tuple(node.shape) == tuple(before):
            return parents[0]
        if len(node.shape) == 2 and node.shape[0] == self.batch and node.shape[1] == math.prod(before[1:]):
            return parents[0].flattened()
        raise UnsupportedError(
            f"{node.name} ({node.label}) reshapes {tuple(before)} to {tuple(node.shape)}; only flattening is known here"
        )

    def _dropout(self, node: Node, parents: list[State]) -> State:
        return parents[0]


def _windows(node: Node, spatial: tuple[int, ...]) -> Array:
    """For each output position the input positions it reads, ``(S_out, k)``; S_in stands for a padded zero."""
    weight = node.weight
    names = ("stride", "padding", "dilation", "groups")
    given = dict(zip(names, node.args[3:], strict=False)) | {k: v for k, v in node.kwargs.items() if k in names}
    if given.get("groups", 1) != 1:
        raise UnsupportedError(f"{node.name} has several groups of channels; its kernel does not close on one channel average")
    from theodolite.lens.convolution import patches

    places = torch.arange(1, math.prod(spatial) + 1, dtype=torch.float64).reshape(1, 1, *spatial)  # zero marks the padding
    padding = given.get("padding", 0)
    found = patches(places, tuple(weight.shape[2:]), given.get("stride", 1), padding, given.get("dilation", 1), 1)
    index = found[0, :, 0].long().numpy() - 1
    return np.where(index < 0, math.prod(spatial), index)
