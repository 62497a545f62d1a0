"""The values of a few operations of a traced module, from another run of it: tracing's light sister, for repeated looks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from theodolite.core.errors import UnsupportedError
from theodolite.lens import inputs
from theodolite.lens.graph import Graph, Ref

__all__ = ["replay"]


def replay(model: nn.Module, graph: Graph, call: inputs.Call, refs: Iterable[Ref]) -> Mapping[Ref, torch.Tensor]:
    """Run the model once and return the values that ``refs`` point to in ``graph``, detached.

    Raises:
        UnsupportedError: the model ran other operations than when it was traced.
        ModelError: the model raised.
    """
    refs = list(refs)
    orders = {graph[ref.index].order for ref in refs}
    recorder = _Replayer(call.tensors, orders)
    with torch.no_grad(), recorder:
        inputs.run(model, call)
    found = {}
    for ref in refs:
        node = graph[ref.index]
        function, value = recorder.values.get(node.order, (None, None))
        traced = graph.functions.get(node.order)
        if recorder.count != graph.operations or function is not traced:
            raise UnsupportedError("the model ran different operations than when it was traced; give one batch as a tensor")
        found[ref] = value if ref.item is None else value[ref.item]
    return found


class _Replayer(TorchFunctionMode):
    """Counts operations as the tracer does and keeps the values of those whose order is wanted."""

    def __init__(self, tensors: list[torch.Tensor], orders: set[int]) -> None:
        super().__init__()
        self.orders = orders
        self.values: dict[int, tuple[Any, Any]] = {i: (None, t) for i, t in enumerate(tensors) if i in orders}
        self.count = len(tensors)
        self._known = {id(t): t for t in tensors}  # holding the tensors keeps their ids from being reused

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        depends = self._depends(args) or (bool(kwargs) and self._depends(tuple(kwargs.values())))
        result = func(*args, **kwargs)
        if not depends:
            return result
        produced = args[0] if result is None else result  # item assignment returns nothing
        if isinstance(produced, torch.Tensor):
            self._known[id(produced)] = produced
        elif not self._remember(produced):
            return result
        if self.count in self.orders:
            # In-place operations may follow: keep what is there now.
            self.values[self.count] = (func, produced.clone() if isinstance(produced, torch.Tensor) else produced)
        self.count += 1
        return result

    def _depends(self, values: Iterable[Any]) -> bool:
        for value in values:
            if isinstance(value, torch.Tensor):
                if id(value) in self._known:
                    return True
            elif isinstance(value, (list, tuple)) and self._depends(value):
                return True
        return False

    def _remember(self, tree: Any) -> bool:
        found = False
        if isinstance(tree, torch.Tensor):
            self._known[id(tree)] = tree
            return True
        if isinstance(tree, Mapping):
            tree = tree.values()
        elif not isinstance(tree, (list, tuple)):
            return False
        for value in tree:
            found = self._remember(value) or found
        return found
