"""Plain arrays in, plain arrays out: numpy or torch, checked once, computed in float64.

Theory and probes run in float64 whatever the dtype of the features: float32 features in a float64 eigen-solve are right to
1e-12, a float32 Gram matrix only to 1e-6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from theodolite.core.errors import ArgumentError

if TYPE_CHECKING:
    import torch

    ArrayLike: TypeAlias = "torch.Tensor | np.ndarray | float | int | list[Any] | tuple[Any, ...]"
else:
    ArrayLike = object

__all__ = ["ArrayLike", "as_float64", "as_given", "check_finite", "on_host"]


def as_float64(
    value: Any,
    name: str,
    *,
    ndim: int | None = None,
    at_least: int | None = None,
    finite: bool = True,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """``value`` as a float64 tensor, with its rank and finiteness checked.

    Args:
        value: numpy array, torch tensor, number or nested list of them.
        name: the argument's name, used in errors.
        ndim: exact number of dimensions required.
        at_least: least number of dimensions required (leading ones are batch dimensions).
        finite: refuse NaN and infinities.
        device: where the result is to be, as that of the argument that ``value`` accompanies; None: where ``value`` is.

    Returns:
        A float64 tensor, detached from autograd only if it was not a tensor.

    Raises:
        ArgumentError: complex, integer-valued tensors of activations, wrong rank, or non-finite entries.

    Example:
        >>> as_float64([[1.0, 2.0]], "features", ndim=2).shape
        torch.Size([1, 2])
    """
    import torch

    # In C order, because torch takes no negative strides.
    try:
        tensor = value if isinstance(value, torch.Tensor) else torch.as_tensor(_numeric(np.asarray(value, order="C")))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must be an array of numbers, got {type(value).__name__}: {error}") from error
    if tensor.is_complex():
        raise ArgumentError(f"{name} must be real, got dtype {tensor.dtype}; pass its real part or modulus")
    if not tensor.is_floating_point():
        if isinstance(value, (torch.Tensor, np.ndarray)) and tensor.ndim >= 2:
            hint = "convert it to float64"
            raise ArgumentError(f"{name} must be floating point, got dtype {tensor.dtype}; {hint}")
        tensor = tensor.to(torch.float64)
    if ndim is not None and tensor.ndim != ndim:
        raise ArgumentError(f"{name} must have {ndim} dimensions, got shape {tuple(tensor.shape)}")
    if at_least is not None and tensor.ndim < at_least:
        raise ArgumentError(f"{name} must have at least {at_least} dimensions, got shape {tuple(tensor.shape)}")
    tensor = tensor.to(torch.float64) if device is None else tensor.to(device, torch.float64)
    if finite:
        check_finite(tensor, name)
    return tensor


def _numeric(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biufc":
        kinds = {"U": "text", "S": "text", "O": "objects"}
        raise TypeError(f"its entries are {kinds.get(array.dtype.kind, array.dtype)}")
    return array


def check_finite(tensor: torch.Tensor, name: str) -> None:
    """Raise `ArgumentError` naming the first non-finite entry of ``tensor``."""
    import math

    import torch

    # One reduction instead of a mask: the sum is non-finite whenever an entry is (overflow aside, then the mask decides).
    if math.isfinite(tensor.sum().item()) or bool(torch.isfinite(tensor).all()):
        return
    index = tuple((~torch.isfinite(tensor)).nonzero()[0].tolist())
    raise ArgumentError(
        f"{name} must be finite, got {tensor[index].item()} at index {index}; "
        "look for a diverged training run or a missing value before measuring"
    )


def on_host(value: Any) -> Any:
    """``value`` as a numpy array where it is a torch tensor, on whatever device; anything else as it is.

    Example:
        >>> import torch
        >>> on_host(torch.ones(2)).tolist(), on_host(3.0)
        ([1.0, 1.0], 3.0)
    """
    if not hasattr(value, "detach"):
        return value
    tensor = value.detach().cpu().resolve_conj().resolve_neg()
    return (tensor if tensor.dtype.itemsize > 2 or not tensor.is_floating_point() else tensor.float()).numpy()


def as_given(result: Any, *inputs: Any) -> Any:
    """A tensor ``result`` on the device of the first torch tensor among the inputs, or as numpy when there is none.

    Example:
        >>> import torch
        >>> type(as_given(torch.ones(2), np.ones(3))).__name__, type(as_given(torch.ones(2), torch.ones(3))).__name__
        ('ndarray', 'Tensor')
    """
    import torch

    if not isinstance(result, torch.Tensor):
        return result
    first = next((i for i in inputs if isinstance(i, torch.Tensor)), None)
    if first is not None:
        return result.to(first.device)
    array = result.detach().cpu().numpy()
    return array[()] if array.ndim == 0 else array
