"""Arguments of the rank measures: features with weights, options out of a few, and flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from theodolite.core.arrays import as_float64
from theodolite.core.errors import ArgumentError

__all__ = ["check_choice", "check_features", "check_flag"]


def check_choice(value: Any, name: str, options: Sequence[str]) -> None:
    """A misspelt option must not pass for another one.

    Raises:
        ArgumentError: not one of the options; they are named.

    Example:
        >>> check_choice("gram", "method", ("svd", "gram"))
    """
    if not isinstance(value, str) or value not in options:
        raise ArgumentError(f"{name} must be {' or '.join(repr(o) for o in options)}, got {value!r}")


def check_flag(value: Any, name: str) -> None:
    """Any text is true, ``"no"`` too; so only True and False will do.

    Raises:
        ArgumentError: neither True nor False.

    Example:
        >>> check_flag(False, "center")
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{name} must be True or False, got {value!r}")


def check_features(features: Any, weights: Any, *, finite: bool = True) -> tuple[torch.Tensor, torch.Tensor | None, torch.dtype]:
    """Features and weights as float64 tensors, and the dtype that the features came in.

    Raises:
        ArgumentError: features without samples or neurons, weights that do not fit or are negative, non-finite entries.

    Example:
        >>> phi, w, dtype = check_features(np.ones((3, 2), dtype=np.float32), None)
        >>> phi.dtype, w, dtype
        (torch.float64, None, torch.float32)
    """
    phi = as_float64(features, "features", at_least=2, finite=finite)
    dtype = features.dtype if isinstance(features, torch.Tensor) else torch.float64
    if not isinstance(features, torch.Tensor) and getattr(features, "dtype", None) is not None:
        dtype = torch.from_numpy(np.empty(0, features.dtype)).dtype
    if phi.shape[-1] == 0 or phi.shape[-2] == 0:
        raise ArgumentError(f"features must hold at least one sample and one neuron, got shape {tuple(phi.shape)}")
    if weights is None:
        return phi, None, dtype
    w = as_float64(weights, "weights", at_least=1, device=phi.device)
    if w.shape[-1] != phi.shape[-2]:
        raise ArgumentError(f"weights must have one entry per sample, {phi.shape[-2]}, got shape {tuple(w.shape)}")
    if w.ndim > 1:
        _check_leading(w, phi)
    if bool((w < 0).any()):
        raise ArgumentError(f"weights must not be negative, got a minimum of {w.min().item()}; use a rule with positive weights")
    return phi, w, dtype


def _check_leading(weights: torch.Tensor, features: torch.Tensor) -> None:
    try:
        np.broadcast_shapes(weights.shape, features.shape[:-1])  # torch's takes as long as a small eigen-solve
    except ValueError:
        raise ArgumentError(
            f"weights must fit the leading dimensions of features, {tuple(features.shape[:-1])}, got {tuple(weights.shape)}"
        ) from None
