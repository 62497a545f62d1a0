"""ONNX in and out (extra ``onnx``): networks are read operation by operation, three-layer networks are written as plain graphs.

Reading is strict: an operation or an attribute that is not in the table below is refused by name, never ignored.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from theodolite.core.errors import ArgumentError, StoreError, UnsupportedError, require_extra
from theodolite.theory.piecewise.arguments import plain_path
from theodolite.theory.piecewise.program import Array

if TYPE_CHECKING:
    from theodolite.theory.piecewise.shallow import Shallow

__all__ = ["OnnxNetwork", "from_onnx", "to_onnx"]

Tensor = torch.Tensor


def _gemm(x: Tensor, w: Tensor, c: Any = 0.0, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0) -> Tensor:
    if transA:
        raise UnsupportedError("ONNX Gemm with transA=1 mixes the batch dimension; export with transA=0")
    product = F.linear(x, w if transB else w.T)
    out = product if alpha == 1.0 else product * alpha
    return out + (c if beta == 1.0 else c * beta)


def _sides(pads: list[int], count: int) -> list[int]:
    if pads[:count] != pads[count:]:
        raise UnsupportedError(f"ONNX padding must be the same on both sides, got {pads}")
    return pads[:count]


def _conv(
    x: Tensor,
    w: Tensor,
    b: Any = None,
    *,
    kernel_shape: Any = None,
    strides: Any = None,
    pads: Any = None,
    dilations: Any = None,
    group: int = 1,
) -> Tensor:
    dims = w.ndim - 2
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dims]
    padding = _sides(list(pads or [0] * 2 * dims), dims)
    return function(x, w, b, list(strides or [1] * dims), padding, list(dilations or [1] * dims), group)


def _max_pool(
    x: Tensor, *, kernel_shape: Any, strides: Any = None, pads: Any = None, dilations: Any = None, ceil_mode: int = 0
) -> Tensor:
    dims = len(kernel_shape)
    function = {1: F.max_pool1d, 2: F.max_pool2d}[dims]
    padding = _sides(list(pads or [0] * 2 * dims), dims)
    return function(x, list(kernel_shape), list(strides or [1] * dims), padding, list(dilations or [1] * dims), bool(ceil_mode))


def _average_pool(
    x: Tensor, *, kernel_shape: Any, strides: Any = None, pads: Any = None, count_include_pad: int = 0, ceil_mode: int = 0
) -> Tensor:
    dims = len(kernel_shape)
    function = {1: F.avg_pool1d, 2: F.avg_pool2d}[dims]
    padding = _sides(list(pads or [0] * 2 * dims), dims)
    return function(x, list(kernel_shape), list(strides or [1] * dims), padding, bool(ceil_mode), bool(count_include_pad))


def _batch_norm(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Tensor:
    if training_mode:
        raise UnsupportedError(
            "ONNX BatchNormalization in training mode divides by a statistic of its input; export in eval mode"
        )
    return F.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)


def _clip(x: Tensor, low: Any = None, high: Any = None, *, min: float | None = None, max: float | None = None) -> Tensor:
    bounds = [min if low is None else float(low), max if high is None else float(high)]
    return torch.clamp(x, *bounds)


def _reshape(x: Tensor, shape: Tensor, allowzero: int = 0) -> Tensor:
    sizes = [x.shape[k] if s == 0 and not allowzero else int(s) for k, s in enumerate(shape.tolist())]
    return x.reshape(sizes)


def _hard_sigmoid(x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


def _extremum(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def best(*values: Tensor) -> Tensor:
        out = values[0]
        for value in values[1:]:
            out = function(out, value)
        return out

    return best


_OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "Gemm": _gemm,
    "MatMul": lambda x, w: F.linear(x, w.T),
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
    "Neg": torch.neg,
    "Abs": torch.abs,
    "Relu": torch.relu,
    "LeakyRelu": lambda x, alpha=0.01: F.leaky_relu(x, alpha),
    "PRelu": lambda x, slope: F.prelu(x, slope.reshape(-1)),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True),
    "Flatten": lambda x, axis=1: torch.flatten(x, axis),
    "Reshape": _reshape,
    "Transpose": lambda x, perm: x.permute(*perm),
    "Concat": lambda *xs, axis: torch.cat(xs, dim=axis),
    "Identity": lambda x: x.clone(),
    "Max": _extremum(torch.maximum),
    "Min": _extremum(torch.minimum),
}


class OnnxNetwork(nn.Module):
    """An ONNX graph as a module of the operations that regions know; made by `from_onnx`."""

    def __init__(self, model: Any) -> None:
        import onnx

        super().__init__()
        graph = model.graph
        self.constants: dict[str, Tensor] = {}
        for k, item in enumerate(graph.initializer):
            tensor = _constant(item)
            self.register_buffer(f"constant{k}", tensor)
            self.constants[item.name] = tensor
        self.nodes: list[tuple[str, tuple[str, ...], tuple[str, ...], dict[str, Any]]] = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant" and set(attributes) == {"value"}:
                self.constants[node.output[0]] = _constant(attributes["value"])
                continue
            self._check(node, attributes)
            self.nodes.append((node.op_type, tuple(node.input), tuple(node.output), attributes))
        names = [v.name for v in graph.input if v.name not in self.constants]
        if len(names) != 1 or len(graph.output) != 1:
            raise UnsupportedError(f"the ONNX graph must have one input and one output, got {len(names)} and {len(graph.output)}")
        self.input, self.output = names[0], graph.output[0].name

    def _check(self, node: Any, attributes: dict[str, Any]) -> None:
        import inspect

        if node.op_type not in _OPERATIONS or node.domain not in ("", "ai.onnx"):
            raise UnsupportedError(
                f"ONNX operation {node.op_type!r} (node {node.name!r}) has no place in an exact piecewise-linear program; "
                f"known: {', '.join(sorted(_OPERATIONS))}"
            )
        if attributes.get("auto_pad") in (b"NOTSET", "NOTSET"):
            attributes.pop("auto_pad")
        if attributes.get("storage_order") == 0:
            attributes.pop("storage_order")
        try:
            known = set(inspect.signature(_OPERATIONS[node.op_type]).parameters)
        except ValueError:  # torch's own functions take no attributes here
            known = set()
        for name in attributes:
            if name not in known:
                raise UnsupportedError(
                    f"attribute {name!r} of ONNX operation {node.op_type!r} (node {node.name!r}) is not supported"
                )
        if len(node.output) != 1:
            raise UnsupportedError(
                f"ONNX operation {node.op_type!r} (node {node.name!r}) must have one output, got {len(node.output)}"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Run the graph in float64, whatever the type of ``x``."""
        values: dict[str, Any] = {**self.constants, self.input: x.double(), "": None}
        for operation, inputs, outputs, attributes in self.nodes:
            arguments = [values[name] for name in inputs]
            while arguments and arguments[-1] is None:
                arguments.pop()
            values[outputs[0]] = _OPERATIONS[operation](*arguments, **attributes)
        return values[self.output]


def _constant(item: Any) -> Tensor:
    """A tensor of an ONNX graph; floats are widened to float64."""
    import onnx.numpy_helper

    tensor = torch.from_numpy(np.array(onnx.numpy_helper.to_array(item)))
    return tensor.double() if tensor.is_floating_point() else tensor


def from_onnx(path: str | Path) -> OnnxNetwork:
    """A network from an ONNX file, in float64, ready for `regions`, `local_region` and `to_shallow`.

    Args:
        path: the file.

    Raises:
        MissingExtraError: the package onnx is not installed.
        ArgumentError: there is no such file, or it holds no ONNX model.
        UnsupportedError: an operation or attribute that is not in the table; it is named.
    """
    require_extra("onnx", "onnx")
    return OnnxNetwork(_read(path)).eval()


def _read(path: str | Path) -> Any:
    """The ONNX model in a file."""
    import onnx

    rule = "path must name an ONNX file, as torch.onnx.export and Shallow.to_onnx write it"
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentError(f"{rule}, got {type(path).__name__}")
    if not Path(path).is_file():
        what = "a folder" if Path(path).is_dir() else "no such file"
        raise ArgumentError(f"{rule}, got {str(path)!r}, which is {what}; check the spelling and the working directory")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, the checker and the reader of external data have a family of errors each
        raise ArgumentError(
            f"{rule}, got {str(path)!r}, which cannot be read as one: {error}; export the network again"
        ) from error
    return model


def to_onnx(shallow: Shallow, path: str | Path) -> Path:
    """Write a three-layer network as ONNX (opset 18, float64), without arithmetic on infinities: through Greater, MatMul, Where, Relu.

    Args:
        shallow: from `to_shallow`.
        path: where to write.

    Raises:
        MissingExtraError: the package onnx is not installed.
        ArgumentError: not a three-layer network, or not a path.
        StoreError: the file cannot be written.
    """
    require_extra("onnx", "onnx")
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    if not hasattr(shallow, "half_spaces"):
        raise ArgumentError(
            f"shallow must be what td.piecewise.to_shallow returns, got {type(shallow).__name__}; write other networks with "
            "torch.onnx.export"
        )
    _, outputs, dim = shallow.affine_weight.shape
    nodes = [_node(line) for line in ["before = MatMul x H", "z = Add before c", *_layers(shallow.mode)]]
    used = {name for node in nodes for name in node.input}
    constants = {name: array for name, array in _constants(shallow).items() if name in used}
    graph = helper.make_graph(
        nodes,
        "shallow",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", dim])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["N", outputs])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    place = plain_path(path, "path")
    try:
        onnx.save(model, str(place))
    except OSError as error:
        raise StoreError(
            f"the network could not be written to {place}: {error}; choose a path in a folder that exists"
        ) from error
    return place


def _constants(shallow: Shallow) -> dict[str, Array]:
    """What the nodes of any mode read, by name."""
    regions, outputs, dim = shallow.affine_weight.shape
    weight, bias = shallow.affine_weight.numpy(), shallow.affine_bias.numpy()
    selector = np.zeros((shallow.half_spaces.out_features, regions))
    entries = np.ones(shallow.entries) if shallow.mode == "paper" else shallow.selector.values.numpy()
    selector[shallow.selector.columns.numpy(), shallow.selector.rows.numpy()] = entries
    return {
        "H": shallow.half_spaces.weight.detach().numpy().T,
        "c": shallow.half_spaces.bias.detach().numpy(),
        "S": selector,
        "A": weight if shallow.mode == "exact" else weight.reshape(-1, dim).T,
        "b": bias if shallow.mode == "exact" else bias.reshape(-1),
        "zero": np.zeros(()),
        "minus_infinity": np.full((), -np.inf),
        "margin": shallow.margin.numpy(),
        "required": shallow.selector.bias.numpy(),
        "middle": np.array([1]),
        "last": np.array([2]),
        "shape": np.array([-1, regions, outputs]),
    }


def _node(line: str) -> Any:
    """An ONNX node from ``result = Operation inputs``."""
    from onnx import TensorProto, helper

    options: dict[str, dict[str, Any]] = {
        "Cast": {"to": TensorProto.DOUBLE},
        "ArgMin": {"axis": 1, "keepdims": 0},
        "ReduceSum": {"keepdims": 0},
    }
    result, _, call = line.partition(" = ")
    operation, *inputs = call.split()
    return helper.make_node(operation, inputs, [result], name=result, **options.get(operation, {}))


def _layers(mode: str) -> list[str]:
    """Layers 2 and 3 as lines ``result = Operation inputs``."""
    if mode == "exact":
        return [
            "violation = Relu z",
            "total = MatMul violation S",
            "charged = Add total required",
            "region = ArgMin charged",
            "slopes = Gather A region",
            "wide = Unsqueeze x middle",
            "products = Mul slopes wide",
            "linear = ReduceSum products last",
            "constant = Gather b region",
            "y = Add linear constant",
        ]
    values = ["flat = MatMul x A", "shifted = Add flat b", "v = Reshape shifted shape", "opposite = Neg v"]
    if mode == "paper":
        select = [
            "hit = Greater z zero",
            "hits = Cast hit",
            "count = MatMul hits S",
            "elsewhere = Greater count zero",
            "mask = Unsqueeze elsewhere last",
            "up = Where mask minus_infinity v",
            "down = Where mask minus_infinity opposite",
        ]
    else:
        select = [
            "on = Greater z zero",
            "state = Cast on",
            "agreed = MatMul state S",
            "mismatch = Sub required agreed",
            "scaled = Mul mismatch margin",
            "block = Unsqueeze scaled last",
            "up = Sub v block",
            "down = Sub opposite block",
        ]
    ends = [
        "positive = Relu up",
        "negative = Relu down",
        "first = ReduceSum positive middle",
        "second = ReduceSum negative middle",
    ]
    return [*values, *select, *ends, "y = Sub first second"]
