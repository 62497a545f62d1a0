"""Full-batch training of small networks for pictures of their regions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

__all__ = ["fit", "two_spirals"]


def fit(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    steps: int,
    learning_rate: float,
    look: Callable[[int, float], None] | None = None,
) -> float:
    """Adam on the full batch, in place; ``look(step, loss)`` is called before every step and after the last. Returns the last loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    for step in range(steps + 1):
        value = loss(model(x), y)
        if look is not None:
            look(step, value.item())
        if step < steps:
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return value.item()


def two_spirals(count: int, source: torch.Generator, noise: float = 0.02) -> tuple[torch.Tensor, torch.Tensor]:
    """Points on two interleaved spirals in [−1, 1]², labels ±1: x (count, 2), y (count, 1)."""
    half = count // 2
    t = torch.rand(half, dtype=torch.float64, generator=source).sqrt() * 2.2 * torch.pi + 0.35
    arm = torch.stack([t * t.cos(), t * t.sin()], dim=1) / 8.0
    x = torch.cat([arm, -arm]) + noise * torch.randn(2 * half, 2, dtype=torch.float64, generator=source)
    y = torch.cat([torch.ones(half, 1), -torch.ones(half, 1)]).double()
    return x, y
