"""Lyapunov exponents: growth rates of directions through networks so deep that singular values drown in rounding."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.core.seed import generator
from theodolite.lens.frozen import frozen
from theodolite.lens.graph import Graph, Node, Ref, trace

__all__ = ["lyapunov_spectrum"]

Layer = Callable[[torch.Tensor], torch.Tensor]


def lyapunov_spectrum(model: Any, x: Any, k: int | None = None, *, every: int = 10, seed: int = 0) -> torch.Tensor:
    """Lyapunov exponents of a deep network at an input: growth rates ln σ_i(J)/L of the k leading directions, in decreasing order.

    k tangent vectors are carried through the layers and orthogonalised by QR every ``every`` steps, or sooner where their condition
    number asks for it, so that rates down to e^−700 per direction stay visible where the singular values of the plain product drown
    in rounding. R-diagonals are estimates of log singular values that become exact as depth grows; for the bulk of a shallow network
    use `jacobian_singular_values`. In mean-field theory the largest one tends to ½ ln χ₁ at least: Σ exp(2 λ_i L)/n = χ₁^L.

    Args:
        model: any module, left as it was: it is traced, and cut wherever everything passes through a single tensor, so that a residual
            block is one step; or a sequence of callables, each one step.
        x: inputs (N, …), or one input without the batch dimension.
        k: number of exponents; all by default.
        every: steps between two orthogonalisations, at most 10.
        seed: of the tangent vectors.

    Returns:
        (N, k), or (k,) for a single input, per layer: L counts the steps that hold an affine operation (all steps, if none does).

    Raises:
        UnsupportedError: tokens as inputs, a module of several inputs or one whose operations have no forward derivative.
        ArgumentError: ``every`` beyond 10, or k out of range.

    Cost: k tangent vectors through every layer, and a QR of (width, k) every ``every`` steps.

    Reference: benettin1980.

    Example:
        >>> net = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(50))).double()
        >>> for layer in net: _ = layer.weight.data.copy_(torch.diag(torch.tensor([2.0, 0.5])))
        >>> lyapunov_spectrum(net, torch.zeros(1, 2)).exp().round(decimals=6).tolist()
        [2.0, 0.5]
    """
    if not 1 <= every <= 10:
        raise ArgumentError(f"every must lie in 1..10: beyond, small directions are lost to rounding; got {every}")
    point = torch.as_tensor(x).detach()
    if not point.is_floating_point():
        raise UnsupportedError(f"exponents are of derivatives, which inputs of type {point.dtype} do not have; pass embeddings")
    modules = [model] if isinstance(model, nn.Module) else [m for m in _listed(model) if isinstance(m, nn.Module)]
    reference = next((p for module in modules for p in module.parameters()), None)
    point = point.double() if reference is None else point.to(reference)
    points = point.split(1) if point.ndim > 1 and len(point) > 1 else (point,)
    with contextlib.ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))  # fused attention has no forward derivative
        for module in modules:
            stack.enter_context(frozen(module))
        steps = _traced_steps(model, points[0]) if isinstance(model, nn.Module) else _listed_steps(_listed(model))
        rows = [_exponents(steps, one, k, every, seed) for one in points]
    return rows[0] if len(rows) == 1 else torch.stack(rows)


@dataclass(frozen=True)
class _Steps:
    """Functions to compose, and the number of layers that they make."""

    functions: Sequence[Layer]
    layers: int


def _listed(model: Any) -> list[Any]:
    if not isinstance(model, (list, tuple)) or not model or not all(callable(layer) for layer in model):
        raise UnsupportedError(f"a Lyapunov spectrum needs a module or a sequence of callables, got {type(model).__name__}")
    return list(model)


def _listed_steps(layers: list[Any]) -> _Steps:
    mixing = [isinstance(m, nn.Module) and any(p.ndim > 1 for p in m.parameters()) for m in layers]
    return _Steps(layers, sum(mixing) or len(layers))


def _traced_steps(model: nn.Module, point: torch.Tensor) -> _Steps:
    """The module's graph, cut at the nodes through which everything passes."""
    graph = trace(model, point)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise UnsupportedError(
            f"{type(model).__name__} must turn one tensor into one, got {len(graph.inputs)} and {len(graph.outputs)}"
        )
    nodes = _needed(graph, graph.outputs[0])
    last_reader = {ref.index: n.index for n in nodes for ref in n.refs}
    in_parts = {ref.index for n in nodes for ref in n.refs if ref.item is not None}
    parts: list[list[Node]] = [[]]
    reach = graph.inputs[0]  # how far nodes before this one are still read
    for node in nodes:
        if node.kind != "input":
            parts[-1].append(node)
            if reach <= node.index and node.index not in in_parts:
                parts.append([])
        reach = max(reach, last_reader.get(node.index, node.index))
    functions, source = [], graph.inputs[0]
    for part in parts[:-1] if not parts[-1] else parts:
        functions.append(_composition(part, source, graph.outputs[0]))
        source = part[-1].index
    return _Steps(functions, sum(any(n.kind == "affine" for n in part) for part in parts) or len(functions))


def _needed(graph: Graph, output: Ref) -> list[Node]:
    """The ancestors of the output, in execution order."""
    seen, frontier = {output.index}, [output.index]
    while frontier:
        for parent in graph[frontier.pop()].parents:
            if parent not in seen:
                seen.add(parent)
                frontier.append(parent)
    return [graph[i] for i in sorted(seen)]


def _composition(nodes: list[Node], source: int, output: Ref) -> Layer:
    def function(v: torch.Tensor) -> torch.Tensor:
        values: dict[int, Any] = {source: v}
        for node in nodes:
            values[node.index] = node.apply(values)
        last = values[nodes[-1].index]
        return last if output.index != nodes[-1].index or output.item is None else last[output.item]

    return function


def _exponents(steps: _Steps, point: torch.Tensor, k: int | None, every: int, seed: int) -> torch.Tensor:
    size = point.numel()
    count = size if k is None else k
    if not 1 <= count <= size:
        raise ArgumentError(f"k must lie in 1..{size}, got {k}")
    if count == size:
        tangents = torch.eye(size, dtype=point.dtype, device=point.device)
    else:
        tangents = torch.randn(size, count, generator=generator(seed, "lyapunov"), dtype=torch.float64).to(point)
        tangents = torch.linalg.qr(tangents)[0]
    logs = torch.zeros(count, dtype=torch.float64)
    waited, interval = 0, 1
    for index, step in enumerate(steps.functions, start=1):
        point, tangents = _push(step, point, tangents)
        waited += 1
        if waited < interval and index < len(steps.functions) and tangents.shape[0] >= count:
            continue
        tangents, r = torch.linalg.qr(tangents)
        count = min(count, r.shape[0])
        grown = r.diagonal().abs().double().cpu().log()[:count]
        logs, tangents = logs[:count] + grown, tangents[:, :count]
        # The least diagonal loses as many digits as the block's condition number has: wait only while that is below 10⁶.
        spread = float(grown.max() - grown.min())
        interval = every if not spread > 0 else max(1, min(every, int(waited * math.log(1e6) / spread)))
        waited = 0
    return (logs / steps.layers).sort(descending=True).values


def _push(layer: Layer, point: torch.Tensor, tangents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(layer(x), J_layer · tangents), tangents as columns."""
    directions = tangents.T.reshape(-1, *point.shape)
    try:
        moved = torch.func.vmap(lambda v: torch.func.jvp(layer, (point,), (v,))[1])(directions)
    except (RuntimeError, NotImplementedError) as error:
        raise UnsupportedError(f"a step of the network has no forward derivative: {str(error)[:200]}") from error
    return layer(point).detach(), moved.detach().reshape(len(directions), -1).T
