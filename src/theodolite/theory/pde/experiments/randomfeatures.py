"""Experiments with random features: fits, and solutions of the Helmholtz problem. Defaults are paper size."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.core.experiment import Experiment
from theodolite.core.seed import generator
from theodolite.draw.progress import progress

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Convergence", "HelmholtzTable", "RfmFit", "RfmVsElm"]

#: How the bandwidth of an extreme learning machine is set against that of a random feature method with m cells.
SCHEMES = ("rfm", "elm", "elm matched")


@dataclass(frozen=True)
class RfmVsElm(Experiment):
    """Random feature method against extreme learning machine, m·J features each, over activations and bandwidths R.

    ``elm`` has the same R as the random feature method, ``elm matched`` has R multiplied by the number of cells, which gives both
    the same highest frequencies on the domain. The source compares at one bandwidth that it does not state.

    Attributes:
        functions: names in ``td.pde.FUNCTIONS``.
        activations: names of σ.
        R: half-widths of U(−R, R) in local coordinates.
        subdomains: m.
        count: J per cell; the extreme learning machine has m·J features.
        points: fit points.
        eps: thresholds of the ε-rank, in L²(dx).
        seeds: seeds.
    """

    functions: tuple[str, ...] = ("helmholtz", "smooth", "oscillating")
    activations: tuple[str, ...] = ("tanh", "cos")
    R: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0)
    subdomains: int = 9
    count: int = 100
    points: int = 3000
    eps: tuple[float, ...] = (1e-3, 1e-6, 1e-10)
    seeds: tuple[int, ...] = (0, 1, 2)

    reference = "yang2024"
    small = {"functions": ("helmholtz",), "R": (1.0, 10.0), "points": 1200, "eps": (1e-3,), "seeds": (0,)}

    def measure(self) -> xr.Dataset:
        """Errors, ε-ranks and sizes of coefficients over function, activation, R, scheme and seed."""
        import xarray as xr

        from theodolite.theory.pde.features import RandomFeatures
        from theodolite.theory.pde.problems import function_named
        from theodolite.theory.pde.solve import fits

        dims = ("function", "activation", "R", "scheme", "seed")
        coords: dict[str, Any] = dict(zip(dims, (self.functions, self.activations, self.R, SCHEMES, self.seeds), strict=True))
        shape = [len(values) for values in coords.values()]
        error, size, ranks = np.empty(shape), np.empty(shape), np.empty([*shape, len(self.eps)], dtype=int)
        # The features know their domain, not the function: functions on one domain share factorisation and spectrum.
        domains: dict[Any, list[int]] = {}
        for i, name in enumerate(self.functions):
            domains.setdefault(function_named(name)[1], []).append(i)
        cells = [(domain, *rest) for domain in domains for rest in itertools.product(*(range(n) for n in shape[1:]))]
        for domain, *cell in progress(cells, "random features"):
            act, bandwidth, scheme, seed = (coords[dim][i] for dim, i in zip(dims[1:], cell, strict=True))
            m = self.subdomains if scheme == "rfm" else 1
            features = RandomFeatures(
                domain,
                subdomains=m,
                count=self.count * self.subdomains // m,
                activation=act,
                R=bandwidth * self.subdomains if scheme == "elm matched" else bandwidth,
                generator=generator(seed, "pde.rfm_vs_elm", scheme),
            )
            functions = [function_named(self.functions[i])[0] for i in domains[domain]]
            spectrum = features.spectrum()
            for i, solution in zip(domains[domain], fits(functions, features, points=self.points), strict=True):
                where = (i, *cell)
                error[where], size[where] = solution.error, float(solution.coefficients.abs().max())
                ranks[where] = [int((spectrum > eps).sum()) for eps in self.eps]
        return xr.Dataset(
            {
                "error": (dims, error, {"description": "relative L² error of the fit"}),
                "epsilon_rank": ((*dims, "eps"), ranks, {"description": "ε-rank of the features in L²(dx)"}),
                "largest_coefficient": (dims, size, {"description": "max |u_ij|"}),
            },
            coords={**{name: list(values) for name, values in coords.items()}, "eps": list(self.eps)},
        )


@dataclass(frozen=True)
class RfmFit(Experiment):
    """One function, fitted by a random feature method and by an extreme learning machine: the fits and their errors.

    Attributes:
        function: name in ``td.pde.FUNCTIONS``.
        activation: name of σ.
        R: half-width for the random feature method.
        elm_R: half-width for the extreme learning machine, on coordinates scaled to [−1, 1].
        subdomains: m.
        count: J per cell.
        points: fit points.
        seed: seed.
    """

    function: str = "helmholtz"
    activation: str = "tanh"
    R: float = 1.0
    elm_R: float = 9.0
    subdomains: int = 9
    count: int = 100
    points: int = 3000
    seed: int = 0

    reference = "yang2024"
    small = {"points": 1200}

    def measure(self) -> xr.Dataset:
        """Fits, exact values, pointwise errors and ε-ranks."""
        import xarray as xr

        from theodolite.theory.pde.features import RandomFeatures
        from theodolite.theory.pde.points import grid_points
        from theodolite.theory.pde.problems import function_named
        from theodolite.theory.pde.solve import fit

        function, domain = function_named(self.function)
        schemes = {"rfm": (self.subdomains, self.R), "elm": (1, self.elm_R)}
        solutions = {}
        for scheme, (m, bandwidth) in schemes.items():
            features = RandomFeatures(
                domain,
                subdomains=m,
                count=self.count * self.subdomains // m,
                activation=self.activation,
                R=bandwidth,
                generator=generator(self.seed, "pde.rfm_fit", scheme),
            )
            solutions[scheme] = fit(function, features, points=self.points)
        x = grid_points(solutions["rfm"].features.box)
        exact = function(x)
        values = np.stack([solution(x).numpy() for solution in solutions.values()])
        return xr.Dataset(
            {
                "exact": ("x", exact.numpy(), {"description": "the function"}),
                "fit": (("scheme", "x"), values, {"description": "the fit"}),
                "pointwise_error": (("scheme", "x"), np.abs(values - exact.numpy()), {"description": "|fit − function|"}),
                "error": ("scheme", [s.error for s in solutions.values()], {"description": "relative L² error"}),
                "epsilon_rank": ("scheme", [s.epsilon_rank(1e-3) for s in solutions.values()], {"description": "ε = 1e-3"}),
            },
            coords={"scheme": list(solutions), "x": x[:, 0].numpy()},
        )


@dataclass(frozen=True)
class Convergence(Experiment):
    """Error of the random feature method for the 1-d Helmholtz problem against the number of features and of subdomains.

    Attributes:
        counts: J, features per subdomain.
        subdomains: m.
        partitions: partitions of unity.
        activation: name of σ.
        R: half-width of U(−R, R).
        oversampling: collocation points per feature.
        seeds: seeds.
    """

    counts: tuple[int, ...] = (10, 20, 30, 40, 60, 80, 120)
    subdomains: tuple[int, ...] = (2, 4, 8, 16)
    partitions: tuple[str, ...] = ("indicator", "smooth")
    activation: str = "tanh"
    R: float = 3.0
    oversampling: int = 3
    seeds: tuple[int, ...] = (0, 1, 2)

    reference = "chen2022rfm"
    small = {"counts": (10, 20, 40), "subdomains": (4, 8), "seeds": (0,)}

    def measure(self) -> xr.Dataset:
        """Errors, residuals, ranks and condition numbers over partition, subdomains, count and seed."""
        import xarray as xr

        from theodolite.theory.pde.features import RandomFeatures
        from theodolite.theory.pde.problems import helmholtz_1d
        from theodolite.theory.pde.solve import solve_rfm

        problem = helmholtz_1d()
        dims = ("partition", "subdomains", "count", "seed")
        coords: dict[str, Any] = dict(zip(dims, (self.partitions, self.subdomains, self.counts, self.seeds), strict=True))
        shape = [len(values) for values in coords.values()]
        error, residual, rank = np.empty(shape), np.empty(shape), np.empty(shape, dtype=int)
        for cell in progress(list(itertools.product(*(range(n) for n in shape))), "convergence"):
            partition, m, count, seed = (values[i] for values, i in zip(coords.values(), cell, strict=True))
            features = RandomFeatures(
                problem.domain,
                subdomains=m,
                count=count,
                activation=self.activation,
                R=self.R,
                partition=partition,
                generator=generator(seed, "pde.convergence", m, count),
            )
            solution = solve_rfm(problem, features, points=self.oversampling * m * count)
            error[cell], residual[cell], rank[cell] = solution.error, solution.residual, solution.rank
        return xr.Dataset(
            {
                "error": (dims, error, {"description": "relative L² error of the solution"}),
                "residual": (dims, residual, {"description": "relative residual of the scaled system"}),
                "rank": (dims, rank, {"description": "directions used by the least-squares solver"}),
            },
            coords={name: list(values) for name, values in coords.items()},
        )


#: Features per element -> greatest errors: the paper's, and those of an independent public rerun with LAPACK's gelsd.
PUBLISHED = {75: (4.02e-8, 8.96e-9), 100: (1.56e-9, 1.07e-9), 125: (1.42e-10, 1.71e-10)}


@dataclass(frozen=True)
class HelmholtzTable(Experiment):
    """The table of the local extreme learning machine for u″ − 10u = f on [0, 8], as an external check of the solver.

    Four elements with M features and Q collocation points each, R_m = 3, tanh, C¹ conditions between elements. For M = 125, and
    for M = 100 but for the conditions, the system is under-determined; the coefficients of least norm are taken, as there.

    Attributes:
        counts: M.
        subdomains: elements.
        points: Q, collocation points per element.
        R: R_m.
        seeds: seeds.
    """

    counts: tuple[int, ...] = (75, 100, 125)
    subdomains: int = 4
    points: int = 100
    R: float = 3.0
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)

    reference = "dong2021locelm"
    small = {"counts": (75, 100), "seeds": (0, 1)}

    def measure(self) -> xr.Dataset:
        """Greatest errors over M and seed, beside the published ones."""
        import xarray as xr

        from theodolite.theory.pde.features import RandomFeatures
        from theodolite.theory.pde.problems import helmholtz_1d
        from theodolite.theory.pde.solve import solve_rfm

        problem = helmholtz_1d()
        errors = np.empty((len(self.counts), len(self.seeds)))
        for (i, count), (j, seed) in itertools.product(enumerate(self.counts), enumerate(self.seeds)):
            features = RandomFeatures(
                problem.domain,
                subdomains=self.subdomains,
                count=count,
                R=self.R,
                generator=generator(seed, "pde.helmholtz_table", count),
            )
            points = self.points * self.subdomains
            errors[i, j] = solve_rfm(problem, features, points=points, allow_underdetermined=True).max_error
        published = np.array([PUBLISHED.get(count, (np.nan, np.nan)) for count in self.counts])
        return xr.Dataset(
            {
                "max_error": (("count", "seed"), errors, {"description": "greatest absolute error"}),
                "published": (("count", "source"), published, {"description": "greatest absolute error, one draw"}),
            },
            coords={"count": list(self.counts), "seed": list(self.seeds), "source": ["paper", "rerun"]},
        )
