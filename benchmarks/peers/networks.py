"""Torch networks from plain arrays, in the peer's own interpreter."""

from __future__ import annotations

from typing import Any


def sequential(layers: list[tuple[Any, Any]], activation: str = "ReLU") -> Any:
    """Linear layers with (weight, bias) and an activation between them."""
    import torch
    from torch import nn

    modules: list[Any] = []
    for weight, bias in layers:
        linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear, getattr(nn, activation)()]
    return nn.Sequential(*modules[:-1])


def process() -> Any:
    """The process it runs in."""
    import os

    return os.getpid
