"""Image data sets and corruptions that the experiments share."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from theodolite.core.errors import ArgumentError, unknown
from theodolite.core.seed import generator
from theodolite.data.digits import Split, digits
from theodolite.data.mnist import mnist

__all__ = ["CLASSES", "DATA", "corrupted", "load", "one_hot"]

CLASSES = 10

#: Names of the data sets.
DATA = ("digits", "mnist")


def load(data: str, train: int, test: int, seed: int, dtype: torch.dtype = torch.float64) -> Split:
    """``train`` training and up to ``test`` test images of a data set, chosen by ``seed``.

    Raises:
        UnknownNameError: no such data set.
        StoreError: MNIST is asked for and not here (see `theodolite.data.mnist`).
    """
    if data == "mnist":
        return mnist(train, test, seed, dtype=dtype)
    if data != "digits":
        raise unknown("data set", data, DATA)
    split = digits(train, seed, dtype=dtype)
    return replace(split, x_test=split.x_test[:test], y_test=split.y_test[:test])


def corrupted(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Labels of which each is replaced, with probability ``fraction``, by a class drawn uniformly (it may be the true one).

    Equal seeds corrupt nested sets: what 10 % corrupts, 20 % corrupts too, in the same way.

    Example:
        >>> y = torch.arange(1000) % 10
        >>> int((corrupted(y, 0.5, 0) != y).sum()) in range(400, 500)
        True
    """
    if not 0.0 <= fraction <= 1.0:
        raise ArgumentError(f"the fraction of corrupted labels must lie in [0, 1], got {fraction}")
    source = generator(seed, "label noise")
    chance = torch.rand(len(labels), generator=source)
    drawn = torch.randint(0, CLASSES, (len(labels),), generator=source)
    return torch.where(chance < fraction, drawn, labels)


def one_hot(labels: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """One-hot rows, (N,) → (N, 10)."""
    return torch.nn.functional.one_hot(labels, CLASSES).to(dtype)
