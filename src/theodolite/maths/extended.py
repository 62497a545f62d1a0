"""Linear maps over the extended reals ℝ ∪ {−∞, ∞}, with 0 · ∞ = 0 and r + ∞ = ∞.

IEEE arithmetic has 0 · ∞ = NaN, so that a matrix product with infinite weights is NaN wherever an input vanishes. Here an infinite
weight contributes nothing when its input is exactly zero, and everything otherwise; ∞ − ∞ stays undefined and is an error.
"""

from __future__ import annotations

import torch
from torch import nn

from theodolite.core.errors import ArgumentError, NumericalError

__all__ = ["ExtendedLinear", "extended_product"]


def extended_product(
    inputs: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, size: int
) -> torch.Tensor:
    """inputs · Wᵀ over the extended reals, for a sparse W with entries ``values`` at (rows, columns).

    Args:
        inputs: (N, n), finite.
        rows: (E,), output of each entry.
        columns: (E,), input of each entry.
        values: (E,), finite or ±∞.
        size: number of outputs m.

    Returns:
        (N, m), entries finite or ±∞, never NaN.

    Raises:
        ArgumentError: NaN among the weights, or inputs that are not finite.
        NumericalError: ∞ − ∞.

    Example:
        >>> inf = float("inf")
        >>> entries = torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([-inf, 2.0])
        >>> extended_product(torch.tensor([[0.0, 3.0], [1.0, 3.0]]), *entries, size=1).tolist()
        [[6.0], [-inf]]
    """
    if bool(values.isnan().any()):
        raise ArgumentError("values must not hold NaN; over the extended reals a weight is finite or ±∞")
    if not bool(torch.isfinite(inputs).all()):
        raise ArgumentError("inputs must be finite; only weights may be infinite")
    infinite = torch.isinf(values)
    finite = ~infinite
    out = inputs.new_zeros((len(inputs), size))
    if bool(finite.any()):
        out += _product(inputs, rows[finite], columns[finite], values[finite], size)
    if bool(infinite.any()):
        # counts of terms +∞ and −∞; a vanishing input makes no term, which is 0 · ∞ = 0
        sign = torch.sign(values[infinite]).to(inputs)
        entries = rows[infinite], columns[infinite]
        positive, negative = (inputs > 0).to(inputs), (inputs < 0).to(inputs)
        up = _product(positive, *entries, (sign > 0).to(inputs), size) + _product(negative, *entries, (sign < 0).to(inputs), size)
        down = _product(positive, *entries, (sign < 0).to(inputs), size) + _product(
            negative, *entries, (sign > 0).to(inputs), size
        )
        if bool(((up > 0) & (down > 0)).any()):
            raise NumericalError("∞ − ∞ in an extended-real sum: two infinite terms of opposite sign meet in one output")
        out = torch.where(up > 0, torch.inf, torch.where(down > 0, -torch.inf, out))
    return out


def _product(inputs: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, size: int) -> torch.Tensor:
    weight = torch.sparse_coo_tensor(
        torch.stack([rows, columns]), values.to(inputs), (size, inputs.shape[1]), check_invariants=False
    )
    return (weight @ inputs.T).T


class ExtendedLinear(nn.Module):
    """x ↦ W x + b over the extended reals, with W sparse; its ``state_dict`` holds the true ±∞.

    Args:
        rows: (E,), output of each entry of W.
        columns: (E,), input of each entry.
        values: (E,), finite or ±∞.
        bias: (m,).
        in_features: number of inputs.

    Example:
        >>> layer = ExtendedLinear(torch.tensor([0]), torch.tensor([0]), torch.tensor([-float("inf")]), torch.ones(1), 2)
        >>> layer(torch.tensor([[0.0, 5.0], [0.1, 5.0]])).tolist()
        [[1.0], [-inf]]
    """

    rows: torch.Tensor
    columns: torch.Tensor
    values: torch.Tensor
    bias: torch.Tensor

    def __init__(
        self, rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, bias: torch.Tensor, in_features: int
    ) -> None:
        super().__init__()
        self.in_features = in_features
        for name, tensor in (("rows", rows), ("columns", columns), ("values", values), ("bias", bias)):
            self.register_buffer(name, tensor)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(N, in_features) → (N, m)."""
        return extended_product(inputs, self.rows, self.columns, self.values, len(self.bias)) + self.bias

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"in_features={self.in_features}, out_features={len(self.bias)}, entries={len(self.values)}"
