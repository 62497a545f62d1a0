"""Labelled data: points x_n with labels y_n = ±1, checked once and folded to z_n = y_n x_n."""

from __future__ import annotations

from typing import Any

import numpy as np

from theodolite.core.arrays import on_host
from theodolite.core.errors import ArgumentError

__all__ = ["as_matrix", "folded", "like", "positive"]


def as_matrix(value: Any, name: str, *, ndim: int = 2) -> np.ndarray:
    """``value`` as a finite float64 numpy array of ``ndim`` dimensions, on the CPU; integers are converted.

    Raises:
        ArgumentError: complex, of another rank, empty, or with non-finite entries.

    Example:
        >>> as_matrix([[1, 2], [3, 4]], "x").dtype
        dtype('float64')
    """
    array = np.asarray(on_host(value))
    if np.iscomplexobj(array):
        raise ArgumentError(f"{name} must be real, got dtype {array.dtype}; pass its real part or modulus")
    try:
        array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must be an array of numbers, got dtype {array.dtype}: {error}") from None
    if array.ndim != ndim:
        raise ArgumentError(f"{name} must have {ndim} dimension{'s' * (ndim != 1)}, got shape {array.shape}")
    if array.size == 0:
        raise ArgumentError(f"{name} must not be empty, got shape {array.shape}")
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ArgumentError(f"{name} must be finite, got {array[index]} at index {index}; drop or impute missing values first")
    return array


def folded(x: Any, y: Any) -> np.ndarray:
    """The folded points z_n = y_n x_n, on which a homogeneous separator is w·z_n > 0 for all n.

    Args:
        x: ``(N, d)`` points.
        y: ``(N,)`` labels, −1 or +1.

    Returns:
        ``(N, d)`` float64 numpy array.

    Raises:
        ArgumentError: shapes that do not match, or labels other than −1 and +1.

    Example:
        >>> folded([[1.0, 2.0], [3.0, 4.0]], [1, -1]).tolist()
        [[1.0, 2.0], [-3.0, -4.0]]
    """
    points = as_matrix(x, "x")
    labels = as_matrix(np.ravel(on_host(y)), "y", ndim=1)
    if len(labels) != len(points):
        raise ArgumentError(f"x and y must have one row each per point, got {len(points)} points and {len(labels)} labels")
    if not np.all(np.abs(labels) == 1):
        found = sorted(set(labels.tolist()))[:6]
        raise ArgumentError(f"y must hold −1 and +1 only, got {found}; for classes 0 and 1 pass 2·y − 1")
    return points * labels[:, None]


def like(result: np.ndarray, *given: Any) -> Any:
    """``result`` as a torch tensor on the device of the first tensor among ``given``; unchanged when there is none.

    Example:
        >>> type(like(np.ones(2), [1.0])).__name__
        'ndarray'
    """
    for argument in given:
        if hasattr(argument, "detach"):
            import torch

            return torch.as_tensor(result, device=argument.device)
    return result


def positive(value: Any, name: str) -> float:
    """``value`` as a float, refused unless it is one finite number above zero.

    Example:
        >>> positive(2, "rate")
        2.0
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ArgumentError(f"{name} must be a number, got {value!r}") from None
    if not (number > 0 and np.isfinite(number)):
        raise ArgumentError(f"{name} must be positive and finite, got {value!r}")
    return number
