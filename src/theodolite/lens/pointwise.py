"""Elementwise nodes as functions of one tensor, and when two of them are the same function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from theodolite.lens.graph import Node, Ref

__all__ = ["Activation", "signature"]


@dataclass(frozen=True, eq=False)
class Activation:
    """An elementwise node as a callable; compares equal for the same function with the same constants.

    Constant tensors, such as the slopes of a PReLU, take the precision of ``x``; equal numbers in one count as one number, so that
    a PReLU whose channels agree is a function of any shape.
    """

    node: Node
    parent: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """φ(x)."""

        def adapted(tree: Any) -> Any:
            if isinstance(tree, torch.Tensor) and tree.is_floating_point():
                same = tree.numel() > 1 and bool((tree == tree.reshape(-1)[0]).all())
                return (tree.reshape(-1)[:1] if same else tree).to(x)
            return tree

        node = replace(self.node, args=_mapped(self.node.args, adapted), kwargs=_mapped(dict(self.node.kwargs), adapted))
        return node.apply({self.parent: x})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Activation) and signature(self.node, self.parent) == signature(other.node, other.parent)

    def __hash__(self) -> int:
        return hash(signature(self.node, self.parent))

    @property
    def __name__(self) -> str:
        return self.node.label


def _mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """``tree`` with every leaf changed."""
    if isinstance(tree, Mapping):
        return {key: _mapped(value, change) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)) and type(tree) in (list, tuple):
        return type(tree)(_mapped(value, change) for value in tree)
    return change(tree)


def signature(node: Node, source: int) -> tuple[Any, ...]:
    """What a node computes, by value: its function and constants, with references counted from node ``source``; hashable."""

    def by_value(tree: Any) -> Any:
        if isinstance(tree, Ref):
            return "reference", tree.index - source, tree.item
        if isinstance(tree, torch.Tensor):
            return "tensor", tuple(tree.shape), tuple(tree.detach().reshape(-1).tolist())
        if isinstance(tree, Mapping):
            return tuple(sorted((str(key), by_value(value)) for key, value in tree.items()))
        return tuple(by_value(value) for value in tree) if isinstance(tree, (list, tuple)) else tree

    return node.function, by_value(node.args), by_value(node.kwargs)
