"""Mass matrices of data that does not fit in memory, or lives on several machines: sums that merge."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from theodolite.core.arrays import as_float64
from theodolite.core.errors import ArgumentError
from theodolite.maths.spectrum import gram_spectrum

__all__ = ["GramAccumulator"]


class GramAccumulator:
    """The mass matrix Φᵀ diag(w) Φ of features that arrive in pieces, in float64, in O(n²) memory.

    Pieces may come in any split and order, and accumulators of disjoint data add up with `merge`; the result is that of all data at
    once, to rounding. With no weights at all, `matrix` divides by the number of samples (the empirical measure); with quadrature
    weights it does not.

    Args:
        block: rows that are cast to float64 at a time, so that float32 pieces need no second copy.

    Example:
        >>> import numpy as np
        >>> phi = np.random.default_rng(0).normal(size=(1000, 5))
        >>> halves = GramAccumulator().update(phi[:400]).merge(GramAccumulator().update(phi[400:]))
        >>> bool(np.allclose(halves.matrix, phi.T @ phi / 1000, rtol=0, atol=1e-14))
        True
    """

    def __init__(self, block: int = 8192) -> None:
        if block < 1:
            raise ArgumentError(f"block must be at least 1, got {block}")
        self.block = block
        self.count = 0
        self._sum: torch.Tensor | None = None
        self._first: torch.Tensor | None = None  # Σ w φ, for centring
        self._mass = 0.0
        self._weighted: bool | None = None
        self._dtype = torch.float64
        self._numpy = True  # until a torch tensor comes: numpy in, numpy out

    def update(self, features: Any, weights: Any = None) -> GramAccumulator:
        """Add samples.

        Args:
            features: (N, n), finite.
            weights: (N,) quadrature weights, not negative; None counts each sample once.

        Returns:
            The accumulator itself.

        Raises:
            ArgumentError: bad input, another width than before, or weights given only sometimes. Nothing is added then.
        """
        tensor = features if isinstance(features, torch.Tensor) else torch.as_tensor(np.ascontiguousarray(features))
        if tensor.ndim != 2 or tensor.shape[1] == 0:
            raise ArgumentError(f"features must have shape (N, n) with n ≥ 1, got {tuple(tensor.shape)}")
        if self._sum is not None and self._sum.shape[0] != tensor.shape[1]:
            raise ArgumentError(f"features must have {self._sum.shape[0]} columns as before, got {tensor.shape[1]}")
        if self._weighted not in (None, weights is not None):
            raise ArgumentError("weights must be given with every update or with none")
        w = None if weights is None else as_float64(weights, "weights", ndim=1, device=tensor.device)
        if w is not None and (len(w) != len(tensor) or bool((w < 0).any())):
            raise ArgumentError(f"weights must hold {len(tensor)} values that are not negative, got shape {tuple(w.shape)}")
        total = torch.zeros(tensor.shape[1], tensor.shape[1], dtype=torch.float64, device=tensor.device)
        first = torch.zeros(tensor.shape[1], dtype=torch.float64, device=tensor.device)
        for start in range(0, len(tensor), self.block):
            piece = as_float64(tensor[start : start + self.block], "features")
            scaled = piece if w is None else piece * w[start : start + self.block, None]
            total += piece.mT @ scaled
            first += scaled.sum(0)
        self._add(total, first, float(len(tensor) if w is None else w.sum()), len(tensor), w is not None)
        if tensor.dtype != torch.float64:
            self._dtype = tensor.dtype
        self._numpy &= not isinstance(features, torch.Tensor)
        return self

    def merge(self, other: GramAccumulator) -> GramAccumulator:
        """Add all that ``other`` has seen; ``other`` is left as it is."""
        if other._sum is None or other._first is None or other._weighted is None:
            return self
        if self._weighted not in (None, other._weighted):
            raise ArgumentError("an accumulator with weights and one without cannot be merged")
        if self._sum is not None and self._sum.shape != other._sum.shape:
            raise ArgumentError(f"accumulators must have equal widths, got {self._sum.shape[0]} and {other._sum.shape[0]}")
        self._add(other._sum, other._first, other._mass, other.count, other._weighted)
        if other._dtype != torch.float64:
            self._dtype = other._dtype
        self._numpy &= other._numpy
        return self

    def _add(self, total: torch.Tensor, first: torch.Tensor, mass: float, count: int, is_weighted: bool) -> None:
        self._sum = total.clone() if self._sum is None else self._sum + total.to(self._sum.device)
        self._first = first.clone() if self._first is None else self._first + first.to(self._first.device)
        self._mass += mass
        self.count += count
        self._weighted = is_weighted

    def _moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self._sum is None or self._first is None:
            raise ArgumentError("the accumulator is empty; call update with features first")
        if self.count == 0:
            raise ArgumentError("the accumulator has seen no sample; call update with features first")
        scale = 1.0 if self._weighted else 1.0 / self.count
        return (self._sum + self._sum.mT) * (scale / 2), self._first * scale

    def _given(self, result: torch.Tensor) -> Any:
        return result.numpy() if self._numpy else result

    @property
    def matrix(self) -> Any:
        """The mass matrix (n, n), float64, symmetric; numpy when all features were."""
        return self._given(self._moments()[0])

    @property
    def centered_matrix(self) -> Any:
        """The mass matrix of Φ − mean(Φ)."""
        matrix, first = self._moments()
        mass = self._mass if self._weighted else 1.0
        return self._given(matrix - torch.outer(first, first) / mass)

    def spectrum(self) -> Any:
        """Eigenvalues of `matrix`, descending, resolved down to about n u λ_1."""
        return self._given(gram_spectrum(self._moments()[0]).eigenvalues)

    def epsilon_rank(self, eps: float = 1e-3) -> int:
        """Number of eigenvalues of `matrix` strictly greater than ``eps``.

        Raises:
            ArgumentError: ``eps`` is not positive or lies below the noise floor of a Gram matrix; keep the features and use
                `epsilon_rank` on them then.
        """
        found = gram_spectrum(self._moments()[0], self._dtype)
        if not eps > float(found.resolution()):
            raise ArgumentError(
                f"eps must exceed the resolution {float(found.resolution()):.1e} of this Gram matrix, got {eps:g}; "
                "use rank.epsilon_rank on the features themselves"
            )
        return int((found.eigenvalues > eps).sum())
