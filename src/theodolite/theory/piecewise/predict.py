"""How many linear regions there can be, and how many there are on average: bounds and expectations by width and depth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import comb

from theodolite.core.errors import ArgumentError
from theodolite.theory.piecewise.arguments import integer

__all__ = [
    "RegionBounds",
    "count_bounds",
    "hanin_rolnick",
    "montufar2014_lower",
    "montufar2017_upper",
    "one_dimensional_upper",
    "serra2018_upper",
    "zaslavsky",
]


@dataclass(frozen=True)
class RegionBounds:
    """Bounds on the number of linear regions of a ReLU network on ℝᵈ; None where a bound does not apply.

    Attributes:
        montufar2014_lower: least value of the maximum over all weights (needs widths ≥ d).
        montufar2017_upper: upper bound for any weights.
        serra2018_upper: a sharper upper bound for any weights.
        zaslavsky: the exact number for one hidden layer in general position.
        hanin_rolnick: expectation at random initialisation, N^d / d!, to leading order.
    """

    montufar2014_lower: int | None
    montufar2017_upper: int
    serra2018_upper: int
    zaslavsky: int | None
    hanin_rolnick: float

    @property
    def lower(self) -> int | None:
        """Montúfar 2014."""
        return self.montufar2014_lower

    @property
    def upper(self) -> int:
        """The smallest upper bound."""
        return min(self.montufar2017_upper, self.serra2018_upper)


def count_bounds(widths: Sequence[int], dim: int) -> RegionBounds:
    """All bounds at once.

    Args:
        widths: numbers of neurons of the hidden layers, first to last.
        dim: d, number of inputs.

    Example:
        >>> bounds = count_bounds([8, 8], 2)
        >>> bounds.montufar2014_lower, bounds.montufar2017_upper, bounds.serra2018_upper
        (592, 1369, 1369)
    """
    sizes = _checked(widths, dim)
    return RegionBounds(
        montufar2014_lower(sizes, dim) if min(sizes) >= dim else None,
        montufar2017_upper(sizes, dim),
        serra2018_upper(sizes, dim),
        zaslavsky(sizes[0], dim) if len(sizes) == 1 else None,
        hanin_rolnick(sum(sizes), dim),
    )


def _checked(widths: Sequence[int], dim: int) -> tuple[int, ...]:
    if not isinstance(widths, Iterable) or not (given := list(widths)):
        raise ArgumentError(f"widths must be a sequence of positive integers, one per hidden layer, got {widths!r}")
    integer(dim, "dim")
    return tuple(integer(n, "each of widths") for n in given)


def zaslavsky(n: int, dim: int) -> int:
    """Cells of n hyperplanes in general position in ℝᵈ, Σ_{j ≤ d} C(n, j): the regions of one hidden layer of n ReLUs.

    Args:
        n: number of hyperplanes.
        dim: d.

    Reference: zaslavsky1975.

    Example:
        >>> [zaslavsky(n, 2) for n in (5, 10, 20)]
        [16, 56, 211]
    """
    n, dim = integer(n, "n", least=0), integer(dim, "dim", least=0)
    return sum(comb(n, j) for j in range(dim + 1))


def montufar2014_lower(widths: Sequence[int], dim: int) -> int:
    """A number of regions that some weights reach: ∏_{l < L} ⌊n_l / d⌋^d · Σ_{j ≤ d} C(n_L, j).

    Args:
        widths: n_1, …, n_L, each at least d.
        dim: d.

    Raises:
        ArgumentError: a layer narrower than d.

    Reference: montufar2014.

    Example:
        >>> montufar2014_lower([16, 16], 2)
        8768
    """
    sizes = _checked(widths, dim)
    if min(sizes) < dim:
        raise ArgumentError(f"widths must be at least dim={dim} for this bound, got {sizes}")
    return math.prod((n // dim) ** dim for n in sizes[:-1]) * zaslavsky(sizes[-1], dim)


def montufar2017_upper(widths: Sequence[int], dim: int) -> int:
    """An upper bound for any weights: ∏_l Σ_{j ≤ d_l} C(n_l, j), d_l = min(d, n_1, …, n_{l−1}) being the rank that reaches layer l.

    A sum over j ≤ d_l with d_l > n_l ends at n_l by itself.

    Args:
        widths: n_1, …, n_L.
        dim: d.

    Reference: montufar2017.

    Example:
        >>> montufar2017_upper([32, 32], 2)
        279841
    """
    total, rank = 1, dim
    for n in _checked(widths, dim):
        total *= zaslavsky(n, rank)
        rank = min(rank, n)
    return total


def serra2018_upper(widths: Sequence[int], dim: int) -> int:
    """An upper bound that follows the rank through the layers: Σ_{(j_1, …, j_L)} ∏_l C(n_l, j_l).

    The sum is over 0 ≤ j_l ≤ min(d, n_1 − j_1, …, n_{l−1} − j_{l−1}, n_l): j_l neurons of layer l on one side leave at most
    n_l − j_l active ones, and with them the rank of all that follows.

    Args:
        widths: n_1, …, n_L.
        dim: d.

    Reference: serra2018.

    Cost: O(L d max n).

    Example:
        >>> serra2018_upper([8, 8], 2), serra2018_upper([3, 3], 2), montufar2017_upper([3, 3], 2)
        (1369, 40, 49)
    """
    sizes = _checked(widths, dim)

    @cache
    def from_layer(layer: int, rank: int) -> int:
        if layer == len(sizes):
            return 1
        n = sizes[layer]
        return sum(comb(n, j) * from_layer(layer + 1, min(rank, n - j)) for j in range(min(rank, n) + 1))

    return from_layer(0, dim)


def one_dimensional_upper(widths: Sequence[int]) -> int:
    """Pieces of a ReLU network on the line: at most ∏_l (n_l + 1).

    Reference: montufar2017.

    Example:
        >>> one_dimensional_upper([2, 2, 2])
        27
    """
    return math.prod(n + 1 for n in _checked(widths, 1))


def hanin_rolnick(neurons: int, dim: int) -> float:
    """Expected number of regions of a random ReLU network on a large cube of ℝᵈ, N^d / d! to leading order, whatever the depth.

    Holds at random initialisation with biases of the order of the pre-activations, for N ≫ d and a cube that holds most of the
    network's kinks; on small cubes the number is smaller by a constant factor.

    Args:
        neurons: N, all hidden neurons together.
        dim: d.

    Reference: hanin2019activation.

    Example:
        >>> hanin_rolnick(32, 2)
        512.0
    """
    neurons, dim = integer(neurons, "neurons"), integer(dim, "dim")
    return float(neurons) ** dim / math.factorial(dim)
