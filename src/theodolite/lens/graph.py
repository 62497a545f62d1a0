"""The tracer: any module as a small graph of named operations, read off one real forward pass.

The pass runs under a `torch.overrides.TorchFunctionMode`, which sees every torch function that the module calls, whatever the
Python control flow around it; symbolic tracing would refuse data-dependent control flow and most published transformers. The
graph describes the shapes and branches of the inputs that it was traced with. An operation that the table below does not know
becomes a node of kind ``unknown`` with its name: it is never passed through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode, resolve_name

from theodolite.core.errors import UnsupportedError
from theodolite.lens.kinds import IN_PLACE, KIND_OF, KINDS

__all__ = ["KINDS", "Graph", "Node", "Ref", "tensors_in", "trace"]

#: Affine operations whose arguments are (bias, x, W), and all whose weight is stored (in, out).
BIAS_FIRST = ("addmm", "baddbmm")
PRODUCTS = (*BIAS_FIRST, "matmul", "mm", "__matmul__")


@dataclass(frozen=True)
class Ref:
    """A reference to the value of node ``index`` (or to part ``item`` of a tuple that it returned)."""

    index: int
    item: int | None = None


@dataclass(frozen=True)
class Node:
    """One operation of a traced module.

    Attributes:
        index: position in ``graph.nodes`` (execution order).
        kind: one of `KINDS`.
        name: unique readable name: the module's path where one module is one operation, else path and function.
        function: the torch function that was called (for ``input`` nodes: None).
        args: its positional arguments, with `Ref` in place of values of other nodes; parameters stay tensors.
        kwargs: its keyword arguments, likewise.
        shape: shape of the result (of its first tensor, for tuples).
        module: qualified name of the innermost module that was running ("" is the root).
        label: the function's short name, e.g. ``relu``.
        order: position among the operations as they ran, before any were fused.
    """

    index: int
    kind: str
    name: str
    function: Callable[..., Any] | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    shape: tuple[int, ...]
    module: str
    label: str
    order: int = -1

    @property
    def refs(self) -> tuple[Ref, ...]:
        """References among the arguments, in order."""
        return tuple(_references((self.args, dict(self.kwargs))))

    @property
    def parents(self) -> tuple[int, ...]:
        """Indices of the nodes whose values are read, in order, without repetition."""
        return tuple(dict.fromkeys(ref.index for ref in self.refs))

    def apply(self, values: Mapping[int, Any]) -> Any:
        """The operation on other values of its parents."""
        if self.function is None:
            raise UnsupportedError(f"node {self.name!r} is an input; it has no operation to apply")
        args, kwargs = _fill((self.args, dict(self.kwargs)), values)
        return self.function(*args, **kwargs)

    @property
    def activation(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """An elementwise node as a function of one tensor.

        Raises:
            UnsupportedError: the node is of another kind.
        """
        if self.kind != "elementwise":
            raise UnsupportedError(f"node {self.name!r} is of kind {self.kind!r}, not elementwise")
        from theodolite.lens.pointwise import Activation

        (parent,) = self.parents
        return Activation(self, parent)

    @property
    def weight(self) -> torch.Tensor:
        """The weight of an affine node, as stored: ``(out, in, …)``, or (in, out) for products ``x @ W``; `rows` has neurons first."""
        tensors = self._constants
        if self.kind not in ("affine", "embedding") or not tensors:
            raise UnsupportedError(f"node {self.name!r} ({self.label}) has no weight")
        return self.kwargs.get("weight", tensors[-1 if self.label in BIAS_FIRST else 0])

    @property
    def rows(self) -> torch.Tensor:
        """The weight of an affine node with one neuron per row: (out, in, …)."""
        if self.label in PRODUCTS:
            return self.weight.mT
        return self.weight.transpose(0, 1) if self.label.startswith("conv_transpose") else self.weight

    @property
    def bias(self) -> torch.Tensor | None:
        """The bias of an affine node, or None."""
        if "bias" in self.kwargs:
            return self.kwargs["bias"]
        tensors = self._constants
        if self.kind != "affine" or len(tensors) < 2:
            return None
        return tensors[0 if self.label in BIAS_FIRST else 1]

    @property
    def _constants(self) -> list[torch.Tensor]:
        return [a for a in (*self.args, *self.kwargs.values()) if isinstance(a, torch.Tensor)]


@dataclass(frozen=True)
class Graph:
    """A traced module.

    Attributes:
        nodes: operations in execution order.
        inputs: indices of the input nodes.
        outputs: references to the tensors that the module returned.
        module_outputs: qualified module name -> reference to what it returned last (first tensor of a tuple).
        values: node index -> value, for the nodes that `trace` was asked to keep.
        functions: order of an operation -> the torch function that ran, before fusing.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[Ref, ...]
    module_outputs: Mapping[str, Ref]
    values: Mapping[int, Any] = field(default_factory=dict, repr=False)
    functions: Mapping[int, Any] = field(default_factory=dict, repr=False)

    @property
    def operations(self) -> int:
        """Number of operations (and inputs) that ran, before fusing."""
        return len(self.functions)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, index: int) -> Node:
        return self.nodes[index]

    def children(self, index: int) -> tuple[int, ...]:
        """Indices of the nodes that read node ``index``."""
        return tuple(n.index for n in self.nodes if index in n.parents)

    @property
    def plain(self) -> bool:
        """Whether only affine layers, activations, dropout and reshapes act on the signal: no norm, pool, branch, gate or attention."""
        plain = ("input", "affine", "elementwise", "dropout", "reshape")
        return all(node.kind in plain and len(node.parents) <= 1 for node in self.nodes)

    def unknown(self) -> tuple[Node, ...]:
        """The operations that the tracer does not know."""
        return tuple(n for n in self.nodes if n.kind == "unknown")

    def run(self, *inputs: torch.Tensor) -> Any:
        """Evaluate the graph on other inputs of the same shapes (batch dimension aside, where the operations allow it)."""
        values: dict[int, Any] = dict(zip(self.inputs, inputs, strict=True))
        for node in self.nodes:
            if node.kind != "input":
                values[node.index] = node.apply(values)
        results = tuple(_fill(ref, values) for ref in self.outputs)
        return results[0] if len(results) == 1 else results

    def __str__(self) -> str:
        rows = [f"{n.index:>4} {n.kind:<12} {n.name:<32} {n.shape!s:<18} ← {', '.join(map(str, n.parents))}" for n in self]
        return "\n".join(rows)


def trace(model: nn.Module, *args: Any, keep: Callable[[Node], bool] | None = None, fuse: bool = True, **kwargs: Any) -> Graph:
    """Run ``model(*args, **kwargs)`` once and return its graph.

    The model runs in the mode it is in; wrap the call in `theodolite.lens.frozen.frozen` to look without touching.

    Args:
        model: any module.
        args: its inputs; every tensor in them becomes an input node.
        keep: which nodes' values to keep in ``graph.values`` (default: none).
        fuse: merge compositions that are elementwise in one tensor, such as ``x * tanh(x)``, to one elementwise node.
        kwargs: its keyword inputs.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        >>> [node.kind for node in trace(net, torch.zeros(4, 2))]
        ['input', 'affine', 'elementwise', 'affine']
    """
    recorder = _Recorder(keep)
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedError(
                f"module {name or type(model).__name__!r} is TorchScript, whose operations cannot be seen from Python; "
                "load the original nn.Module, or a torch.export program through torch.export.unflatten"
            )
        handles.append(module.register_forward_pre_hook(lambda m, a, name=name: recorder.stack.append(name)))
        handles.append(module.register_forward_hook(lambda m, a, out, name=name: recorder.leave(name, out)))
    try:
        _references_of_inputs((args, kwargs), recorder)
        with torch.no_grad(), recorder:
            result = model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    outputs = tuple(ref for tensor in tensors_in(result) if (ref := recorder.lookup(tensor)) is not None)
    functions = {node.order: node.function for node in recorder.nodes}
    graph = Graph(tuple(recorder.nodes), tuple(recorder.inputs), outputs, recorder.module_outputs, recorder.values, functions)
    graph = _named(graph, model)
    return _fused(graph) if fuse else graph


class _Recorder(TorchFunctionMode):
    """Collects a node for every torch function whose arguments depend on the inputs."""

    def __init__(self, keep: Callable[[Node], bool] | None) -> None:
        super().__init__()
        self.keep = keep
        self.nodes: list[Node] = []
        self.inputs: list[int] = []
        self.values: dict[int, Any] = {}
        self.module_outputs: dict[str, Ref] = {}
        self.stack: list[str] = []
        self._known: dict[int, tuple[torch.Tensor, Ref]] = {}  # by id; holding the tensor keeps the id from being reused

    def lookup(self, value: Any) -> Ref | None:
        entry = self._known.get(id(value))
        return entry[1] if entry is not None else None

    def leave(self, name: str, out: Any) -> None:
        self.stack.pop()
        for tensor in tensors_in(out):
            if (ref := self.lookup(tensor)) is not None:
                self.module_outputs[name] = ref
                break

    def add_input(self, tensor: torch.Tensor) -> None:
        self.inputs.append(len(self.nodes))
        self._append("input", None, (), {}, tensor, f"x{len(self.inputs) - 1}")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        label = _label(func)
        target = args[0] if args else None
        in_place = kwargs.get("inplace", False) or label in IN_PLACE or (label.endswith("_") and not label.endswith("__"))
        touched = self.lookup(target) if in_place else None
        if touched is not None and touched.index in self.values:
            self.values[touched.index] = _copied(self.values[touched.index])
        referenced = _substitute((args, kwargs), self.lookup)
        result = func(*args, **kwargs)
        if not any(True for _ in _references(referenced)):
            return result
        produced = target if label == "__setitem__" else result
        if not any(True for _ in tensors_in(produced)):  # shapes, dtypes and numbers are constants of the trace
            return result
        new_args, new_kwargs = referenced
        if in_place and label != "__setitem__":
            new_kwargs = {k: v for k, v in new_kwargs.items() if k != "inplace"}
        self._append(_kind(label, new_args, new_kwargs), func, new_args, new_kwargs, produced, label)
        return result

    def _append(self, kind: str, func: Any, args: Any, kwargs: Any, produced: Any, label: str) -> None:
        index = len(self.nodes)
        tensors = list(tensors_in(produced))
        module = self.stack[-1] if self.stack else ""
        node = Node(index, kind, label, func, tuple(args), dict(kwargs), tuple(tensors[0].shape), module, label, index)
        self.nodes.append(node)
        if isinstance(produced, torch.Tensor):
            self._known[id(produced)] = (produced, Ref(index))
        else:
            for item, tensor in _indexed_tensors(produced):
                self._known[id(tensor)] = (tensor, Ref(index, item))
        if self.keep is not None and self.keep(node):
            self.values[index] = produced


def _references_of_inputs(inputs: Any, recorder: _Recorder) -> None:
    for tensor in tensors_in(inputs):
        recorder.add_input(tensor)


def _label(func: Any) -> str:
    """Short name of a torch function; an operator overload (in exported programs) goes by the name of its schema."""
    if isinstance(func, torch._ops.OpOverload):
        return func._schema.name.partition("::")[2]
    name = resolve_name(func) or getattr(func, "__qualname__", None) or getattr(func, "__name__", None) or repr(func)
    parts = name.split(".")
    return ".".join(parts[-2:]) if parts[-1] == "__get__" else parts[-1]


def _kind(label: str, args: Any, kwargs: Any) -> str:
    kind = KIND_OF.get(label, "unknown")
    references = len(set(_references((args, kwargs))))
    if kind == "matmul" and references == 1 and label != "einsum":
        return "affine"  # x @ W with a constant W
    if label in ("add", "addmm") and references == 1 and kind == "affine" and isinstance(args[0], Ref):
        return "unknown"  # the input stands in the bias place of addmm
    return kind


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested tuples, lists, mappings and dataclasses, in order."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from tensors_in(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from tensors_in(value)
    elif is_dataclass(tree) and not isinstance(tree, type):
        for part in fields(tree):
            yield from tensors_in(getattr(tree, part.name))


def _indexed_tensors(tree: Any) -> Iterator[tuple[int, torch.Tensor]]:
    if isinstance(tree, (list, tuple)):
        for item, value in enumerate(tree):
            if isinstance(value, torch.Tensor):
                yield item, value
            elif isinstance(value, (list, tuple)):  # e.g. the (h, c) of an LSTM: the part counts as its outer item
                for tensor in tensors_in(value):
                    yield item, tensor


def _references(tree: Any) -> Iterator[Ref]:
    if isinstance(tree, Ref):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _references(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from _references(value)
    elif isinstance(tree, slice):
        yield from _references((tree.start, tree.stop, tree.step))


def _substitute(tree: Any, lookup: Callable[[Any], Ref | None]) -> Any:
    if isinstance(tree, torch.Tensor):
        return lookup(tree) or tree
    if isinstance(tree, Mapping):
        return {key: _substitute(value, lookup) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)) and type(tree) in (list, tuple):
        return type(tree)(_substitute(value, lookup) for value in tree)
    return tree


def _fill(tree: Any, values: Mapping[int, Any]) -> Any:
    if isinstance(tree, Ref):
        value = values[tree.index]
        return value if tree.item is None else value[tree.item]
    if isinstance(tree, Mapping):
        return {key: _fill(value, values) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)) and type(tree) in (list, tuple):
        return type(tree)(_fill(value, values) for value in tree)
    return tree


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    return tuple(_copied(v) for v in value) if isinstance(value, (list, tuple)) else value


def _named(graph: Graph, model: nn.Module) -> Graph:
    """Names: the module's path where the module has no children and ran one operation, else path.function, numbered."""
    leaves = {name for name, module in model.named_modules() if not any(True for _ in module.children())}
    per_module: dict[str, int] = {}
    for node in graph:
        per_module[node.module] = per_module.get(node.module, 0) + 1
    used: dict[str, int] = {}
    nodes = []
    for node in graph:
        alone = node.module in leaves and node.module and per_module[node.module] == 1
        name = node.module if alone else f"{node.module}.{node.label}".lstrip(".")
        used[name] = used.get(name, 0) + 1
        nodes.append(replace(node, name=name if used[name] == 1 else f"{name}#{used[name]}"))
    return replace(graph, nodes=tuple(nodes))


def _fused(graph: Graph) -> Graph:
    from theodolite.lens.fusion import fuse_elementwise

    return fuse_elementwise(graph)
