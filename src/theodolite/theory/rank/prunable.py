"""Which layers of a module can lose neurons, and the surgery itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from theodolite.core.errors import UnsupportedError
from theodolite.lens import Graph, Lens, Node, trace
from theodolite.lens.frozen import frozen
from theodolite.lens.layers import sample_matrix

__all__ = ["Unit", "cut", "find_units"]

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
#: Activations with Lipschitz constant 1, for the a-priori bound.
_ONE_LIPSCHITZ = {"relu", "relu_", "tanh", "tanh_", "hardtanh", "relu6", "softplus", "sigmoid", "sin", "cos", "abs", "softsign"}


@dataclass(frozen=True)
class Unit:
    """A layer that can be cut: writer -> (norms, activation, pooling, …) -> readers.

    Attributes:
        name: the activation's name.
        width: number of neurons.
        writer: name of the module that writes it.
        norms: names of batch norms between.
        readers: names of the modules that read it.
        value: order (see `theodolite.lens.Node`) of the operation whose value the readers read.
        channel_axis: axis of the neurons in that value.
        positions: inputs of a reader per neuron (more than one behind a flatten).
        absorbs_constant: the readers have a bias and see no zero padding, so that a constant can be moved into it.
        tail: (activation labels, module names) from the first reader's output to the network's, or None where they are not a chain.
    """

    name: str
    width: int
    writer: str
    norms: tuple[str, ...]
    readers: tuple[str, ...]
    value: int
    channel_axis: int
    positions: int
    absorbs_constant: bool
    tail: tuple[tuple[str, ...], tuple[str, ...]] | None

    def read(self, model: nn.Module, lens: Lens) -> torch.Tensor:
        """The features as the readers see them, (samples · positions, n), float64 on the CPU."""
        parts = []
        with frozen(model):
            for call in lens.calls:
                graph = trace(model, *call.args, keep=lambda node: node.order == self.value, **call.kwargs)
                (value,) = graph.values.values()
                if self.positions > 1:  # flattened: (N, n · positions), the neuron varying slowest
                    value = value.reshape(-1, self.width, self.positions).movedim(1, -1).reshape(-1, self.width)
                parts.append(sample_matrix(value, self.channel_axis).double().cpu())
        return torch.cat(parts)

    def outgoing(self, model: nn.Module) -> torch.Tensor:
        """Weights by which all readers read the neurons, (K, n); kernel positions count as outputs."""
        rows = []
        for name in self.readers:
            weight = _module(model, name).weight.detach()
            rows.append(weight.reshape(weight.shape[0], self.width, -1).movedim(1, -1).reshape(-1, self.width))
        return torch.cat(rows).cpu()

    def lipschitz(self, model: nn.Module) -> float:
        """Lipschitz constant from the readers' outputs to the network's output, ∞ where none is known."""
        if self.tail is None or self.positions > 1 or not isinstance(_module(model, self.readers[0]), nn.Linear):
            return float("inf")
        labels, modules = self.tail
        if not set(labels) <= _ONE_LIPSCHITZ:
            return float("inf")
        factor = 1.0
        for name in modules:
            factor *= float(torch.linalg.matrix_norm(_module(model, name).weight.detach().double(), 2))
        return factor


def find_units(model: nn.Module, lens: Lens) -> tuple[list[Unit], dict[str, str]]:
    """The layers that can be cut, in execution order, and for each other observed layer the reason why not.

    Raises:
        UnsupportedError: weights of a layer that could be cut are tied to another use.
    """
    units: list[Unit] = []
    left: dict[str, str] = {}
    for name in lens.layers:
        found = _unit(model, lens, name)
        if isinstance(found, Unit):
            if any(unit.writer == found.writer for unit in units):
                continue  # named twice: by its weights and by its activation
            _refuse_tied(model, found, lens.graph)
            units.append(found)
        else:
            left[name] = found
    return units, left


def _unit(model: nn.Module, lens: Lens, name: str) -> Unit | str:
    graph, layer = lens.graph, lens.layer(name)
    modules = dict(model.named_modules())
    index = _activation_of(graph, layer.features.index)
    writer, norms, reason = _walk_back(graph, index, modules)
    if writer is None:
        return reason
    value, readers, reason = _walk_on(graph, index, modules)
    if not readers or value is None:
        return reason
    axis = 1 if writer.label.startswith("conv") else -1
    width = writer.shape[axis]
    flat = value.shape[-1] if isinstance(modules[readers[0].module], nn.Linear) else value.shape[1]
    reading_modules = [modules[r.module] for r in readers]
    padded = any(isinstance(m, _CONV) and any(p != 0 for p in _padding(m)) for m in reading_modules)
    biased = all(m.bias is not None for m in reading_modules)
    kinds = {isinstance(m, nn.Linear) for m in reading_modules}
    if len(kinds) > 1 or flat % width:
        return "its readers do not read it in the same way"
    return Unit(
        name=name,
        width=width,
        writer=writer.module,
        norms=norms,
        readers=tuple(r.module for r in readers),
        value=value.order,
        channel_axis=-1 if isinstance(reading_modules[0], nn.Linear) else 1,
        positions=flat // width,
        absorbs_constant=biased and not padded,
        tail=_tail(graph, readers, modules),
    )


def _activation_of(graph: Graph, index: int) -> int:
    """The activation that alone reads what node ``index`` writes, where a layer is named by its weights; else ``index`` itself."""
    node = graph[index]
    while node.kind in ("affine", "norm", "dropout") and len(graph.children(node.index)) == 1:
        node = graph[graph.children(node.index)[0]]
        if node.kind == "elementwise":
            return node.index
    return index


def _walk_back(graph: Graph, index: int, modules: Mapping[str, Any]) -> tuple[Node | None, tuple[str, ...], str]:
    """The affine module that writes a layer, and the batch norms between."""
    norms: list[str] = []
    node = graph[index]
    while True:
        if len(node.parents) != 1:
            return None, (), f"it is not written by one layer ({node.label} of {len(node.parents)} values)"
        node = graph[node.parents[0]]
        module = modules.get(node.module)
        if isinstance(module, (nn.Linear, *_CONV)) and node.kind == "affine":
            if getattr(module, "groups", 1) != 1:
                return None, (), f"its convolution {node.module!r} is grouped"
            if len(graph.children(node.index)) != 1:
                return None, (), f"the values before its activation are read elsewhere too (module {node.module!r})"
            return node, tuple(norms), ""
        if isinstance(module, _BATCH_NORM) and node.kind == "norm":
            norms.append(node.module)
        elif node.kind != "dropout":
            return None, (), f"between its weights and its activation stands {node.label}, which cannot be cut"
        if len(graph.children(node.index)) != 1:
            return None, (), f"the values before its activation are read elsewhere too (after {node.label})"


def _walk_on(graph: Graph, index: int, modules: Mapping[str, Any]) -> tuple[Node | None, list[Node], str]:
    """The last node before the readers, and the readers: Linear or Conv modules, and nothing else."""
    if any(ref.index == index for ref in graph.outputs):
        return None, [], "the network returns it"
    node = graph[index]
    while True:
        children = [graph[c] for c in graph.children(node.index)]
        if not children:
            return None, [], "nothing reads it"
        reads = [c.kind == "affine" and isinstance(modules.get(c.module), (nn.Linear, *_CONV)) for c in children]
        if all(reads):
            grouped = [c.module for c in children if getattr(modules[c.module], "groups", 1) != 1]
            return (None, [], f"its reader {grouped[0]!r} is a grouped convolution") if grouped else (node, children, "")
        if len(children) == 1 and (children[0].kind in ("dropout", "pool") or _is_flatten(children[0])):
            node = children[0]
            continue
        other = next(c for c, ok in zip(children, reads, strict=True) if not ok)
        where = f" in {other.module!r}" if other.module else ""
        return None, [], f"it is read by {other.label}{where}, which cannot be cut"


def _is_flatten(node: Node) -> bool:
    return node.kind == "reshape" and node.label in ("flatten", "view", "reshape") and len(node.shape) == 2


def _padding(module: Any) -> tuple[int, ...]:
    return (
        (1,)
        if isinstance(module.padding, str) and module.padding != "valid"
        else tuple(module.padding if module.padding != "valid" else (0,))
    )


def _tail(graph: Graph, readers: list[Node], modules: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Labels of activations and names of Linear modules from a single reader to the output, if that is all there is."""
    if len(readers) != 1:
        return None
    labels, names, node = [], [], readers[0]
    while not any(ref.index == node.index for ref in graph.outputs):
        children = graph.children(node.index)
        if len(children) != 1:
            return None
        node = graph[children[0]]
        if node.kind == "affine" and isinstance(modules.get(node.module), nn.Linear):
            names.append(node.module)
        elif node.kind == "elementwise":
            labels.append(node.label)
        elif node.kind != "dropout":
            return None
    return tuple(labels), tuple(names)


def _refuse_tied(model: nn.Module, unit: Unit, graph: Graph) -> None:
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for module_name in (unit.writer, *unit.norms, *unit.readers):
        module = _module(model, module_name)
        uses = sum(n.module == module_name and n.kind in ("affine", "norm") for n in graph)
        shared = [
            tied for p in module.parameters(recurse=False) for tied in names[id(p)] if not tied.startswith(module_name + ".")
        ]
        if shared or uses > 1:
            other = shared[0] if shared else f"{uses} uses of the same module"
            raise UnsupportedError(
                f"weights of {module_name!r} are tied ({other}), so cutting layer {unit.name!r} would change both; "
                "untie them, or leave the layer out with layers="
            )


def _module(model: nn.Module, name: str) -> Any:
    return model.get_submodule(name)


def cut(
    model: nn.Module,
    unit: Unit,
    kept: torch.Tensor,
    dropped: torch.Tensor,
    coefficients: torch.Tensor,
    constant: torch.Tensor | None,
) -> None:
    """Drop neurons of ``unit`` in place and let its readers absorb them: W'_I = W_I + W_J Tᵀ, b' = b + W_J c.

    Args:
        model: the module, changed in place.
        unit: the layer.
        kept: indices I.
        dropped: indices J.
        coefficients: T, (|I|, |J|).
        constant: c, (|J|,), or None where no bias can absorb it.
    """
    with torch.no_grad():
        _select_outputs(_module(model, unit.writer), kept)
        for name in unit.norms:
            _select_norm(_module(model, name), kept)
        for name in unit.readers:
            reader = _module(model, name)
            weight = reader.weight.detach().double()
            t = coefficients.to(weight.device)
            grouped = weight.reshape(weight.shape[0], unit.width, -1)  # (K, n, positions or kernel)
            moved = torch.einsum("kjs,ij->kis", grouped[:, dropped], t)
            new = grouped[:, kept] + moved
            if constant is not None and reader.bias is not None:
                shift = torch.einsum("kjs,j->k", grouped[:, dropped], constant.to(weight.device))
                reader.bias.copy_(reader.bias.double() + shift)
            inputs = len(kept) * unit.positions
            shape = (weight.shape[0], inputs) if isinstance(reader, nn.Linear) else (weight.shape[0], inputs, *weight.shape[2:])
            reader.weight = nn.Parameter(new.reshape(shape).to(reader.weight.dtype), reader.weight.requires_grad)
            if isinstance(reader, nn.Linear):
                reader.in_features = inputs
            else:
                reader.in_channels = inputs


def _select_outputs(module: Any, kept: torch.Tensor) -> None:
    for name in ("weight", "bias"):
        old = getattr(module, name)
        if old is not None:
            setattr(module, name, nn.Parameter(old.detach()[kept.to(old.device)].clone(), old.requires_grad))
    if isinstance(module, nn.Linear):
        module.out_features = len(kept)
    else:
        module.out_channels = len(kept)


def _select_norm(module: Any, kept: torch.Tensor) -> None:
    for name in ("weight", "bias"):
        old = getattr(module, name)
        if old is not None:
            setattr(module, name, nn.Parameter(old.detach()[kept.to(old.device)].clone(), old.requires_grad))
    for name in ("running_mean", "running_var"):
        old = getattr(module, name)
        if old is not None:
            setattr(module, name, old[kept.to(old.device)].clone())
    module.num_features = len(kept)
