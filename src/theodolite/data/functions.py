"""Target functions of the papers."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["TARGETS", "three_cosines", "three_sines", "two_kinks"]


def three_cosines(x: torch.Tensor) -> torch.Tensor:
    """cos x + cos 2x + cos 10x of each row's first entry: a function with a slow and a fast part.

    Example:
        >>> three_cosines(torch.zeros(1, 1)).item()
        3.0
    """
    t = x[..., 0]
    return t.cos() + (2 * t).cos() + (10 * t).cos()


def three_sines(x: torch.Tensor) -> torch.Tensor:
    """sin πx + ½ sin 4πx + ¼ sin 8πx of each row's first entry."""
    t = torch.pi * x[..., 0]
    return t.sin() + (4 * t).sin() / 2 + (8 * t).sin() / 4


def two_kinks(x: torch.Tensor) -> torch.Tensor:
    """0.2 relu(x − 1/3) + 0.2 relu(−x − 1/3) of each row's first entry: the target of the condensation notebook."""
    t = x[..., 0]
    return 0.2 * torch.relu(t - 1 / 3) + 0.2 * torch.relu(-t - 1 / 3)


#: Name -> function (N, d) -> (N,).
TARGETS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "three_cosines": three_cosines,
    "three_sines": three_sines,
    "two_kinks": two_kinks,
}
