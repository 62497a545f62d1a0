"""Random features with a partition of unity: u(x) = Σ_i ψ_i(x) Σ_j u_ij σ(k_ij · (x − c_i)/r_i + b_ij)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Literal

import torch

from theodolite.core.arrays import as_given
from theodolite.core.errors import ArgumentError
from theodolite.core.registry import quantity_named
from theodolite.maths.quadrature import gauss_legendre
from theodolite.nets.activations import activation as activation_named
from theodolite.nets.activations import activation_name
from theodolite.nets.init import as_domain, uniform_density_weights
from theodolite.theory.pde.elementwise import derivative
from theodolite.theory.pde.partition import OVERLAP, bump
from theodolite.theory.pde.points import as_points

__all__ = ["RandomFeatures"]


class RandomFeatures:
    """Random features of the random feature method: fixed random neurons on each cell of a partition of a box.

    The box is cut into equal cells with centres c_i and half-widths r_i. On cell i live J neurons
    φ_ij(x) = σ(k_ij · (x − c_i)/r_i + b_ij), times the cell's function ψ_i of a partition of unity. With one cell this is an extreme
    learning machine. Only the outer coefficients are ever solved for.

    Args:
        domain: one pair (low, high) per axis.
        subdomains: cells m: a number per axis, or one number that is used for **every** axis (m^d cells).
        count: neurons J per cell.
        activation: name or elementwise function σ.
        R: with ``weights="uniform"`` all k and b are drawn from U(−R, R); with ``"uniform_density"`` it is the slope γ of
            σ(γ(a · z + r)). Either way it sets the bandwidth of the features on a cell, which decides more than σ does.
        partition: ``"indicator"`` (disjoint cells; solvers add continuity conditions) or ``"smooth"`` (overlapping, C³).
        weights: ``"uniform"``, or ``"uniform_density"``: a uniform on the sphere, r uniform on [0, √d], the ball around the cell.
        generator: source of randomness; None draws from torch's default generator, as `torch.nn.init` does.

    Raises:
        ArgumentError: a bad domain, count, number of cells, R or option.
        UnknownNameError: an unknown activation.

    Reference:
        chen2022rfm; yang2024 §4.2.

    Example:
        >>> features = RandomFeatures([(0, 8)], subdomains=9, count=100, generator=torch.Generator().manual_seed(0))
        >>> x = torch.linspace(0, 8, 50, dtype=torch.float64)
        >>> features(x).shape, features.derivative(x, 2).shape
        (torch.Size([50, 900]), torch.Size([50, 900]))
    """

    def __init__(
        self,
        domain: Any,
        *,
        subdomains: int | Sequence[int],
        count: int,
        activation: str | Callable[[torch.Tensor], torch.Tensor] = "tanh",
        R: float = 1.0,
        partition: Literal["indicator", "smooth"] = "indicator",
        weights: Literal["uniform", "uniform_density"] = "uniform",
        generator: torch.Generator | None = None,
    ) -> None:
        self.box = as_domain(domain)
        self.dim = int(self.box.shape[0])
        self.cells = tuple(subdomains) if isinstance(subdomains, Sequence) else (subdomains,) * self.dim
        _check(self.cells, self.dim, count, R, partition)
        activation_named(activation)
        self.count, self.activation, self.R, self.partition = int(count), activation, float(R), partition
        self.edges = [
            torch.linspace(low, high, n + 1, dtype=torch.float64)
            for (low, high), n in zip(self.box.tolist(), self.cells, strict=True)
        ]
        middles = [(e[1:] + e[:-1]) / 2 for e in self.edges]
        self.centers = torch.cartesian_prod(*middles).reshape(-1, self.dim)  # (m, d), the last axis runs fastest
        self.radii = torch.stack([(e[1] - e[0]) / 2 for e in self.edges])  # (d,)
        if generator is not None and not isinstance(generator, torch.Generator):
            raise ArgumentError(
                f"generator must be a torch.Generator, got {generator!r}; for a seed pass torch.Generator().manual_seed(seed)"
            )
        self.slopes, self.shifts = self._draw(weights, generator)  # (m, J, d), (m, J)

    def _draw(self, weights: str, generator: torch.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
        m, count, d = len(self.centers), self.count, self.dim
        if weights == "uniform":
            device = "cpu" if generator is None else generator.device
            unit = torch.rand(m, count, d + 1, dtype=torch.float64, generator=generator, device=device).cpu()
            drawn = self.R * (2.0 * unit - 1.0)
            return drawn[..., :d].contiguous(), drawn[..., d].contiguous()
        if weights == "uniform_density":
            cell = [(-1.0, 1.0)] * d
            pairs = [uniform_density_weights(count, cell, self.R, generator) for _ in range(m)]
            return torch.stack([k for k, _ in pairs]), torch.stack([b for _, b in pairs])
        raise ArgumentError(f"weights must be 'uniform' or 'uniform_density', got {weights!r}")

    @property
    def size(self) -> int:
        """Number of features m J."""
        return len(self.centers) * self.count

    def __call__(self, x: Any) -> Any:
        """Features at ``x``: (N, d), or (N,) on an interval → (N, mJ), cell by cell; numpy in, numpy out."""
        return self.derivative(x, (0,) * self.dim)

    def derivative(self, x: Any, order: int | Sequence[int] = 1) -> Any:
        """Partial derivatives of all features by closed formulas, (N, mJ).

        Args:
            x: (N, d), or (N,) on an interval.
            order: derivatives per axis, such as (2, 0) for ∂²/∂x₁²; one number on an interval.

        Returns:
            (N, mJ). On the edge between two indicator cells the right one counts.
        """
        points = as_points(x, self.box, "x").cpu()
        orders = self._orders(order)
        result = torch.zeros(len(points), len(self.centers), self.count, dtype=torch.float64)
        if self.partition == "indicator":
            index = self.locate(points)
            for i in index.unique().tolist():
                rows = (index == i).nonzero()[:, 0]
                result[rows, i] = self.local(points[rows], i, orders)
        else:
            z = (points[:, None, :] - self.centers) / self.radii  # (N, m, d)
            near = (z.abs() <= 1.0 + OVERLAP).all(2)
            for i in range(len(self.centers)):
                rows = near[:, i].nonzero()[:, 0]
                result[rows, i] = self._smooth_local(points[rows], i, orders)
        flat = result.reshape(len(points), -1)
        return as_given(flat, x)

    def _orders(self, order: int | Sequence[int]) -> tuple[int, ...]:
        orders = (order,) if isinstance(order, int) else tuple(order)
        if len(orders) != self.dim or min(orders) < 0:
            raise ArgumentError(f"order must give one number ≥ 0 per axis ({self.dim}), got {order!r}")
        return orders

    def local(self, points: torch.Tensor, cell: int, orders: tuple[int, ...]) -> torch.Tensor:
        """Derivatives of the neurons of one cell, without ψ: (N, J). One-sided where ``points`` are on the cell's edge."""
        z = (points - self.centers[cell]) / self.radii @ self.slopes[cell].T + self.shifts[cell]  # (N, J)
        # ∂^α σ(k·(x − c)/r + b) = σ^(|α|) Π_a (k_a / r_a)^α_a
        factor = torch.ones(self.count, dtype=torch.float64)
        for axis, n in enumerate(orders):
            factor = factor * (self.slopes[cell, :, axis] / self.radii[axis]) ** n
        return derivative(self.activation, z, sum(orders)) * factor

    def _smooth_local(self, points: torch.Tensor, cell: int, orders: tuple[int, ...]) -> torch.Tensor:
        """Derivatives of ψ_i φ_ij by Leibniz' rule over all axes: (N, J)."""
        z = (points - self.centers[cell]) / self.radii
        first, last = self._ends(torch.tensor(cell))
        total = torch.zeros(len(points), self.count, dtype=torch.float64)
        for split in itertools.product(*(range(n + 1) for n in orders)):
            weight = torch.ones(len(points), dtype=torch.float64)
            for axis, (n, taken) in enumerate(zip(orders, split, strict=True)):
                psi = bump(z[:, axis], first[axis], last[axis], taken) / self.radii[axis] ** taken
                weight = weight * math.comb(n, taken) * psi
            rest = tuple(n - taken for n, taken in zip(orders, split, strict=True))
            total += weight[:, None] * self.local(points, cell, rest)
        return total

    def _ends(self, cell: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether cells are the first and the last of each axis: two boolean tensors (…, d)."""
        place = self.place(cell)
        return place == 0, place == torch.tensor(self.cells) - 1

    def place(self, cell: torch.Tensor) -> torch.Tensor:
        """Position (…, d) of cells in the grid of cells."""
        return torch.stack(torch.unravel_index(cell, self.cells), dim=-1)

    def locate(self, points: torch.Tensor) -> torch.Tensor:
        """Index (N,) of the cell that each point (N, d) belongs to; an inner edge belongs to the cell on its right."""
        index = torch.zeros(len(points), dtype=torch.long)
        for axis, edges in enumerate(self.edges):
            place = torch.searchsorted(edges, points[:, axis].contiguous(), right=True) - 1
            index = index * self.cells[axis] + place.clamp(0, self.cells[axis] - 1)
        return index

    def at(self, x: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        """Features at one point for `torch.func`: (J,) of cell ``cell`` for the indicator partition, (m J,) for the smooth one."""
        if self.partition == "indicator":
            # index_select, because indexing by a batched number calls .item() under vmap
            slopes, shifts, center = (a.index_select(0, cell.reshape(1))[0] for a in (self.slopes, self.shifts, self.centers))
            z = slopes @ ((x - center) / self.radii) + shifts
            return activation_named(self.activation)(z)
        local = (x - self.centers) / self.radii  # (m, d)
        first, last = self._ends(torch.arange(len(self.centers)))
        psi = bump(local, first, last).prod(-1)  # (m,)
        z = torch.einsum("mjd,md->mj", self.slopes, local) + self.shifts
        return (psi[:, None] * activation_named(self.activation)(z)).reshape(-1)

    def quadrature(self, nodes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Gauss–Legendre rule for dx with ``nodes`` per axis and cell, split where ψ is not smooth: points (N, d), weights (N,)."""
        axes = []
        for axis, edges in enumerate(self.edges):
            breaks = edges
            if self.partition == "smooth" and self.cells[axis] > 1:
                ramp = OVERLAP * self.radii[axis]
                breaks = torch.cat([edges, edges[1:-1] - ramp, edges[1:-1] + ramp]).sort().values
            rules = [gauss_legendre(low, high, nodes) for low, high in itertools.pairwise(breaks.tolist())]
            axes.append((torch.cat([p[:, 0] for p, _ in rules]), torch.cat([w for _, w in rules])))
        points = torch.cartesian_prod(*(p for p, _ in axes)).reshape(-1, self.dim)
        weights = torch.cartesian_prod(*(w for _, w in axes)).reshape(-1, self.dim).prod(1)
        return points, weights

    def epsilon_rank(self, eps: float = 1e-3, **options: Any) -> int:
        """ε-rank of the features: eigenvalues of ∫ φ φᵀ dx (Lebesgue measure of the domain) above ε, by ``rank.epsilon_rank``.

        The mass matrix of an indicator partition is block-diagonal, so that its eigenvalues are those of the cells.

        Cost: O(N (mJ)²) with N ≈ 2 mJ Gauss–Legendre nodes; m² times less for an indicator partition.
        """
        rank = quantity_named("rank.epsilon_rank").function
        blocks = self.partition == "indicator" and options.get("mode", "absolute") == "absolute"
        return int(rank(*self._sampled(blocks), eps=eps, **options).sum())

    def spectrum(self) -> torch.Tensor:
        """All eigenvalues of ∫ φ φᵀ dx, descending, (mJ,), by ``rank.spectrum``: the ε-rank is the number above ε, for every ε.

        Cost: one singular value decomposition of the features at N ≈ 2 mJ nodes; m² times less for an indicator partition.
        """
        found = quantity_named("rank.spectrum").function(*self._sampled(self.partition == "indicator"))
        return torch.as_tensor(found).flatten().sort(descending=True).values

    def _sampled(self, blocks: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Features at Gauss–Legendre nodes and their weights; (m, N, J) cell by cell if ``blocks``, else (N, mJ)."""
        nodes = max(8, math.ceil((2 * self.count) ** (1 / self.dim)))
        if not blocks:
            points, weights = self.quadrature(nodes)
            return self(points), weights
        local, weights = gauss_legendre(-1.0, 1.0, nodes, self.dim)
        cells = [self.local(center + local * self.radii, i, (0,) * self.dim) for i, center in enumerate(self.centers)]
        return torch.stack(cells), weights * self.radii.prod()

    def __repr__(self) -> str:
        cells, name = " × ".join(map(str, self.cells)), activation_name(self.activation)
        return f"RandomFeatures({cells} cells × {self.count} {name} neurons, R = {self.R:g}, {self.partition})"


def _check(cells: Sequence[int], dim: int, count: int, R: float, partition: str) -> None:
    if len(cells) != dim or any(not isinstance(n, Integral) or n < 1 for n in cells):
        raise ArgumentError(f"subdomains must be a positive integer, or one per axis ({dim}), got {tuple(cells)}")
    if not isinstance(count, Integral) or count < 1:
        raise ArgumentError(f"count must be a positive integer (neurons per subdomain), got {count!r}")
    if not (isinstance(R, Real) and R > 0 and math.isfinite(R)):
        raise ArgumentError(f"R must be a positive and finite number, got {R!r}")
    if partition not in ("indicator", "smooth"):
        raise ArgumentError(f"partition must be 'indicator' or 'smooth', got {partition!r}")
