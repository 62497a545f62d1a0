"""What writes a layer and what reads it: on this it depends which constructions can act on the layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from theodolite.lens.architecture import TRANSPARENT
from theodolite.lens.graph import Graph, Node
from theodolite.lens.layers import Layer

__all__ = ["Role", "role_of"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
#: What a layer's entries are called, by what writes it; neurons elsewhere.
_ENTRIES = {"convolution": "channels", "grouped convolution": "channels", "recurrent": "units", "embedding": "features"}


@dataclass(frozen=True)
class Role:
    """Where a layer stands between others.

    Attributes:
        written_by: ``linear`` and ``convolution`` (an `nn.Linear` or ungrouped `nn.Conv` module), ``grouped convolution``, ``product``
            (any other affine operation), or the kind of the operation: ``recurrent``, ``attention``, ``embedding``, ``add``, …
        norm: label of the norm that stands nearest before the layer, between it and what writes it; empty without one.
        biased: what writes the layer is affine and has a bias.
        reads_inputs: what writes the layer reads the network's inputs, with at most reshapes between.
        read_by: what reads the layer, in the words of ``written_by``; ``output`` where the network returns it.
        entries: what its entries are called: neurons, channels, units or features.
        positions: every sample gives several rows: the positions of a picture or a sequence.
    """

    written_by: str
    norm: str
    biased: bool
    reads_inputs: bool
    read_by: tuple[str, ...]
    entries: str
    positions: bool

    def facts(self) -> dict[str, Any]:
        """The attributes by name, for judges."""
        return dict(vars(self))


def role_of(model: nn.Module, graph: Graph, layer: Layer, rows_per_sample: int) -> Role:
    """The `Role` of an observed layer.

    Args:
        model: the traced module.
        graph: its graph.
        layer: the layer.
        rows_per_sample: rows that one sample has in the layer's features.
    """
    modules = dict(model.named_modules())
    writer, norm = _writer(graph, graph[layer.features.index])
    written_by = _word(writer, modules)
    return Role(
        written_by=written_by,
        norm=norm,
        biased=writer.kind == "affine" and writer.bias is not None,
        reads_inputs=_reads_inputs(graph, writer),
        read_by=tuple(sorted(set(_readers(graph, layer.features.index, modules)))),
        entries=_ENTRIES.get(written_by, "neurons"),
        positions=rows_per_sample > 1,
    )


def _writer(graph: Graph, node: Node) -> tuple[Node, str]:
    """The operation that a layer's values come from, and the norm between, walking back through what keeps the neurons apart."""
    norm = ""
    while node.kind in ("elementwise", *TRANSPARENT) and node.parents:
        if node.kind == "norm" and not norm:
            norm = node.label
        node = graph[node.parents[0]]
    return node, norm


def _reads_inputs(graph: Graph, node: Node) -> bool:
    if node.kind == "input" or len(node.parents) != 1:
        return False
    parent = graph[node.parents[0]]
    while parent.kind == "reshape" and len(parent.parents) == 1:
        parent = graph[parent.parents[0]]
    return parent.kind == "input"


def _readers(graph: Graph, index: int, modules: dict[str, nn.Module]) -> list[str]:
    found = ["output"] if any(ref.index == index for ref in graph.outputs) else []
    for child in graph.children(index):
        node = graph[child]
        if node.kind in ("dropout", "pool", "reshape"):
            found += _readers(graph, child, modules)
        else:
            found.append(_word(node, modules))
    return found


def _word(node: Node, modules: dict[str, nn.Module]) -> str:
    if node.kind != "affine":
        return node.kind
    module = modules.get(node.module)
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, _CONVOLUTIONS):
        return "convolution" if module.groups == 1 else "grouped convolution"
    return "product"
