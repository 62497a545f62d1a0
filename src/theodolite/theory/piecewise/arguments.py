"""Checks of arguments, in one manner of speaking."""

from __future__ import annotations

import math
import operator
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from theodolite.core.arrays import as_float64
from theodolite.core.errors import ArgumentError

Array: TypeAlias = np.ndarray[Any, Any]

__all__ = ["LARGEST", "SMALLEST", "integer", "number", "numbers", "plain_path"]

#: Bounds on coordinates and on lengths: second moments in six dimensions are numbers still.
LARGEST, SMALLEST = 1e36, 1e-36


def integer(value: Any, name: str, least: int = 1, instead: str = "") -> int:
    """``value`` as an int.

    Args:
        value: a whole number; 3.0 will do, True will not.
        name: of the argument.
        least: smallest one allowed.
        instead: what else the argument may be, for the message.

    Raises:
        ArgumentError: anything else.

    Example:
        >>> integer(3.0, "dim")
        3
    """
    try:
        found = operator.index(value)
    except TypeError:
        found = int(value) if isinstance(value, float) and value.is_integer() else least - 1
    if isinstance(value, bool) or found < least:
        kind = {0: "a non-negative integer", 1: "a positive integer"}.get(least, f"an integer of at least {least}")
        raise ArgumentError(f"{name} must be {kind}{instead}, got {value!r}")
    return found


def number(value: Any, name: str, least: float = -math.inf, most: float = math.inf) -> float:
    """``value`` as a float that is not NaN, from ``least`` to ``most``.

    Raises:
        ArgumentError: anything else.

    Example:
        >>> number("1", "p", least=1)
        Traceback (most recent call last):
        theodolite.core.errors.ArgumentError: p must be a number from 1 to inf, got '1'
    """
    try:
        found = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not least <= found <= most:
        bounds = f" from {least:g} to {most:g}" if least > -math.inf or most < math.inf else ""
        raise ArgumentError(f"{name} must be a number{bounds}, got {value!r}")
    return found


def numbers(value: Any, name: str, **rules: Any) -> Array:
    """Numbers of any type as a float64 array of their own, checked: coordinates may well be integers.

    Args:
        value: the numbers.
        name: of the argument.
        rules: ``ndim`` or ``at_least``, as for `as_float64`, which says what is wrong with what is not plainly right.

    Raises:
        ArgumentError: anything but finite real numbers up to `LARGEST` in magnitude.

    Example:
        >>> numbers([1, 2], "x")
        array([1., 2.])
    """
    array = _plain(value)
    if array is not None and rules.get("at_least", 0) <= array.ndim == rules.get("ndim", array.ndim):
        return array
    if hasattr(value, "detach") and not value.is_complex():
        value = value.detach().cpu().double()
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biu":
        value = value.astype(np.float64)
    array = as_float64(value, name, **rules).detach().numpy().copy()
    largest = np.abs(array).max(initial=0.0)
    if largest > LARGEST:
        raise ArgumentError(f"{name} must be at most {LARGEST:g} in magnitude, got {largest:g}; scale the inputs")
    return array


def _plain(value: Any) -> Array | None:
    """Finite numbers in a list, an array or a tensor as a float64 array of their own; None for anything else."""
    if hasattr(value, "detach"):
        if not value.is_floating_point():
            return None
        value = value.detach().double().numpy(force=True)
    elif isinstance(value, (list, tuple)):
        try:
            value = np.array(value)
        except (TypeError, ValueError, RuntimeError):
            return None
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.dtype.itemsize > 8:
        return None
    array = value.astype(np.float64, order="C")
    return array if math.isfinite(np.vdot(array, array)) else None


def plain_path(value: Any, name: str) -> Path:
    """``value`` as a path.

    Raises:
        ArgumentError: neither text nor a path.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise ArgumentError(f"{name} must be a path, got {type(value).__name__}")
    return Path(value)
