"""What follows exactly from all regions: extrema, Lipschitz constants, volumes, integrals."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.core.errors import NumericalError, UnsupportedError
from theodolite.theory.piecewise.arguments import number
from theodolite.theory.piecewise.orientation import halfspace_stack
from theodolite.theory.piecewise.program import Array

if TYPE_CHECKING:
    from theodolite.theory.piecewise.domains import Domain
    from theodolite.theory.piecewise.regions import Regions

__all__ = ["check_volumes", "extreme", "integral", "lipschitz", "moments", "second_moment", "variance"]


def extreme(regions: Regions, sign: float) -> tuple[Any, Array]:
    """Largest (sign 1) or smallest (sign −1) value and where it is taken: at a vertex, or by one linear program per region."""
    regions._need_all("an extremum")
    if regions.has_vertices:
        owner = np.repeat(np.arange(regions.count), np.diff(regions.cells.starts))
        points = regions.cells.points[:, :-1]
        values = np.einsum("vi,vio->vo", points, regions.maps[owner, :-1]) + regions.maps[owner, -1]
        best = np.argmax(sign * values, axis=0)
        value, argument = values[best, np.arange(values.shape[1])], points[best]
    else:
        results = [_extreme_by_program(regions, sign, output) for output in range(regions.maps.shape[2])]
        value, argument = np.array([v for v, _ in results]), np.array([a for _, a in results])
    return (float(value[0]), argument[0]) if len(value) == 1 else (value, argument)


def _extreme_by_program(regions: Regions, sign: float, output: int) -> tuple[float, Array]:
    best, where = -np.inf, np.zeros(regions.dim)
    for i in range(regions.count):
        slope, constant = regions.maps[i, :-1, output], regions.maps[i, -1, output]
        try:
            value, point = halfspace_stack(regions, i).maximize(sign * slope)
        except NumericalError as error:
            raise NumericalError("the network is unbounded on ℝᵈ: it has no largest or smallest value there") from error
        if value + sign * constant > best:
            best, where = value + sign * constant, point
    return sign * best, where


def lipschitz(regions: Regions, p: float) -> float:
    """The largest dual norm of the gradient (one output), or the largest induced norm (several)."""
    regions._need_all("a Lipschitz constant")
    p = number(p, "p", least=1)
    slopes = regions.affine[0]
    if slopes.shape[1] == 1:
        dual = np.inf if p == 1 else 1.0 if p == np.inf else p / (p - 1)
        return float(np.linalg.norm(slopes[:, 0], ord=dual, axis=1).max())
    if p not in (1, 2, np.inf):
        raise UnsupportedError(f"with several outputs the induced norm has a closed form for p = 1, 2 and ∞ only, got p={p!r}")
    return float(np.linalg.norm(slopes, ord=p, axis=(1, 2)).max())


def integral(regions: Regions) -> Any:
    """∫ f: an affine function integrates to volume × value at the centre of mass."""
    regions._need_all("an integral")
    total = regions.volumes @ _at_centroids(regions)
    return float(total[0]) if len(total) == 1 else total


def variance(regions: Regions) -> Any:
    """∫ (f − mean)² / volume."""
    total = second_moment(regions, np.atleast_1d(regions.mean())) / regions.volumes.sum()
    return float(total[0]) if len(total) == 1 else total


def second_moment(regions: Regions, centre: Array) -> Array:
    """∫ (f − centre)², (outputs,), from the regions' second moments."""
    values = _at_centroids(regions) - centre
    volumes, _, moments = regions._moments
    slopes = regions.maps[:, :-1]
    return np.asarray(volumes @ values**2 + np.einsum("rio,rij,rjo->o", slopes, moments, slopes))


def _at_centroids(regions: Regions) -> Array:
    return np.einsum("ri,rio->ro", regions.centroids, regions.maps[:, :-1]) + regions.maps[:, -1]


@cache
def _cell_moments() -> Callable[[Array, Array, Array], tuple[Array, Array, Array]]:
    """Imported when it is needed, and once: small jobs are done sooner than an import statement."""
    from theodolite.maths.moments import cell_moments

    return cell_moments


def moments(regions: Regions) -> tuple[Array, Array, Array]:
    """Volumes, centroids and second moments of all regions, see `theodolite.maths.moments.cell_moments`.

    Raises:
        NumericalError: without certificates, d ≥ 3, where the volumes do not add up to the domain's.
    """
    found = _cell_moments()(regions.cells.points[:, :-1], regions.cells.starts, regions.cells.masks)
    # in the plane nothing but their sizes can be wrong
    if regions.dim > 2 and regions.certify == "none" and regions.complete and regions.whole and regions.domain is not None:
        check_volumes(found[0], regions.domain)
    return found


def check_volumes(volumes: Array, domain: Domain) -> None:
    """Raise `NumericalError` unless they add up."""
    total, volume = float(volumes.sum()), domain.volume
    # far off centre, the rounding of vertices is no longer small beside the domain
    far = max(float((chart.reach / np.ptp(chart.vertices, axis=0)).max()) for chart in domain.charts)
    if abs(total - volume) > (1e-11 + 1e-14 * far) * volume:
        raise NumericalError(
            "degenerate arrangement: boundaries nearly meet, and float64 does not tell how (the volumes add up to "
            f'{total:.10g} on a domain of volume {volume:.10g}); enumerate with certify="filtered"'
        )
