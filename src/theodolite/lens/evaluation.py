"""Derivatives whatever the caller's mode: gradients on, inference mode off, and no inference tensor among what autograd records."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from theodolite.core.errors import TheodoliteError, UnsupportedError

__all__ = ["evaluation", "recordable"]


@contextlib.contextmanager
def evaluation() -> Iterator[None]:
    """Gradients on whatever the caller's mode, and the global random state restored afterwards; a ``with`` or a decorator.

    Everything that prepares a derivative belongs inside, casts and copies too: what is made in inference mode has no gradient.
    Attention runs by its formula: the fused kernels have no second derivative.

    Raises:
        UnsupportedError: an operation in place that autograd cannot follow, in the forward or in the backward pass.

    Example:
        >>> with torch.inference_mode(), evaluation():
        ...     torch.ones(1, requires_grad=True).exp().requires_grad
        True
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.random.fork_rng(devices=[]),
        sdpa_kernel(SDPBackend.MATH),
    ):
        try:
            yield
        except RuntimeError as error:
            text = str(error)
            if not isinstance(error, TheodoliteError) and ("in-place" in text or "inplace" in text):
                raise UnsupportedError(f"the model uses an in-place operation that autograd cannot follow: {text}") from error
            raise


def recordable(tensor: torch.Tensor) -> torch.Tensor:
    """``tensor`` itself, or a copy where it was made in inference mode: autograd cannot save such a tensor.

    Example:
        >>> with torch.inference_mode():
        ...     x = torch.ones(2)
        >>> x.is_inference(), recordable(x).is_inference()
        (True, False)
    """
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.detach().clone()
