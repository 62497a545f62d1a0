"""Compositions that are elementwise in one tensor, such as ``x * tanh(x)`` or GPT-2's GELU, as one elementwise node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from theodolite.lens.graph import Graph, Node, Ref
from theodolite.lens.pointwise import signature

__all__ = ["Composition", "fuse_elementwise"]

_POINTWISE = ("elementwise", "add", "multiply")


@dataclass(frozen=True, eq=False)
class Composition:
    """A chain of pointwise nodes as a function of one tensor; compares equal for the same chain with the same constants."""

    nodes: tuple[Node, ...]
    source: int

    def __call__(self, x: torch.Tensor) -> Any:
        """The value for ``x`` in place of the source."""
        values: dict[int, Any] = {self.source: x}
        for node in self.nodes:
            values[node.index] = node.apply(values)
        return values[self.nodes[-1].index]

    def _signature(self) -> tuple[Any, ...]:
        return tuple((node.index - self.source, signature(node, self.source)) for node in self.nodes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Composition) and self._signature() == other._signature()

    def __hash__(self) -> int:
        return hash(self._signature())


def fuse_elementwise(graph: Graph) -> Graph:
    """Replace each join of pointwise paths from one source, at least one of them non-linear, by one elementwise node.

    A join is an addition or multiplication whose operands all come, through pointwise operations of the same shape, from one node.
    Inner nodes must not be read, or returned, by anything outside the composition. Constants must be scalars: a tensor of per-channel
    factors would make the function depend on the position.
    """
    merged: dict[int, tuple[int, tuple[int, ...]]] = {}
    taken: set[int] = set()
    for node in reversed(graph.nodes):
        if node.index not in taken and (found := _composition(graph, node)) is not None:
            merged[node.index] = found
            taken |= set(found[1])
    return _rebuilt(graph, merged) if merged else graph


def _pointwise(node: Node, shape: tuple[int, ...]) -> bool:
    constants = [v for v in (*node.args, *node.kwargs.values()) if isinstance(v, torch.Tensor)]
    scalars = all(v.numel() == 1 for v in constants)
    whole = all(ref.item is None for ref in node.refs)
    return node.kind in _POINTWISE and node.shape == shape and scalars and whole and bool(node.parents)


def _composition(graph: Graph, head: Node) -> tuple[int, tuple[int, ...]] | None:
    """(source, inner nodes in order) when pointwise paths from one source join at or before ``head``."""
    frontier, inner, joined = {head.index}, list[int](), False
    while not (joined and len(frontier) == 1):  # walk back in execution order, always expanding the latest open node
        current = graph[max(frontier)]
        if not _pointwise(current, head.shape):
            return None
        frontier.remove(current.index)
        frontier |= set(current.parents)
        inner.append(current.index)
        joined = joined or len(current.refs) > 1
    (source,) = frontier
    if graph[source].shape != head.shape or not any(graph[i].kind == "elementwise" for i in inner):
        return None
    private = set(inner) - {head.index}
    returned = {ref.index for ref in graph.outputs}
    if private & returned or any(child not in inner for i in private for child in graph.children(i)):
        return None
    return source, tuple(sorted(inner))


def _rebuilt(graph: Graph, merged: Mapping[int, tuple[int, tuple[int, ...]]]) -> Graph:
    dropped = {i for head, (_, inner) in merged.items() for i in inner if i != head}
    new_index: dict[int, int] = {}
    nodes: list[Node] = []
    for node in graph:
        if node.index in dropped:
            continue
        new_index[node.index] = len(nodes)
        if node.index in merged:
            source, inner = merged[node.index]
            composition = Composition(tuple(graph[i] for i in inner), source)
            whole_module = node.module and {n.index for n in graph if n.module == node.module} == set(inner)
            name = node.module if whole_module else node.name
            label = "∘".join(graph[i].label for i in inner)
            node = replace(node, kind="elementwise", function=composition, args=(Ref(source),), kwargs={}, label=label, name=name)
        nodes.append(replace(node, index=len(nodes)))

    def move(tree: Any) -> Any:
        if isinstance(tree, Ref):
            return Ref(new_index[tree.index], tree.item)
        if isinstance(tree, Mapping):
            return {k: move(v) for k, v in tree.items()}
        if isinstance(tree, (list, tuple)) and type(tree) in (list, tuple):
            return type(tree)(move(v) for v in tree)
        return tree

    nodes = [replace(n, args=move(n.args), kwargs=move(dict(n.kwargs))) for n in nodes]
    outputs = tuple(Ref(new_index[r.index], r.item) for r in graph.outputs)
    module_outputs = {m: Ref(new_index[r.index], r.item) for m, r in graph.module_outputs.items() if r.index in new_index}
    values = {new_index[i]: v for i, v in graph.values.items() if i in new_index}
    return Graph(tuple(nodes), tuple(new_index[i] for i in graph.inputs), outputs, module_outputs, values, graph.functions)
