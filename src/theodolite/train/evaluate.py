"""Outputs of all members on many points, in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["evaluate"]

#: Elements of a block's largest tensor: about 1 MB in float64, so that no activation is a fresh memory mapping.
BLOCK = 1 << 17


@torch.no_grad()
def evaluate(model: Any, params: Sequence[Tensor], x: Tensor) -> Tensor:
    """f(x) of all members, member by member and block of points by block of points.

    Args:
        model: a stacked model with ``outputs(params, x)`` and ``elements(x)``.
        params: per parameter (E, …).
        x: (1 or E, N, …).

    Returns:
        (E, N, K).
    """
    members, samples = params[0].shape[0], x.shape[1]
    per_sample = max(1, model.elements(1))
    rows = max(1, min(samples, BLOCK // per_sample))
    together = max(1, BLOCK // (per_sample * rows))
    result: Tensor | None = None
    for low in range(0, members, together):
        some = slice(low, min(low + together, members))
        part = [p[some] for p in params]
        data = x if x.shape[0] == 1 else x[some]
        for start in range(0, samples, rows):
            f = model.outputs(part, data[:, start : start + rows])
            if result is None:
                result = f.new_empty(members, samples, *f.shape[2:])
            result[some, start : start + rows] = f
    assert result is not None
    return result
