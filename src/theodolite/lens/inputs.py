"""The forms that data may take: a tensor, a tuple, a dict, numpy, or a DataLoader, as a list of calls of the model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from theodolite.core.arrays import check_finite
from theodolite.core.errors import ArgumentError, ModelError
from theodolite.lens.evaluation import recordable

__all__ = ["Call", "batches", "run"]


@dataclass(frozen=True)
class Call:
    """One call of the model: positional and keyword arguments, and the targets that came with them (or None)."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    y: Any = None

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All tensors among the arguments."""
        found: list[torch.Tensor] = []

        def visit(tree: Any) -> None:
            if isinstance(tree, torch.Tensor):
                found.append(tree)
            elif isinstance(tree, Mapping):
                for value in tree.values():
                    visit(value)
            elif isinstance(tree, (list, tuple)):
                for value in tree:
                    visit(value)

        visit((self.args, dict(self.kwargs)))
        return found

    @property
    def size(self) -> int:
        """Number of samples: the first dimension of the first tensor."""
        return self.tensors[0].shape[0]


def batches(model: nn.Module, x: Any, y: Any = None) -> Iterator[Call]:
    """The calls that ``x`` stands for.

    A tensor or array is ``model(x)``; a tuple is ``model(*x)``; a dict is ``model(**x)`` if its keys are parameters of forward,
    else ``model(x)``; a DataLoader gives one call per batch, whose second part is y where a batch is a pair. Inference tensors are
    copied, so that autograd can record what is done with them.

    Raises:
        ArgumentError: nothing that can be called with, no samples, non-finite data, or data and model on different devices.
    """
    if isinstance(x, torch.utils.data.DataLoader):
        if y is not None:
            raise ArgumentError("y must be None when x is a DataLoader; let the loader yield pairs (x, y)")
        calls: Iterator[Call] = (_loader_call(model, batch) for batch in x)
    else:
        calls = iter([_call(model, x, _converted(model, y, is_target=True))])
    for call in calls:
        _check(model, call)
        yield Call(*tree_map_only(torch.Tensor, recordable, (call.args, call.kwargs, call.y)))


def run(model: Callable[..., Any], call: Call) -> Any:
    """The model's result, with its own errors wrapped in `ModelError`."""
    try:
        return model(*call.args, **call.kwargs)
    except Exception as error:
        raise model_error(error, call) from error


def model_error(error: Exception, call: Call) -> ModelError:
    """A `ModelError` that says with what the model was called."""
    shapes = ", ".join(f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in call.tensors)
    return ModelError(f"the model raised {type(error).__name__} when called with {shapes}: {error}")


def _loader_call(model: nn.Module, batch: Any) -> Call:
    if isinstance(batch, (list, tuple)) and len(batch) == 2:
        return _call(model, batch[0], batch[1])
    if isinstance(batch, (list, tuple)):
        return _call(model, tuple(batch), None)
    return _call(model, batch, None)


def _call(model: nn.Module, x: Any, y: Any) -> Call:
    if isinstance(x, (torch.Tensor, np.ndarray)):
        return Call((_converted(model, x),), {}, y)
    if isinstance(x, tuple):
        return Call(tuple(_converted(model, part) for part in x), {}, y)
    if isinstance(x, Mapping):
        data = {key: _converted(model, value) for key, value in x.items()}
        parameters = inspect.signature(model.forward).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if takes_any or set(data) <= set(parameters):
            return Call((), data, y)
        return Call((data,), {}, y)
    raise ArgumentError(f"x must be a tensor, an array, a tuple, a dict or a DataLoader, got {type(x).__name__}")


def _converted(model: nn.Module, value: Any, is_target: bool = False) -> Any:
    """Numpy arrays (and lists of targets) as tensors, floating ones in the dtype of the model's parameters."""
    if is_target and isinstance(value, (list, tuple)):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        return value
    tensor = torch.from_numpy(np.ascontiguousarray(value))
    parameter = next(model.parameters(), None)
    if parameter is None:
        return tensor
    return tensor.to(parameter.device, parameter.dtype if tensor.is_floating_point() else None)


def _check(model: nn.Module, call: Call) -> None:
    if not call.tensors:
        raise ArgumentError("x must hold at least one tensor, got none")
    if call.tensors[0].ndim == 0 or call.size == 0:
        raise ArgumentError(f"x must hold at least one sample, got shape {tuple(call.tensors[0].shape)}")
    parameter = next(model.parameters(), None)
    if parameter is not None and call.tensors[0].device != parameter.device:
        raise ArgumentError(
            f"x is on {call.tensors[0].device} but the model is on {parameter.device}; "
            f"move the data with x.to({str(parameter.device)!r})"
        )
    for tensor in call.tensors:
        if tensor.is_floating_point():
            check_finite(tensor, "x")
    if isinstance(call.y, torch.Tensor) and len(call.y) != call.size:
        raise ArgumentError(f"y must have one entry per sample of x, {call.size}, got shape {tuple(call.y.shape)}")
