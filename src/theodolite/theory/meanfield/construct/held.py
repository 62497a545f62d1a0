"""Weights that an initialisation may not set: tied to another module, or computed from other parameters."""

from __future__ import annotations

from torch import nn

from theodolite.core.errors import ArgumentError

__all__ = ["AFFINE", "held_weights"]

AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def held_weights(model: nn.Module) -> dict[str, str]:
    """Affine modules whose weight is not theirs to set, and why: name -> reason.

    Raises:
        ArgumentError: a lazy module without shapes.

    Example:
        >>> tied = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5))
        >>> tied[1].weight = tied[0].weight
        >>> held_weights(tied)
        {'1': 'its weight is that of 0'}
    """
    owners: dict[int, list[tuple[str, nn.Module]]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            if isinstance(parameter, nn.UninitializedParameter):
                raise ArgumentError(f"{name or 'model'} is lazy and has no shape yet; run the model once on inputs first")
            owners.setdefault(id(parameter), []).append((name, module))
    held = {}
    for name, module in model.named_modules():
        if isinstance(module, AFFINE):
            weight = module._parameters.get("weight")
            if weight is None:
                held[name] = "its weight is computed from other parameters by a parametrization"
                continue
            sharing = owners[id(weight)]
            other = next((n for n, m in sharing if not isinstance(m, AFFINE)), sharing[0][0])
            if other != name:
                held[name] = f"its weight is that of {other or 'the model itself'}"
    return held
