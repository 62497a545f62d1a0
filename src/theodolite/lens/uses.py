"""How one use of a parameter makes the outputs depend on it, as factors of a per-sample gradient.

A *use* is one call ``z = op(x, parameter)`` in a forward pass. With G = ∂(output k)/∂z, the gradient of output k at sample n with
respect to the parameter is

- `Factored` (linear, convolution, matmul): Σ_t G[k,n,t] ⊗ A[n,t], over the positions t at which the operation was applied;
- `Lookup` (embedding): Σ_t e[token(n,t)] ⊗ G[k,n,t];
- `Broadcast` (bias, scale and shift of norms, positional embedding): the sum of G · factor over what the parameter was broadcast over.

Which rows of z belong to which sample is described by a `Layout`, measured by `theodolite.lens.kernel`, never assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch.autograd.graph import GradientEdge

__all__ = ["Broadcast", "Factored", "Layout", "Lookup", "Piece", "Use"]


@dataclass(frozen=True)
class Piece:
    """A parameter, or a block of its rows (the three projections packed in an attention's ``in_proj_weight``)."""

    parameter: str
    rows: tuple[int, int] | None = None

    def overlaps(self, other: Piece) -> bool:
        """Whether the two share entries without being the same."""
        if self.parameter != other.parameter or self == other:
            return False
        if self.rows is None or other.rows is None:
            return True
        return self.rows[0] < other.rows[1] and other.rows[0] < self.rows[1]


@dataclass(frozen=True)
class Layout:
    """Row r of z belongs to sample ``(r // inner) % samples``: rows are ordered (outer, samples, inner)."""

    outer: int
    inner: int

    def split(self, rows: torch.Tensor, samples: int, lead: int = 0) -> torch.Tensor:
        """``(*lead dims, R, ...)`` -> ``(*lead dims, samples, outer · inner, ...)``."""
        head, tail = rows.shape[:lead], rows.shape[lead + 1 :]
        if self.outer == 1:
            return rows.reshape(*head, samples, self.inner, *tail)
        parts = rows.reshape(*head, self.outer, samples, self.inner, *tail).movedim(lead + 1, lead)
        return parts.reshape(*head, samples, self.outer * self.inner, *tail)


@dataclass
class Use:
    """One use of a parameter. ``leading`` dimensions of z index samples and positions; the others belong to each row."""

    piece: Piece
    edge: GradientEdge
    shape: torch.Size
    leading: int
    scale: float = 1.0
    layout: Layout = field(default_factory=lambda: Layout(1, 1))

    @property
    def rows(self) -> int:
        """Number of rows of z."""
        return math.prod(self.shape[: self.leading])

    def rowwise(self, z: torch.Tensor, lead: int = 1) -> torch.Tensor:
        """``(*lead dims, *shape)`` -> ``(*lead dims, R, *rest)``."""
        return z.reshape(*z.shape[:lead], self.rows, *self.shape[self.leading :])


@dataclass
class Factored(Use):
    """z = A Wᵀ at every position, in ``groups`` independent blocks of channels.

    Attributes:
        inputs: ``(R, S, groups, i)``, the vectors that each of S positions inside a row multiplies.
        channels_last: whether z's rows are ``(S, o)`` (linear) or ``(o, S)`` (convolution).
        transposed: the parameter is stored as ``(i, o)``.
    """

    inputs: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    channels_last: bool = True
    transposed: bool = False

    @property
    def groups(self) -> int:
        """Number of independent blocks of channels."""
        return self.inputs.shape[2]

    def factors(self, gradient: torch.Tensor, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(G, A) with G ``(K, N, T, groups, o)`` and A ``(N, T, groups, i)``."""
        positions = self.inputs.shape[1]
        rows = self.rowwise(gradient)  # (K, R, o) or (K, R, o, *spatial)
        outputs = rows.numel() // (rows.shape[0] * rows.shape[1] * positions)
        if self.channels_last:
            rows = rows.reshape(*rows.shape[:2], positions, outputs)
        else:
            rows = rows.reshape(*rows.shape[:2], outputs, positions).transpose(-1, -2)
        left = self.layout.split(rows, samples, lead=1).flatten(2, 3)  # (K, N, T, o)
        right = self.layout.split(self.inputs, samples).flatten(1, 2)  # (N, T, groups, i)
        left = left.unflatten(-1, (self.groups, outputs // self.groups))
        return (left if self.scale == 1.0 else left * self.scale), right

    def per_sample(self, gradient: torch.Tensor, samples: int) -> torch.Tensor:
        """Gradient of each output at each sample, ``(K, N, *piece shape)`` flattened to ``(K, N, P)``."""
        left, right = self.factors(gradient, samples)
        if self.groups == 1:
            combinations, outputs = left.shape[0], left.shape[-1]
            # one product per sample for all combinations: broadcasting over them would copy the inputs
            stacked = left[:, :, :, 0].permute(1, 0, 3, 2).reshape(samples, combinations * outputs, -1)  # (N, C o, T)
            dense = torch.bmm(stacked, right[:, :, 0]).unflatten(1, (combinations, outputs)).transpose(0, 1)  # (C, N, o, i)
        else:
            dense = torch.einsum("kntgo,ntgi->kngoi", left, right).flatten(2, 3)
        return (dense.transpose(-1, -2) if self.transposed else dense).flatten(2)


@dataclass
class Lookup(Use):
    """z[r] = table[tokens[r]]; rows of ``padding`` have no gradient."""

    tokens: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    table: int = 0
    padding: int | None = None

    def factors(self, gradient: torch.Tensor, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(G, tokens) with G ``(K, N, T, d)`` and tokens ``(N, T)``."""
        rows = self.rowwise(gradient)
        if self.padding is not None:
            rows = rows * (self.tokens != self.padding).unsqueeze(-1)
        return self.layout.split(rows, samples, lead=1) * self.scale, self.layout.split(self.tokens, samples)

    def per_sample(self, gradient: torch.Tensor, samples: int) -> torch.Tensor:
        """Dense gradient ``(K, N, table · d)``; large, used only where a table is also used otherwise."""
        left, tokens = self.factors(gradient, samples)
        dense = left.new_zeros(*left.shape[:2], self.table, left.shape[-1])
        index = tokens.unsqueeze(-1).expand(left.shape)
        return dense.scatter_add_(2, index, left).flatten(2)


@dataclass
class Broadcast(Use):
    """z = x + p or z = x · p with p broadcast.

    Attributes:
        aligned: p's shape aligned with the last dimensions of z (ones where it is broadcast).
        factor: ∂z/∂p where it is not 1, broadcastable to z.
    """

    aligned: tuple[int, ...] = ()
    factor: torch.Tensor | None = None

    def per_sample(self, gradient: torch.Tensor, samples: int) -> torch.Tensor:
        """Gradient ``(K, N, P)``."""
        if self.factor is not None:
            gradient = gradient * self.factor
        summed = self.layout.split(self.rowwise(gradient), samples, lead=1).sum(2)  # (K, N, *rest)
        dims = [2 + d for d, size in enumerate(self.aligned) if size == 1]
        if dims:
            summed = summed.sum(dims)
        return (summed if self.scale == 1.0 else summed * self.scale).reshape(*summed.shape[:2], -1)
