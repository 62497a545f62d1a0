"""The handwritten digits of scikit-learn: 1797 images of 8 × 8, no download."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from theodolite.core.errors import ArgumentError
from theodolite.core.seed import generator

__all__ = ["Split", "digits"]


@dataclass(frozen=True)
class Split:
    """A data set in two parts: inputs ``x`` and labels ``y`` to train on, ``x_test`` and ``y_test`` to judge by."""

    x: torch.Tensor
    y: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor


@functools.cache
def _raw() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.data / 16.0, bunch.target.astype(np.int64)


def digits(train: int = 1437, seed: int = 0, *, images: bool = False, dtype: torch.dtype = torch.float32) -> Split:
    """The digits with pixels in [0, 1], shuffled by ``seed`` and split.

    Args:
        train: number of training images, 1 … 1796.
        seed: seed of the shuffle.
        images: shape (N, 1, 8, 8) instead of (N, 64).
        dtype: of the pixels.

    Example:
        >>> split = digits(1000)
        >>> split.x.shape, split.y_test.shape
        (torch.Size([1000, 64]), torch.Size([797]))
    """
    x, y = _raw()
    if not 1 <= train < len(x):
        raise ArgumentError(f"train must lie in 1..{len(x) - 1}, got {train}")
    order = torch.randperm(len(x), generator=generator(seed, "digits"))
    pixels, labels = torch.from_numpy(x)[order].to(dtype), torch.from_numpy(y)[order]
    if images:
        pixels = pixels.view(-1, 1, 8, 8)
    return Split(pixels[:train], labels[:train], pixels[train:], labels[train:])
