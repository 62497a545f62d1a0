"""Extreme eigenpairs, spectral densities and traces of a symmetric operator known only by its products with vectors.

Every Lanczos vector is orthogonalised against all earlier ones, twice, so that no spurious copies of eigenvalues appear; every
returned pair carries its true residual ‖A v − λ v‖, which bounds the distance of λ to the nearest eigenvalue. A pair that did not
reach the tolerance is returned as not converged, never as a fact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from theodolite.core.errors import ArgumentError, NumericalError

__all__ = ["Eigenpairs", "Operator", "SpectralQuadrature", "TraceEstimate", "lanczos", "slq", "trace_estimate"]

#: ``v -> A v`` for a symmetric A.
Operator: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
Which: TypeAlias = Literal["largest", "smallest", "both"]


@dataclass(frozen=True)
class Eigenpairs:
    """Extreme eigenpairs of a symmetric operator.

    Attributes:
        values: ``(k,)``, ascending (for ``which="both"``: the k smallest, then the k largest).
        vectors: ``(n, k)``, orthonormal columns, on the operator's device; all else is on the host.
        residuals: ``(k,)``, ‖A v − λ v‖; an eigenvalue lies within this distance of each value.
        converged: ``(k,)``, whether the residual reached the tolerance.
        products: number of products with A that were spent.
    """

    values: torch.Tensor
    vectors: torch.Tensor
    residuals: torch.Tensor
    converged: torch.Tensor
    products: int

    def __repr__(self) -> str:
        pairs = ", ".join(
            f"{float(v):.6g} ± {float(r):.1e}{'' if c else ' (not converged)'}"
            for v, r, c in zip(self.values, self.residuals, self.converged, strict=True)
        )
        return f"Eigenpairs([{pairs}], products={self.products})"


def _checked(product: torch.Tensor) -> torch.Tensor:
    if not bool(torch.isfinite(product.sum())) and not bool(torch.isfinite(product).all()):
        raise NumericalError("the operator returned non-finite entries; the network or its loss has diverged")
    return product


def _orthogonalize(w: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Coefficients of ``w`` on the rows of ``basis``; ``w`` becomes orthogonal to them (two passes of Gram–Schmidt)."""
    first = basis @ w
    w -= basis.T @ first
    second = basis @ w
    w -= basis.T @ second
    return first + second


def _normal(
    size: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | None
) -> Callable[[], torch.Tensor]:
    """Standard normal vectors, the same on every device."""
    source = generator or torch.Generator().manual_seed(0)
    return lambda: torch.randn(size, dtype=dtype, generator=source).to(device or "cpu")


class _Basis:
    """Orthonormal rows V and, on the host, the projection T = V A Vᵀ, grown one product at a time and shrunk by thick restarts."""

    def __init__(self, operator: Operator, capacity: int, draw: Callable[[], torch.Tensor]) -> None:
        self.operator, self.draw = operator, draw
        start = draw()
        dtype = start.dtype
        self.vectors = start.new_empty(capacity + 1, len(start))
        self.projection = torch.zeros(capacity + 1, capacity + 1, dtype=dtype)
        self.filled, self.products, self.norm = 0, 0, 0.0
        self.beta = 0.0
        self._set_next(start)

    def _set_next(self, w: torch.Tensor) -> None:
        self.vectors[self.filled] = w / w.norm()

    def grow(self) -> None:
        """Multiply the newest vector and append the orthogonal rest of the product."""
        j = self.filled
        w = _checked(self.operator(self.vectors[j])).clone()
        self.products += 1
        scale = float(w.norm())
        self.norm = max(self.norm, scale)
        column = _orthogonalize(w, self.vectors[: j + 1]).cpu()
        self.projection[: j + 1, j] = column
        self.projection[j, : j + 1] = column
        self.filled = j + 1
        self.beta = float(w.norm())
        if self.filled == self.vectors.shape[1]:
            self.beta = 0.0  # the whole space is spanned
            return
        if self.beta <= 1e-14 * max(self.norm, 1e-300):  # an invariant subspace: go on from a fresh direction
            self.beta = 0.0
            w = self.draw()
            _orthogonalize(w, self.vectors[: self.filled])
        self._set_next(w)

    def ritz(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(values, coefficients as columns, estimated residuals)."""
        values, coefficients = torch.linalg.eigh(self.projection[: self.filled, : self.filled])
        return values, coefficients, self.beta * coefficients[-1].abs()

    def restart(self, keep: torch.Tensor, values: torch.Tensor, coefficients: torch.Tensor) -> None:
        """Keep the Ritz vectors ``keep`` and the newest direction."""
        kept, newest = coefficients[:, keep], self.vectors[self.filled].clone()
        count = len(keep)
        self.vectors[:count] = kept.T.to(self.vectors) @ self.vectors[: self.filled]
        self.vectors[count] = newest
        self.projection.zero_()
        self.projection[:count, :count] = torch.diag(values[keep])
        self.filled = count


def _wanted(count: int, k: int, which: str) -> torch.Tensor:
    k = min(k, count)
    low, high = list(range(k)), list(range(count - k, count))
    return torch.tensor({"smallest": low, "largest": high}.get(which, sorted({*low, *high})))


def lanczos(
    operator: Operator,
    size: int,
    *,
    k: int = 1,
    which: Which = "largest",
    tol: float = 1e-8,
    max_products: int = 1000,
    basis: int | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> Eigenpairs:
    """The k extreme eigenpairs of a symmetric operator, by thick-restart Lanczos with full reorthogonalisation.

    The residual of a Ritz pair (θ, V s) is β |s_m|; iteration stops when it is below tol · max|θ| for all wanted pairs.

    Args:
        operator: ``v -> A v`` on vectors ``(n,)``.
        size: n.
        k: number of pairs at each wanted end.
        which: ``"largest"``, ``"smallest"`` (algebraically) or ``"both"``.
        tol: residual relative to the largest |θ|.
        max_products: products with A after which the pairs are returned as they are.
        basis: vectors kept in memory; default max(2k + 40, 80).
        generator: source of the starting vector; default a fixed seed.
        dtype: of the vectors.
        device: where the operator takes them; default the host. Random numbers are drawn on the host, the same for every device.

    Returns:
        `Eigenpairs` with true residuals (k further products).

    Raises:
        ArgumentError: k, size or tol out of range.
        NumericalError: the operator returns NaN.

    Cost: one product and O(n · basis) operations per step; memory n · basis.

    Reference: wu2000.

    Example:
        >>> diagonal = torch.arange(1.0, 101, dtype=torch.float64)
        >>> lanczos(lambda v: diagonal * v, 100, k=2).values
        tensor([ 99., 100.], dtype=torch.float64)
    """
    if size < 1 or k < 1:
        raise ArgumentError(f"size and k must be at least 1, got size={size}, k={k}")
    if tol <= 0:
        raise ArgumentError(f"tol must be positive, got {tol}")
    if which not in ("largest", "smallest", "both"):
        raise ArgumentError(f"which must be 'largest', 'smallest' or 'both', got {which!r}")
    ends = 2 if which == "both" else 1
    capacity = min(size, max(basis or 0, 2 * ends * k + 2) if basis else max(2 * ends * k + 40, 80))
    space = _Basis(operator, capacity, _normal(size, generator, dtype, device))
    while True:
        space.grow()
        full = space.filled == capacity
        last = space.products >= max_products or space.filled == size
        if not (full or last or space.products % 10 == 0):
            continue
        values, coefficients, estimates = space.ritz()
        chosen = _wanted(space.filled, k, which)
        enough = space.filled >= min(ends * k, size)
        if last or (enough and bool((estimates[chosen] <= tol * values.abs().max()).all())):
            break
        if full:
            space.restart(_wanted(space.filled, min(ends * k + 15, capacity // 2) // ends + 1, which), values, coefficients)
    vectors = (coefficients[:, chosen].T.to(space.vectors) @ space.vectors[: space.filled]).T
    values = values[chosen]
    residuals = torch.stack([(_checked(operator(v)) - t * v).norm() for v, t in zip(vectors.T, values, strict=True)]).cpu()
    # The true residual cannot fall below the rounding of the products themselves.
    floor = 10 * torch.finfo(dtype).eps * size**0.5
    converged = residuals <= max(2 * tol, floor) * values.abs().max().clamp_min(space.norm)
    return Eigenpairs(values, vectors, residuals, converged, space.products + len(values))


@dataclass(frozen=True)
class TraceEstimate:
    """A stochastic estimate with its standard error."""

    value: float
    standard_error: float

    def __repr__(self) -> str:
        return f"{self.value:.6g} ± {self.standard_error:.1e}"


@dataclass(frozen=True)
class SpectralQuadrature:
    """A spectral measure as Gauss quadratures, one per random probe, and exact deflated eigenvalues.

    Attributes:
        nodes: ``(probes, steps)``.
        weights: ``(probes, steps)``, each row summing to 1.
        deflated: ``(d,)`` eigenvalues that are counted exactly.
        size: n.
    """

    nodes: torch.Tensor
    weights: torch.Tensor
    deflated: torch.Tensor
    size: int

    def trace(self, function: Callable[[torch.Tensor], torch.Tensor]) -> TraceEstimate:
        """tr f(A) with its standard error over the probes."""
        rest = (self.size - len(self.deflated)) * (self.weights * function(self.nodes)).sum(1)
        exact = float(function(self.deflated).sum()) if len(self.deflated) else 0.0
        count = len(rest)
        error = float(rest.std() / count**0.5) if count > 1 else float("inf")
        return TraceEstimate(exact + float(rest.mean()), error)

    def density(self, grid: torch.Tensor, width: float) -> tuple[torch.Tensor, torch.Tensor]:
        """(density, standard error) of the eigenvalues on ``grid``, smoothed by Gaussians of standard deviation ``width``."""

        def bumps(at: torch.Tensor) -> torch.Tensor:  # (..., G)
            z = (grid - at.unsqueeze(-1)) / width
            return torch.exp(-0.5 * z * z) / (width * (2 * torch.pi) ** 0.5)

        rest = (self.weights.unsqueeze(-1) * bumps(self.nodes)).sum(1) * (1 - len(self.deflated) / self.size)
        exact = bumps(self.deflated).sum(0) / self.size if len(self.deflated) else torch.zeros_like(grid)
        count = len(rest)
        error = rest.std(0) / count**0.5 if count > 1 else torch.full_like(grid, float("inf"))
        return exact + rest.mean(0), error


def slq(
    operator: Operator,
    size: int,
    *,
    probes: int = 8,
    steps: int = 40,
    deflate: Eigenpairs | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> SpectralQuadrature:
    """Stochastic Lanczos quadrature of the spectral measure, with given eigenpairs deflated.

    For a random unit vector v, vᵀ f(A) v = Σ_j w_j f(θ_j) exactly for polynomials f of degree < 2 · steps, and its mean over v is
    tr f(A) / n. Deflation projects known eigenvectors out of v and counts their eigenvalues exactly: the variance then comes from
    the rest of the spectrum alone.

    Args:
        operator: ``v -> A v``.
        size: n.
        probes: random vectors.
        steps: Lanczos steps per probe.
        deflate: eigenpairs to count exactly, e.g. from `lanczos`.
        generator: source of the probes; default a fixed seed.
        dtype: of the vectors.
        device: where the operator takes them; default the host. Random numbers are drawn on the host, the same for every device.

    Returns:
        A `SpectralQuadrature`.

    Raises:
        ArgumentError: fewer than one probe or step.
        NumericalError: the operator returns NaN.

    Cost: probes · steps products; memory n · steps.

    Reference: ubaru2017; ghorbani2019.

    Example:
        >>> diagonal = torch.linspace(1, 2, 50, dtype=torch.float64)
        >>> measure = slq(lambda v: diagonal * v, 50, probes=4, steps=50)
        >>> bool((measure.trace(torch.ones_like).value - 50) < 1e-9)
        True
    """
    if probes < 1 or steps < 1:
        raise ArgumentError(f"probes and steps must be at least 1, got probes={probes}, steps={steps}")
    draw = _normal(size, generator, dtype, device)
    known = (
        deflate.vectors.T.to(device or "cpu", dtype) if deflate is not None else torch.empty(0, size, dtype=dtype, device=device)
    )
    left = size - len(known)
    if left < 1:
        raise ArgumentError(f"deflate holds {len(known)} of {size} eigenpairs; nothing is left to estimate")
    steps = min(steps, left)
    nodes, weights = torch.zeros(probes, steps, dtype=dtype), torch.zeros(probes, steps, dtype=dtype)

    def project(v: torch.Tensor) -> torch.Tensor:
        return v - known.T @ (known @ v)

    for probe in range(probes):
        start = project(project(draw()))
        basis, projection = start.new_empty(steps + 1, size), torch.zeros(steps, steps, dtype=dtype)
        basis[0] = start / start.norm()
        norm, taken = 0.0, steps
        for j in range(steps):
            w = project(_checked(operator(basis[j])))
            norm = max(norm, float(w.norm()))
            column = _orthogonalize(w, basis[: j + 1]).cpu()
            projection[: j + 1, j] = column
            projection[j, : j + 1] = column
            beta = w.norm()
            if float(beta) <= 1e-14 * norm:  # the probe's Krylov space is exhausted: the quadrature is exact
                taken = j + 1
                break
            basis[j + 1] = w / beta
        values, vectors = torch.linalg.eigh(projection[:taken, :taken])
        nodes[probe, :taken], weights[probe, :taken] = values, vectors[0] ** 2
    deflated = deflate.values.to(dtype) if deflate is not None else torch.empty(0, dtype=dtype)
    return SpectralQuadrature(nodes, weights, deflated, size)


def trace_estimate(
    operator: Operator,
    size: int,
    *,
    products: int = 60,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> TraceEstimate:
    """tr A by Hutch++: the trace on a sketched dominant subspace exactly, the rest by Hutchinson's estimator; unbiased.

    Args:
        operator: ``v -> A v``.
        size: n.
        products: budget of products; with ``products ≥ n`` the trace is computed exactly.
        generator: source of the probes; default a fixed seed.
        dtype: of the vectors.
        device: where the operator takes them; default the host. Random numbers are drawn on the host, the same for every device.

    Returns:
        The estimate with its standard error (0 when exact).

    Raises:
        ArgumentError: a budget of fewer than 6 products.

    Cost: ``products`` products.

    Reference: meyer2021.

    Example:
        >>> diagonal = torch.arange(1.0, 11, dtype=torch.float64)
        >>> trace_estimate(lambda v: diagonal * v, 10)
        55 ± 0.0e+00
    """
    if products < 6:
        raise ArgumentError(f"products must be at least 6, got {products}")
    if products >= size:
        eye = torch.eye(size, dtype=dtype, device=device)
        return TraceEstimate(sum(float(_checked(operator(eye[i]))[i]) for i in range(size)), 0.0)
    generator = generator or torch.Generator().manual_seed(0)
    third = products // 3

    def signs() -> torch.Tensor:
        return torch.randint(0, 2, (size, third), generator=generator).to(device or "cpu", dtype) * 2 - 1

    def apply(columns: torch.Tensor) -> torch.Tensor:
        return torch.stack([_checked(operator(c)) for c in columns.T], 1)

    dominant = torch.linalg.qr(apply(signs())).Q
    exact = float((dominant * apply(dominant)).sum())
    rest = signs()
    rest -= dominant @ (dominant.T @ rest)
    samples = (rest * apply(rest)).sum(0)
    return TraceEstimate(exact + float(samples.mean()), float(samples.std() / third**0.5))
