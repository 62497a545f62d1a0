"""A call of a module with other tensors in the place of its parameters and buffers, after which the module is as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

__all__ = ["call_with", "tensors_of"]


def call_with(
    model: nn.Module, values: Mapping[str, torch.Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None
) -> Any:
    """``model(*args, **kwargs)`` with ``values`` in the place of the parameters and buffers that they name.

    Args:
        model: any module; it holds its own tensors again afterwards, also when the call raises.
        values: tensors by the names of ``model.named_parameters()`` and ``named_buffers()``; a tied tensor is replaced in every
            place where it stands. Tensors that are not named stay.
        args: positional arguments.
        kwargs: keyword arguments.

    Returns:
        What the model returns.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> call_with(nn.Sequential(layer, layer), {"0.weight": torch.full((1, 1), 3.0)}, (torch.ones(1, 1),))
        tensor([[9.]])
        >>> type(layer.weight).__name__
        'Parameter'
    """
    first = {id(tensor): name for name, tensor in tensors_of(model).items()}
    # torch swaps once per name: it would exchange the tensors of a module with two names twice, and put the replacement back.
    wanted = {place: (tensor, values.get(first[id(tensor)], tensor)) for place, tensor in _places(model)}
    swapped = {place: value for place, (tensor, value) in wanted.items() if value is not tensor}
    if not swapped:
        return model(*args, **(kwargs or {}))
    return functional_call(model, swapped, args, dict(kwargs or {}), tie_weights=False)


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name, each once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _places(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of each place in a module, an attribute, that holds a tensor: one name of it, however many it has."""
    for prefix, module in model.named_modules():  # each module once
        for own in (module.named_parameters, module.named_buffers):
            for key, tensor in own(recurse=False, remove_duplicate=False):
                yield (f"{prefix}.{key}" if prefix else key), tensor
