"""Contributions of groups of parameters to a tangent kernel, each in the form in which its Gram matrix is cheapest.

Every term holds data of n samples and adds its block ``(C, n, C, n′)`` of Σ_p ∂_p f_c(x) ∂_p f_c′(x′) to an accumulator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import torch

__all__ = ["Dense", "Outer", "Term", "Token"]


class Term(Protocol):
    """A group of parameters on n samples."""

    @property
    def positions(self) -> int:
        """Positions per sample that a block holds at once."""
        ...

    def folded(self) -> Self:
        """The term whose kernel is summed over the C combinations of outputs."""
        ...

    def part(self, a: int, b: int) -> Self:
        """The samples a..b-1."""
        ...

    def add_block(self, other: Self, block: torch.Tensor) -> None:
        """Add the kernel between these samples and ``other``'s to ``block`` ``(C, n, C, n′)``."""
        ...


def _fold(left: torch.Tensor) -> torch.Tensor:
    """``(C, N, ..., o)`` -> ``(1, N, ..., C · o)``: inner products then sum over the combinations."""
    return left.movedim(0, -2).flatten(-2).unsqueeze(0)


def _gram(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """All inner products of the last dimension: ``(*a dims, *b dims)``."""
    product = a.reshape(-1, a.shape[-1]) @ b.reshape(-1, b.shape[-1]).T
    return product.view(*a.shape[:-1], *b.shape[:-1])


@dataclass
class Outer:
    """Gradients Σ_t left[c,n,t] ⊗ right[n,t], with kernel Σ_{t,s} (right·right′ + constant)(left·left′).

    Attributes:
        left: ``(C, N, T, o)``.
        right: ``(N, T, i)``.
        constant: contribution of a bias merged into this weight (T = 1).
    """

    left: torch.Tensor
    right: torch.Tensor
    constant: float = 0.0
    identity: bool = False

    def __post_init__(self) -> None:
        combinations, _, positions, outputs = self.left.shape
        if positions == 1 and combinations == outputs > 1 and not self.identity:
            eye = torch.eye(outputs, dtype=self.left.dtype, device=self.left.device)
            self.identity = bool((self.left[:, :, 0] == eye.unsqueeze(1)).all())

    @property
    def positions(self) -> int:
        """Positions T per sample."""
        return self.left.shape[2]

    def folded(self) -> Outer:
        """Summed over the combinations."""
        return Outer(_fold(self.left), self.right, self.constant)

    def part(self, a: int, b: int) -> Outer:
        """The samples a..b-1."""
        part = Outer.__new__(Outer)
        part.left, part.right = self.left[:, a:b], self.right[a:b]
        part.constant, part.identity = self.constant, self.identity
        return part

    def add_block(self, other: Outer, block: torch.Tensor) -> None:
        """(A A′ᵀ + constant) ∘ (G G′ᵀ), summed over pairs of positions."""
        inputs = _gram(self.right, other.right)  # (n, T, n′, T′)
        if self.constant:
            inputs += self.constant
        if self.identity and other.identity:  # G is the identity: only c = c′ remains
            for c in range(block.shape[0]):
                block[c, :, c] += inputs[:, 0, :, 0]
            return
        outputs = _gram(self.left, other.left)  # (C, n, T, C, n′, T′)
        if self.positions == other.positions == 1:
            block.addcmul_(outputs[:, :, 0, :, :, 0], inputs[:, 0, :, 0].unsqueeze(1).unsqueeze(0))
        else:
            block += outputs.mul_(inputs.unsqueeze(2).unsqueeze(0)).sum((2, 5))


@dataclass
class Token:
    """Gradients Σ_t e[token(n,t)] ⊗ left[c,n,t], with kernel Σ_{t,s} [token = token′](left·left′)."""

    left: torch.Tensor
    tokens: torch.Tensor

    @property
    def positions(self) -> int:
        """Positions T per sample."""
        return self.left.shape[2]

    def folded(self) -> Token:
        """Summed over the combinations."""
        return Token(_fold(self.left), self.tokens)

    def part(self, a: int, b: int) -> Token:
        """The samples a..b-1."""
        return Token(self.left[:, a:b], self.tokens[a:b])

    def add_block(self, other: Token, block: torch.Tensor) -> None:
        """(token = token′) ∘ (G G′ᵀ), summed over pairs of positions."""
        same = self.tokens[:, :, None, None] == other.tokens  # (n, T, n′, T′)
        block += _gram(self.left, other.left).mul_(same.unsqueeze(2).unsqueeze(0)).sum((2, 5))


@dataclass
class Dense:
    """Per-sample gradients ``(C, N, P)``."""

    gradients: torch.Tensor

    @property
    def positions(self) -> int:
        """One row per sample and combination."""
        return 1

    def folded(self) -> Dense:
        """Summed over the combinations."""
        return Dense(_fold(self.gradients))

    def part(self, a: int, b: int) -> Dense:
        """The samples a..b-1."""
        return Dense(self.gradients[:, a:b])

    def add_block(self, other: Dense, block: torch.Tensor) -> None:
        """J J′ᵀ."""
        block += _gram(self.gradients, other.gradients)
