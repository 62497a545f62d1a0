"""Probe data on the device where a framework has put the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["placed"]


def placed(data: Any, model: nn.Module) -> Any:
    """``data`` with its tensors on the device of the model's parameters; other things, such as loaders and arrays, as they are.

    Example:
        >>> placed({"x": torch.zeros(2)}, nn.Linear(2, 1))["x"].device.type
        'cpu'
    """
    parameter = next(model.parameters(), None)
    if parameter is None:
        return data
    if isinstance(data, torch.Tensor):
        return data.to(parameter.device)
    if isinstance(data, Mapping):
        return {key: placed(value, model) for key, value in data.items()}
    if type(data) in (list, tuple):
        return type(data)(placed(value, model) for value in data)
    return data
