"""Which values of a traced module are layers: post-activation outputs, or those that the user names by glob."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch

from theodolite.core.errors import UnsupportedError, unknown
from theodolite.lens.architecture import TRANSPARENT, weights_after, weights_before
from theodolite.lens.graph import Graph, Node, Ref

__all__ = ["Layer", "choose_layers", "outgoing_matrix", "sample_matrix"]

#: Operations that return their features first in a tuple, with states or attention weights behind them.
_RETURNS_TUPLE = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "multi_head_attention_forward"})


@dataclass(frozen=True)
class Layer:
    """One observed layer.

    Attributes:
        name: the activation node's (or the module's) name.
        features: reference to its value.
        preactivations: reference to what the activation was applied to, if it is one.
        incoming: index of the affine node that feeds it, if one does.
        outgoing: index of the affine node that reads it, if one does.
        channel_axis: axis of the neurons in its value: 1 behind a convolution, else the last.
    """

    name: str
    features: Ref
    preactivations: Ref | None
    incoming: int | None
    outgoing: int | None
    channel_axis: int


def choose_layers(graph: Graph, patterns: str | Sequence[str] | None) -> tuple[Layer, ...]:
    """The observed layers: all activations fed by weights and recurrent layers, or what the glob patterns name.

    Raises:
        UnknownNameError: a pattern that matches neither an operation nor a module.
        UnsupportedError: nothing in the module can be observed; says what was seen.
    """
    if patterns is not None:
        wanted = [patterns] if isinstance(patterns, str) else list(patterns)
        named = {node.name: Ref(node.index, _first_part(node)) for node in graph if node.kind != "input"}
        named |= {name: ref for name, ref in graph.module_outputs.items() if name}
        chosen: dict[Ref, str] = {}
        for pattern in wanted:
            matched = {ref: name for name, ref in named.items() if fnmatchcase(name, pattern)}
            if not matched:
                raise unknown("layer", pattern, named)
            chosen |= matched
        return tuple(_layer(graph, name, ref) for ref, name in sorted(chosen.items(), key=lambda item: item[0].index))
    found = [n for n in graph if n.kind == "recurrent" or (n.kind == "elementwise" and _fed_by_weights(graph, n.index))]
    if not found:  # no activation: the hidden outputs of affine and attention operations
        returned = {ref.index for ref in graph.outputs}
        found = [n for n in graph if n.kind in ("affine", "attention") and n.index not in returned]
    if not found:
        seen = ", ".join(dict.fromkeys(f"{n.kind} ({n.label})" for n in graph if n.kind != "input")) or "no operation"
        raise UnsupportedError(f"no hidden layer was found to observe; the model's operations are: {seen}; name one with layers=")
    return tuple(_layer(graph, node.name, Ref(node.index, _first_part(node))) for node in found)


def _first_part(node: Node) -> int | None:
    """Which part of the node's result holds its features: the first where it returns a tuple."""
    return 0 if node.label in _RETURNS_TUPLE else None


def _fed_by_weights(graph: Graph, index: int) -> bool:
    """Whether any affine, recurrent or attention node stands before node ``index``."""
    stack, seen = list(graph[index].parents), set[int]()
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        if graph[current].kind in ("affine", "recurrent", "attention", "embedding"):
            return True
        stack.extend(graph[current].parents)
    return False


def _layer(graph: Graph, name: str, ref: Ref) -> Layer:
    node = graph[ref.index]
    if node.kind == "affine":
        before: Node | None = node
    else:  # a recurrent or attention layer has several weights of its own: no one affine operation feeds it
        before = None if node.kind in ("recurrent", "attention") else weights_before(graph, ref.index)
    after = weights_after(graph, ref.index)
    return Layer(
        name=name,
        features=ref,
        preactivations=node.refs[0] if node.kind == "elementwise" else None,
        incoming=before.index if before is not None else None,
        outgoing=after.index if after is not None else None,
        channel_axis=_channel_axis(graph, ref.index),
    )


def _channel_axis(graph: Graph, index: int) -> int:
    node = graph[index]
    while True:
        if node.label.startswith("conv") or node.label in ("batch_norm", "group_norm", "instance_norm"):
            return 1
        if node.kind in ("affine", "embedding", "recurrent", "attention", "reshape") or not node.parents:
            return -1
        if node.kind not in (*TRANSPARENT, "elementwise", "add", "multiply", "concat"):
            return -1
        node = graph[node.parents[0]]


def sample_matrix(value: torch.Tensor, channel_axis: int) -> torch.Tensor:
    """A layer's value as (samples, neurons): every position of every sample is a row."""
    if not isinstance(value, torch.Tensor):
        raise UnsupportedError(f"a layer's value must be one tensor, got a {type(value).__name__}; name what reads its parts")
    if value.ndim < 2:
        raise UnsupportedError(f"a layer's value must have a batch and a neuron axis, got shape {tuple(value.shape)}")
    return value.movedim(channel_axis, -1).reshape(-1, value.shape[channel_axis])


def outgoing_matrix(rows: torch.Tensor, neurons: int) -> torch.Tensor:
    """The weights ``rows`` by which an affine node reads ``neurons`` features, as (K, neurons); kernel positions count as outputs.

    Raises:
        UnsupportedError: the next layer's inputs are not a multiple of the neurons (grouped convolutions and the like).
    """
    fan = rows.shape[1]
    if fan % neurons:
        raise UnsupportedError(f"the next layer reads {fan} inputs, which is not a multiple of the layer's {neurons} neurons")
    # Behind a flatten, an input is (channel, position) with the channel varying slowest.
    grouped = rows.reshape(rows.shape[0], neurons, fan // neurons, -1)
    return grouped.movedim(1, -1).reshape(-1, neurons)
