"""From a module to a piecewise-linear program. What has no place in one is refused by name, never passed through.

The network is taken in eval mode and with its parameters as exact numbers: float32 weights are widened, not rounded. Two numbers
are formed in float64 before anything is exact: the scale γ/√(σ² + ε) and shift β − μ·scale of a BatchNorm, and the reciprocal of
a divisor (average pooling, division by a constant).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as _modules
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from theodolite.core.errors import ArgumentError, TheodoliteError, UnsupportedError
from theodolite.lens.frozen import frozen
from theodolite.lens.graph import Graph, Ref, tensors_in, trace
from theodolite.theory.piecewise.builder import Builder, as_array, selection
from theodolite.theory.piecewise.denselayers import DenseLayers
from theodolite.theory.piecewise.program import Affine, Array, Program

__all__ = ["lower"]

#: torch's hooks on all modules.
_GLOBAL_HOOKS, _GLOBAL_PRE_HOOKS = _modules._global_forward_hooks, _modules._global_forward_pre_hooks

#: The modules of a plain chain.
_PLAIN = {nn.Linear, nn.ReLU}

#: What numpy reads as it is.
_READ = {torch.float64, torch.float32}


def lower(model: nn.Module, input_shape: tuple[int, ...], output: int | None = None) -> Program:
    """The program of a module for inputs of one shape.

    Args:
        model: any module made of Linear, Conv1d/2d/3d, BatchNorm (eval mode), ReLU, LeakyReLU, PReLU, abs, hardtanh, ReLU6, hard
            sigmoid, clamp, softshrink, max and average pooling, maximum/minimum, reshapes, additions, concatenations and constant
            factors.
        input_shape: shape of one input, without batch dimension.
        output: keep only this output (flattened index); None keeps all.

    Raises:
        UnsupportedError: an operation that is not piecewise linear, or unknown; its name and place are in the message.
        ArgumentError: non-finite weights, or inputs of this shape are not accepted by the model.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if 0 in input_shape:
        _check_weights(model)  # a lazy layer has no inputs yet
        raise ArgumentError(f"inputs must have at least one coordinate, got shape {input_shape}")
    try:
        program = _chain(model, input_shape)
    except (ValueError, NotImplementedError):  # lazy parameters, or such without values
        _check_weights(model)
        raise
    if program is None:
        _check_weights(model)
        program = _from_graph(model, input_shape)
    return program if output is None else _one_output(program, output)


def _one_output(program: Program, output: int) -> Program:
    """The program with one of its outputs."""
    if isinstance(output, bool) or not isinstance(output, (int, np.integer)):
        raise ArgumentError(f"output must be an integer or None, got {output!r}")
    if not -program.output_size <= output < program.output_size:
        raise ArgumentError(f"output must be below {program.output_size}, the number of outputs, got {output}")
    k = int(output) % program.output_size
    steps, last = program.steps, program.steps[-1]
    if isinstance(last, Affine) and last.is_dense:
        steps = steps[:-1]
        pick = Affine(last.sources, (last.weights[0][k : k + 1],), last.bias[k : k + 1], last.name)
    else:
        pick = Affine((len(steps),), (selection(np.array([k]), program.output_size),), np.zeros(1), "output")
    return Program((*steps, pick), program.input_shape, (1,))


def _check_weights(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor) or tensor.is_meta:
            way = (
                "the layer is lazy: run the model once on an input"
                if is_lazy(tensor)
                else "it is on the meta device: load weights"
            )
            raise ArgumentError(f"weights must have values, got none in {name!r}; {way}")
        # the sum is finite unless an entry is not, or it overflows: then the entries decide
        if (
            tensor.is_floating_point()
            and not math.isfinite(tensor.detach().sum().item())
            and not bool(torch.isfinite(tensor).all())
        ):
            raise ArgumentError(
                f"weights must be finite, got NaN or infinity in {name!r}; look for a diverged training run before "
                "counting regions"
            )


def _chain(model: nn.Module, input_shape: tuple[int, ...]) -> Program | None:
    """The program of a plain chain of Linear and ReLU modules, which need no tracing; None for anything else."""
    if type(model) not in (nn.Sequential, nn.Linear) or len(input_shape) != 1:
        return None
    if _GLOBAL_HOOKS or _GLOBAL_PRE_HOOKS or model._forward_hooks or model._forward_pre_hooks or "forward" in model.__dict__:
        return None
    sizes, regular = [input_shape[0]], True
    names: list[str] = []
    dense: list[bool] = []
    relus: list[bool] = []
    arrays: list[Array] = []
    # children() would drop repetitions
    for name, module in ({"": model} if isinstance(model, nn.Linear) else model._modules).items():
        kind = type(module)
        if (
            module is None
            or kind not in _PLAIN
            or module._forward_hooks
            or module._forward_pre_hooks
            or "forward" in module.__dict__
        ):
            return None
        names.append(name)
        dense.append(kind is nn.Linear)
        if kind is nn.ReLU:
            regular = regular and bool(relus) and not relus[-1]
            relus[-1:] = [True]
            continue
        parameters = module._parameters
        if "weight" not in parameters or "bias" not in parameters:  # something else stands in their place
            return None
        weight, bias = _array(parameters["weight"]), parameters["bias"]
        size, given = weight.shape
        if given != sizes[-1]:
            raise ArgumentError(
                f"inputs (of the domain, x or points) must have as many coordinates as layer {name!r} takes: {given}, got {sizes[-1]}"
            )
        sizes.append(size)
        arrays += (weight, np.zeros(size) if bias is None else _array(bias))
        relus.append(False)
    if not names:
        return None
    flat = _joined(arrays)
    # the sum of squares is finite unless an entry is not, or it overflows: then the entries decide
    if not math.isfinite(flat.dot(flat)):
        _check_weights(model)
    layers = DenseLayers(flat, sizes, names, dense, (flat, *_form(tuple(sizes), tuple(relus))) if regular else None)
    return Program(layers, input_shape, (sizes[-1],))


@lru_cache
def _form(sizes: tuple[int, ...], relus: tuple[bool, ...]) -> tuple[Array, Array]:
    """Sizes, and whether a ReLU stands behind each layer, for compiled code."""
    return np.array(sizes), np.array(relus, dtype=bool)


def _joined(arrays: list[Any]) -> Array:
    """Their numbers one after the other, in float64."""
    kinds = {array.dtype.char for array in arrays}
    if kinds in ({"d"}, {"f"}):
        try:  # a third of the time that numpy takes, of 40 µs for a small network
            found = np.frombuffer(bytearray().join(arrays), arrays[0].dtype)
        except TypeError:  # transposed weights are no bytes in a row
            pass
        else:
            return found if "d" in kinds else found.astype(np.float64)
    return np.concatenate([np.zeros(0), *arrays], axis=None)


def _array(tensor: Any) -> Array:
    """A tensor's numbers, in float32 where they are such, else in float64; not copied unless they must be."""
    if tensor.dtype in _READ:
        return tensor.numpy(force=True)
    if tensor.is_complex():
        raise UnsupportedError(f"weights must be real, got {tensor.dtype}")
    return tensor.detach().double().numpy(force=True)


def _from_graph(model: nn.Module, input_shape: tuple[int, ...]) -> Program:
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise UnsupportedError(
                f"{type(module).__name__} {name!r} keeps no running statistics and divides by those of the batch, which is not "
                "piecewise linear; give it track_running_stats=True"
            )
    with frozen(model):
        graph, shape = _traced(model, input_shape)
        try:
            return _built(model, graph, shape, input_shape)
        except TheodoliteError:
            raise
        except (RuntimeError, ValueError, IndexError, TypeError) as error:  # an input taken for one with a batch dimension
            raise ArgumentError(_not_this_shape(input_shape, error)) from error


def _built(model: nn.Module, graph: Graph, shape: tuple[int, ...], input_shape: tuple[int, ...]) -> Program:
    if len(graph.outputs) != 1:
        raise UnsupportedError(f"the model must return one tensor that depends on its input, got {len(graph.outputs)}")
    builder = Builder(graph)
    builder.values[Ref(graph.inputs[0])] = 0
    builder.shapes[0] = shape
    for node in graph:
        if node.kind != "input":
            builder.add(node)
    last = builder.value(graph.outputs[0])
    out_shape = builder.shapes[last][1:]
    if last != len(builder.steps) or not builder.steps:
        size = int(np.prod(builder.shapes[last], dtype=int))
        builder.steps.append(Affine((last,), (None,), np.zeros(size), "output"))
    program = Program(tuple(builder.steps), input_shape, out_shape)
    _check_against(program, shape, model)
    return program


def _not_this_shape(shape: tuple[int, ...], failure: Exception | None) -> str:
    return (
        f"inputs (of the domain, x or points) must have the shape that the model takes, got {shape}; for a box of such inputs "
        f"give box(low, high) arrays of that shape ({failure})"
    )


def _traced(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[Graph, tuple[int, ...]]:
    """The graph on one input, given with a batch dimension, or as it is when it already has one of size 1."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    like = parameter if parameter is not None else torch.zeros(0, dtype=torch.float64)
    failure: Exception | None = None
    for shape in ((1, *input_shape), input_shape):
        if shape[0] != 1:
            continue
        try:
            return trace(model, torch.zeros(shape, dtype=like.dtype, device=like.device), fuse=False), shape
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            failure = failure or error
    raise ArgumentError(_not_this_shape(input_shape, failure))


def _check_against(program: Program, shape: tuple[int, ...], model: nn.Module) -> None:
    """The program must reproduce the module on an input that was not traced: the last guard against what tracing does not see."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    like = parameter if parameter is not None else torch.zeros(0, dtype=torch.float64)
    probe = np.cos(np.arange(1, program.input_size + 1, dtype=np.float64) * 1.7)
    given = torch.tensor(probe.reshape(shape), dtype=like.dtype, device=like.device)
    with torch.no_grad():
        outputs = [as_array(tensor).reshape(-1) for tensor in tensors_in(model(given))]
    found = program.forward(as_array(given).reshape(1, -1))[0]
    scale = max(1.0, float(np.abs(found).max(initial=0.0)))
    tolerance = 1e-9 if like.dtype == torch.float64 else 1e-3 if like.dtype == torch.float32 else 0.1
    if not any(o.shape == found.shape and (np.abs(o - found) <= tolerance * scale).all() for o in outputs):
        raise UnsupportedError(
            "the model is not the piecewise-linear program that its operations suggest (the two differ on a probe input): it may "
            "depend on its input through Python control flow, numpy or detached tensors, or draw random numbers"
        )
