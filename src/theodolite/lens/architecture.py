"""Widths, activations and weight variances, read off a traced module's actual tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from theodolite.lens.graph import Graph, Node

__all__ = ["AffineLayer", "Architecture", "read_architecture"]

#: Node kinds that keep the neurons of a layer: walking from an activation to its weights may pass through them.
TRANSPARENT = ("norm", "dropout", "reshape", "pool")


@dataclass(frozen=True)
class AffineLayer:
    """One affine layer and what follows it.

    Attributes:
        name: the node's name.
        node: its index in the graph.
        fan_in: number of inputs that each neuron sums over (kernel positions included).
        width: number of neurons (output channels).
        sigma_w2: E[W²] · fan_in: the variance parameter of the mean-field convention W ~ N(0, σ_w²/fan_in), measured.
        sigma_b2: E[b²]; 0 without bias.
        activation: the elementwise function that follows, or None.
        activation_name: its name, or ``linear``.
        follower: the name of the node that applies it, or "".
        operation: the affine operation, such as ``linear`` or ``conv2d``.
    """

    name: str
    node: int
    fan_in: int
    width: int
    sigma_w2: float
    sigma_b2: float
    activation: Callable[[torch.Tensor], torch.Tensor] | None
    activation_name: str
    follower: str
    operation: str = "linear"


@dataclass(frozen=True)
class Architecture:
    """The affine layers of a module in execution order."""

    layers: tuple[AffineLayer, ...]

    @property
    def depth(self) -> int:
        """Number of affine layers."""
        return len(self.layers)

    @property
    def widths(self) -> tuple[int, ...]:
        """Input size of the first layer, then the width of each layer."""
        return (self.layers[0].fan_in, *(layer.width for layer in self.layers)) if self.layers else ()

    @property
    def hidden(self) -> tuple[AffineLayer, ...]:
        """The layers that an activation follows."""
        return tuple(layer for layer in self.layers if layer.activation is not None)

    def at(self, node: int | None) -> AffineLayer | None:
        """The affine layer at index ``node`` of the graph, if there is one."""
        return next((layer for layer in self.layers if layer.node == node), None)

    def facts(self, name: str | None = None) -> dict[str, Any]:
        """Arguments for predictions: of the affine layer or activation ``name``; without a name, of the middle hidden layer.

        Keys: ``activation, sigma_w2, sigma_b2, width, fan_in, depth``; empty when there is no such layer.
        """
        if name is not None:
            chosen = next((layer for layer in self.layers if name in (layer.name, layer.follower)), None)
        else:
            chosen = self.hidden[len(self.hidden) // 2] if self.hidden else None
        if chosen is None:
            return {}
        return {
            "activation": chosen.activation,
            "sigma_w2": chosen.sigma_w2,
            "sigma_b2": chosen.sigma_b2,
            "width": chosen.width,
            "fan_in": chosen.fan_in,
            "depth": self.depth,
        }

    def __str__(self) -> str:
        rows = [
            f"{la.name:<24} {la.operation:<8} {la.fan_in:>6} → {la.width:<6} {la.activation_name:<12} "
            f"σ_w² = {la.sigma_w2:.4g}, σ_b² = {la.sigma_b2:.4g}"
            for la in self.layers
        ]
        return "\n".join(rows) or "no affine layer was seen"


def read_architecture(graph: Graph) -> Architecture:
    """The `Architecture` of a traced module."""
    return Architecture(tuple(_affine_layer(graph, node) for node in graph if node.kind == "affine" and _has_weight(node)))


def _has_weight(node: Node) -> bool:
    return any(isinstance(a, torch.Tensor) for a in (*node.args, *node.kwargs.values()))


def _affine_layer(graph: Graph, node: Node) -> AffineLayer:
    rows = node.rows.detach()
    fan_in, width = int(rows[0].numel()), int(rows.shape[0])
    bias = node.bias
    follower = activation_after(graph, node.index)
    return AffineLayer(
        name=node.name,
        node=node.index,
        fan_in=fan_in,
        width=width,
        # Accumulated in float64 without a copy of the weight in it, which an embedding's read-out would feel.
        sigma_w2=float(torch.linalg.vector_norm(rows, dtype=torch.float64)) ** 2 / rows.numel() * fan_in,
        sigma_b2=0.0 if bias is None else float((bias.detach().double() ** 2).mean()),
        activation=None if follower is None else follower.activation,
        activation_name="linear" if follower is None else follower.label,
        follower="" if follower is None else follower.name,
        operation=node.label,
    )


def activation_after(graph: Graph, index: int) -> Node | None:
    """The elementwise node that reads node ``index``, directly or through norms, dropout and reshapes."""
    for child in graph.children(index):
        node = graph[child]
        if node.kind == "elementwise":
            return node
        if node.kind in TRANSPARENT and (found := activation_after(graph, child)) is not None:
            return found
    return None


def weights_before(graph: Graph, index: int) -> Node | None:
    """The affine node whose result node ``index`` reads, directly or through norms, dropout and reshapes."""
    node = graph[index]
    while node.parents:
        node = graph[node.parents[0]]
        if node.kind == "affine" and _has_weight(node):
            return node
        if node.kind not in TRANSPARENT:
            return None
    return None


def weights_after(graph: Graph, index: int) -> Node | None:
    """The affine node that reads node ``index``, directly or through norms, dropout and reshapes."""
    for child in graph.children(index):
        node = graph[child]
        if node.kind == "affine" and _has_weight(node):
            return node
        if node.kind in TRANSPARENT and (found := weights_after(graph, child)) is not None:
            return found
    return None
