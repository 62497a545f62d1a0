"""Arguments of predictions: counts that must be whole numbers, and arrays of numbers where one number is meant."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np

from theodolite.core.arrays import on_host
from theodolite.core.errors import ArgumentError

__all__ = ["broadcasting", "check_count", "check_number", "common_shape"]

F = TypeVar("F", bound=Callable[..., Any])


def check_count(value: Any, name: str, least: int = 1) -> int:
    """``value`` as an int.

    Raises:
        ArgumentError: not a whole number of at least ``least``.

    Example:
        >>> check_count(3.0, "depth")
        3
    """
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or value % 1 != 0 or value < least:
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ArgumentError(f"{name} must be {kind}, got {value!r}")
    return int(value)


def check_number(value: Any, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """``value`` as a float.

    Raises:
        ArgumentError: not a finite real number in [low, high].

    Example:
        >>> check_number(0.5, "c0", -1.0, 1.0)
        0.5
    """
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:
        where = "" if math.isinf(low) and math.isinf(high) else f" in [{low:.4g}, {high:.4g}]"
        raise ArgumentError(f"{name} must be a finite real number{where}, got {value!r}")
    return float(value)


def common_shape(**arrays: Any) -> tuple[int, ...]:
    """The shape that arrays broadcast to.

    Raises:
        ArgumentError: there is none; they are named with their shapes.

    Example:
        >>> common_shape(q=np.ones((3, 1)), depth=np.ones(2))
        (3, 2)
    """
    try:
        return np.broadcast_shapes(*(np.shape(a) for a in arrays.values()))
    except ValueError:
        given = ", ".join(f"{n} {np.shape(a)}" for n, a in arrays.items())
        raise ArgumentError(f"{', '.join(arrays)} must broadcast against each other, got shapes {given}") from None


def broadcasting(*names: str, sequences: bool = True) -> Callable[[F], F]:
    """Let a function of numbers take arrays for the arguments ``names``, which broadcast; results become arrays of their shape.

    Without ``sequences`` lists and tuples are values of their own, and only arrays and tensors broadcast. A result that is a
    dataclass becomes one whose fields are arrays, with the axes of the arguments first. Without arrays results stay numbers.

    Example:
        >>> @broadcasting("x", "y")
        ... def larger(x, y=1.0):
        ...     return max(x, y)
        >>> larger(2.0), larger([0.0, 3.0]).tolist()
        (2.0, [1.0, 3.0])
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            given = {n: v for n, v in bound.arguments.items() if n in names and (sequences or not isinstance(v, (list, tuple)))}
            arrays = {n: np.asarray(on_host(v)) for n, v in given.items() if np.ndim(v)}
            # a number in a tensor or an array without axes is a number
            bound.arguments.update({n: on_host(v).item() for n, v in given.items() if hasattr(v, "item") and not np.ndim(v)})
            if not arrays:
                return function(*bound.args, **bound.kwargs)
            shape = common_shape(**arrays)
            columns = {n: np.broadcast_to(a, shape).ravel().tolist() for n, a in arrays.items()}
            results = []
            for row in zip(*columns.values(), strict=True):
                bound.arguments.update(zip(columns, row, strict=True))
                results.append(function(*bound.args, **bound.kwargs))
            return _stacked(results, shape)

        return call  # type: ignore[return-value]

    return decorate


def _stacked(results: list[Any], shape: tuple[int, ...]) -> Any:
    if not results or not is_dataclass(results[0]):
        return _joined(results, shape)
    columns = {f.name: _joined([getattr(r, f.name) for r in results], shape) for f in fields(results[0])}
    return replace(results[0], **columns)  # type: ignore[type-var]


def _joined(values: list[Any], shape: tuple[int, ...]) -> Any:
    """The values along new leading axes; functions that are still to be called become one that returns theirs."""
    if values and callable(values[0]):
        return lambda: _joined([value() for value in values], shape)
    array = np.array(values)
    return array.reshape(shape + array.shape[1:])
