"""The path norm of a traced network: its weights raised to a power, its activations removed, ones fed in."""

from __future__ import annotations

import math
import numbers
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from theodolite.core.errors import ArgumentError, NumericalError, UnsupportedError
from theodolite.core.quantity import quantity
from theodolite.lens.frozen import frozen
from theodolite.lens.graph import Node, trace

__all__ = ["path_norm"]

_PASSED = {"input", "elementwise", "dropout", "reshape", "concat", "add", "affine", "multiply"}


@quantity(symbol="‖θ‖_path", reference="neyshabur2015")
def path_norm(model: nn.Module, inputs: torch.Tensor, *, p: float = 2.0) -> float:
    """ℓp path norm (Σ over paths from an input to an output of Π |w_e|^p)^(1/p).

    Invariant under rescaling of neurons, w_in → c w_in, w_out → w_out/c, which leaves a ReLU network unchanged. A bias is a
    weight from a constant input, so it starts paths of its own. Computed in one pass: weights become |w|^p, activations the
    identity, inputs ones. Defined for networks of affine maps, elementwise activations, sums, concatenations, reshapes and
    multiplication by constants.

    Args:
        model: such a network.
        inputs: an example input, ``(N, …)`` with N ≥ 1; only the shape of its first row is used.
        p: power, 2 or 1 in the literature; finite.

    Returns:
        The norm as a float.

    Raises:
        UnsupportedError: the network holds an operation without a path norm (normalisation, attention, pooling, …); it is named.
        ArgumentError: p < 1 or infinite, or inputs without a row.
        NumericalError: the powers |w|^p leave the range of floats.

    Cost: one forward pass of one sample.

    Reference: neyshabur2015 Eq. 6.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
        >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]])), net[2].weight.data.copy_(torch.tensor([[1.0, -1.0]]))
        >>> path_norm(net, torch.zeros(1, 2), p=1)
        10.0
    """
    if not isinstance(p, numbers.Real) or not 1 <= p < math.inf:
        raise ArgumentError(
            f"p must be at least 1 and finite, got {p!r}; the sum over paths has no pass of its own for their maximum"
        )
    if not isinstance(inputs, torch.Tensor) or inputs.ndim == 0 or len(inputs) == 0:
        got = tuple(inputs.shape) if isinstance(inputs, torch.Tensor) else type(inputs).__name__
        raise ArgumentError(
            f"inputs must be a tensor (N, …) with at least one row, whose shape is the network's input, got {got}"
        )
    row = inputs[:1].to(next(model.parameters(), inputs).device)
    with frozen(model):
        graph = trace(model, row, fuse=False)
    values: dict[int, Any] = {}
    with torch.no_grad():
        for node in graph:
            if node.kind not in _PASSED:
                raise UnsupportedError(
                    f"the path norm is not defined through {node.name!r} ({node.label}, {node.kind}); it takes affine maps, "
                    "activations, sums, concatenations, reshapes and products with constants"
                )
            values[node.index] = _pass(node, values, row, p)
        total = sum(float(values[ref.index].sum()) for ref in graph.outputs)
    if not math.isfinite(total):
        raise NumericalError(f"the sum over paths of |w|^{p:g} overflows; take a smaller p, or rescale the weights")
    return float(total ** (1 / p))


def _power(weights: torch.Tensor, p: float) -> torch.Tensor:
    """|w|^p in float64.

    Raises:
        NumericalError: the greatest of them overflows, or vanishes though its weight does not; the sum over paths would be wrong.
    """
    size = weights.to(torch.float64).abs()
    raised = size**p
    if raised.numel() and (not math.isfinite(most := float(raised.max())) or (most == 0 and bool(size.any()))):
        raise NumericalError(
            f"|w|^{p:g} leaves the range of floats for weights of size {float(size.max()):.3g}; "
            "take a smaller p, or rescale the weights"
        )
    return raised


def _pass(node: Node, values: dict[int, Any], inputs: torch.Tensor, p: float) -> Any:
    if node.kind == "input":
        return torch.ones(node.shape, dtype=torch.float64, device=inputs.device)
    if node.kind in ("elementwise", "dropout"):
        return values[node.parents[0]]
    if node.kind == "add":
        # a − b is a sum over the same paths: signs do not matter.
        total = sum(values[i] for i in node.parents)
        return total + sum(_power(torch.as_tensor(c, device=inputs.device), p) for c in _constants(node))
    if node.kind == "multiply":
        if len(node.parents) != 1 or len(node.refs) != 1:
            raise UnsupportedError(f"the path norm is not defined through the product {node.name!r} of two activations")
        raised = values[node.parents[0]]
        (constant,) = _constants(node)
        size = _power(torch.as_tensor(constant, device=inputs.device), p)
        return raised / size if "div" in node.label else raised * size
    raised_node = replace(node, args=_raised(node.args, p), kwargs=_raised(dict(node.kwargs), p))
    return raised_node.apply(values)


def _constants(node: Node) -> list[Any]:
    """Numbers and tensors among a node's positional arguments."""
    return [a for a in node.args if isinstance(a, (int, float, torch.Tensor)) and not isinstance(a, bool)]


def _raised(tree: Any, p: float) -> Any:
    """Every floating tensor as |w|^p in float64; everything else unchanged."""
    if isinstance(tree, torch.Tensor):
        return _power(tree.detach(), p) if tree.is_floating_point() else tree
    if isinstance(tree, dict):
        return {key: _raised(value, p) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)) and type(tree) in (list, tuple):
        return type(tree)(_raised(value, p) for value in tree)
    return tree
