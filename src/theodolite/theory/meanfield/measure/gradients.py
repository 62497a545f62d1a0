"""Gradients layer by layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from theodolite.core.errors import ArgumentError
from theodolite.core.quantity import quantity

__all__ = ["gradient_norms"]


@quantity(symbol="‖∂L/∂W_l‖²", reference="schoenholz2017 Eq. 14")
def gradient_norms(gradients: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Squared Frobenius norm of the loss's gradient with respect to each weight matrix, in the order of the layers.

    Mean-field theory: the ratio of consecutive ones tends to χ₁ towards the input, so that they shrink or grow like χ₁^(L−l).

    Args:
        gradients: parameter name -> gradient; entries with fewer than two dimensions (biases, norms) are left out.

    Returns:
        (layers,), float64.

    Raises:
        ArgumentError: no weight matrix among the gradients, or a non-finite gradient.

    Cost: one pass.

    Example:
        >>> gradient_norms({"0.weight": torch.ones(2, 3), "0.bias": torch.ones(2)}).tolist()
        [6.0]
    """
    norms = [g.detach().double().square().sum() for g in gradients.values() if g.ndim >= 2]
    if not norms:
        raise ArgumentError(f"gradients must hold at least one weight matrix, got {', '.join(gradients) or 'none'}")
    result = torch.stack(norms)
    if not bool(torch.isfinite(result).all()):
        raise ArgumentError("gradients must be finite; they overflow: measure them in float64 or rescale the loss")
    return result
