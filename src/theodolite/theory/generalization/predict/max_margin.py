"""The hard-margin separator through the origin: where gradient descent on separable data goes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.errors import NumericalError, TheodoliteWarning
from theodolite.theory.generalization.predict.labelled import folded, like

__all__ = ["MaxMargin", "NotSeparableError", "max_margin", "support_solution"]

#: The Karush–Kuhn–Tucker residuals are accepted up to this size (points scaled to norm at most 1, w to norm 1).
KKT_TOLERANCE = 1e-10


class NotSeparableError(NumericalError):
    """No w has y_n w·x_n > 0 for all n.

    Attributes:
        certificate: λ ≥ 0 with Σλ_n = 1 and Σ λ_n y_n x_n = 0 (to rounding): the origin lies in the convex hull of the folded
            points, so no half-space holds them all (Gordan).
    """

    def __init__(self, message: str, certificate: Any):
        super().__init__(message)
        self.certificate = certificate


@dataclass(frozen=True)
class MaxMargin:
    """The maximum-margin separator.

    Attributes:
        w: ``(d,)``, the shortest w with y_n w·x_n ≥ 1 for all n.
        margin: 1/‖w‖ = max_u min_n y_n u·x_n over unit vectors u.
        support: indices n of the points on the margin, y_n w·x_n = 1.
        alpha: ``(N,)``, multipliers: w = Σ α_n y_n x_n, α_n ≥ 0, zero off the support; Σ α_n = ‖w‖². When the support vectors
            are linearly dependent α is not unique, and one with independent carriers is returned.
        kkt: the largest Karush–Kuhn–Tucker residual (stationarity, feasibility, sign, complementarity), scaled as in
            `max_margin`.
    """

    w: Any
    margin: float
    support: Any
    alpha: Any
    kkt: float

    @property
    def direction(self) -> Any:
        """``(d,)``, w/‖w‖."""
        return self.w * self.margin


def max_margin(x: Any, y: Any) -> MaxMargin:
    """Maximum-margin separator through the origin: min ‖w‖ subject to y_n w·x_n ≥ 1.

    This is the hard-margin support vector machine *without* a bias (append a constant coordinate to x for one), the limit
    direction of gradient descent on losses with an exponential tail. A single class is a valid problem here: only the folded
    points z_n = y_n x_n matter.

    Solved by a dual active set method, started from a non-negative least-squares guess of the support: the multipliers rise
    until every constraint holds, on a QR factor of the active points. It ends, with a separator, or with a direction in which
    the dual grows without bound, which is the certificate that there is none. The result is checked against the
    Karush–Kuhn–Tucker conditions (points scaled to norm ≤ 1, w to norm 1) at 1e-10.

    Args:
        x: ``(N, d)`` points, numpy or torch.
        y: ``(N,)`` labels, −1 or +1.

    Returns:
        `MaxMargin`; arrays are torch tensors when an argument is one.

    Raises:
        NotSeparableError: with ``.certificate``, a convex combination Σ λ_n y_n x_n = 0.
        ArgumentError: labels other than ±1, shapes that do not match, non-finite points.

    Warns:
        TheodoliteWarning: the conditions hold only to a residual above 1e-10 (margin below about 1e-5 of the largest norm).

    Cost: O(N d s) for s support vectors, plus O(d s²) per exchange of one of them.

    Reference: soudry2018 Eq. 4; lawson1995 ch. 23; goldfarb1983.

    Example:
        >>> svm = max_margin([[1.0, 0.3], [0.2, 1.5], [2.0, 2.0]], [1, 1, 1])
        >>> svm.w.round(6).tolist(), svm.support.tolist(), round(svm.margin, 6)
        ([0.833333, 0.555556], [0, 1], 0.99846)
    """
    z = folded(x, y)
    scale = float(np.linalg.norm(z, axis=1).max())
    _refuse_contradictions(z, x, y)
    active, alpha, w = _active_set(z / scale, x, y)
    alpha, w = alpha / scale**2, w / scale
    slack = z @ w - 1
    length = float(np.linalg.norm(w))
    kkt = _kkt_residual(z / scale, w * scale, alpha * scale**2)
    if kkt > KKT_TOLERANCE:
        warnings.warn(
            f"the optimality conditions of the separator hold only to {kkt:.1e}: its margin {1 / length:.2e} is small beside "
            f"the largest norm {scale:.2e} of a point; rescale or drop near-contradictory points",
            TheodoliteWarning,
            stacklevel=2,
        )
    on_margin = np.abs(slack) <= max(1e-9, 100 * np.finfo(float).eps * scale * length)
    on_margin[active] = True
    return MaxMargin(like(w, x, y), 1 / length, like(np.flatnonzero(on_margin), x, y), like(alpha, x, y), kkt)


def support_solution(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(w, α) with points·w = 1 and w = pointsᵀα, for linearly independent rows.

    Example:
        >>> support_solution(np.array([[1.0, 0.3], [0.2, 1.5]]))[1].round(6).tolist()
        [0.790895, 0.212191]
    """
    from scipy.linalg import qr, solve_triangular

    q, r = qr(points.T, mode="economic")
    inner = solve_triangular(r, np.ones(len(points)), trans="T")
    return q @ inner, solve_triangular(r, inner)


def _refuse_contradictions(z: np.ndarray, x: Any, y: Any) -> None:
    """Duplicated points with different labels are opposite folded points: half of each is a certificate."""
    order = {row.tobytes(): n for n, row in reversed(list(enumerate(z + 0.0)))}
    for n, row in enumerate(0.0 - z):
        m = order.get(row.tobytes())
        if m is None:
            continue
        certificate = np.zeros(len(z))
        certificate[[m, n]] = 0.5 if m != n else 1.0
        what = f"points {min(m, n)} and {max(m, n)} are equal but have different labels" if m != n else f"point {n} is zero"
        raise NotSeparableError(
            f"x and y must be separable through the origin, but {what}; relabel or drop one of them", like(certificate, x, y)
        )


def _first_guess(z: np.ndarray) -> np.ndarray:
    """Carriers of the nearest point to the origin in the convex hull, by non-negative least squares (lawson1995 ch. 23)."""
    from scipy.optimize import nnls

    try:
        u, _ = nnls(np.vstack([z.T, np.ones(len(z))]), np.append(np.zeros(z.shape[1]), 1.0))
    except RuntimeError:  # its iteration limit: start the active set from one point instead
        return np.array([int(np.argmin((z**2).sum(1)))])
    return np.flatnonzero(u > 0)


def _independent(rows: np.ndarray) -> np.ndarray:
    """Indices of rows that are linearly independent to working precision, by pivoted QR."""
    from scipy.linalg import qr

    r, pivots = qr(rows.T, mode="r", pivoting=True)
    diagonal = np.abs(np.diagonal(r))
    return np.sort(pivots[: int(np.sum(diagonal > 1e-12 * diagonal[0]))])


def _active_set(z: np.ndarray, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Active set, multipliers and w of max Σα − ½‖zᵀα‖² over α ≥ 0, for points of norm at most 1."""
    n, d = z.shape
    active = _first_guess(z)
    active = active[_independent(z[active])]
    alpha = np.zeros(n)
    w, target = support_solution(z[active])
    if target.min() <= 0:  # the guess is not dual feasible: start from the single shortest point
        active = np.array([int(np.argmin((z**2).sum(1)))])
        w, target = support_solution(z[active])
    alpha[active] = target
    for _ in range(20 * (n + d) + 100):
        slack = z @ w - 1
        slack[active] = 0.0
        entering = int(np.argmin(slack))
        if slack[entering] >= -1e-13 - 4 * np.finfo(float).eps * np.linalg.norm(w):
            return active, alpha, w
        active = _enter(z, alpha, active, entering, x, y)
        # From the factor, not as Σ α z: the multipliers of a narrow margin are large and cancel.
        w, target = support_solution(z[active])
        alpha[active] = np.maximum(target, 0.0)
    raise NumericalError(f"the active set of the separator did not settle on {n} points; look for near-duplicates among them")


def _enter(z: np.ndarray, alpha: np.ndarray, active: np.ndarray, entering: int, x: Any, y: Any) -> np.ndarray:
    """Raise the multiplier of one violated constraint to its optimum, dropping multipliers that reach zero (in place)."""
    from scipy.linalg import qr, solve_triangular

    while True:
        q, r = qr(z[active].T, mode="economic")
        inner = q.T @ z[entering]
        share = solve_triangular(r, inner)  # z_entering = z_activeᵀ share + residual
        residual = z[entering] - q @ inner
        residual -= q @ (q.T @ residual)
        dependent = np.linalg.norm(residual) <= 1e-13
        shortfall = 1 - z[entering] @ (alpha @ z)
        full = np.inf if dependent else shortfall / (residual @ residual)
        # Along e_entering − share the other active constraints stay tight; a multiplier with positive share falls to zero.
        falls = share > 0
        ratios = np.where(falls, alpha[active] / np.where(falls, share, 1.0), np.inf)
        blocking = int(np.argmin(ratios)) if len(ratios) else 0
        step = min(full, ratios.min(initial=np.inf))
        if not np.isfinite(step):
            certificate = np.zeros(len(z))
            certificate[active] = -share
            certificate[entering] = 1.0
            _refuse(z, np.maximum(certificate, 0.0), x, y)
        alpha[active] -= step * share
        alpha[entering] += step
        if step == full:
            return np.append(active, entering)
        alpha[active[blocking]] = 0.0
        active = np.delete(active, blocking)
        if not len(active):
            return _alone(z, alpha, entering)


def _alone(z: np.ndarray, alpha: np.ndarray, entering: int) -> np.ndarray:
    """The active set of one point only."""
    alpha[entering] = 1 / (z[entering] @ z[entering])
    return np.array([entering])


def _refuse(z: np.ndarray, weights: np.ndarray, x: Any, y: Any) -> None:
    certificate = weights / weights.sum()
    carriers = np.flatnonzero(certificate)
    one_class = len(set(np.ravel(y.tolist() if hasattr(y, "tolist") else y))) == 1
    hint = "all labels are equal, so the points themselves have to lie on one side; " if one_class else ""
    raise NotSeparableError(
        f"x and y must be separable through the origin, but a convex combination of {len(carriers)} points y_n x_n "
        f"(n = {', '.join(map(str, carriers[:8]))}{', …' if len(carriers) > 8 else ''}) vanishes to "
        f"{np.linalg.norm(certificate @ z):.1e}; see .certificate; {hint}add features or a constant coordinate, or relabel",
        like(certificate, x, y),
    )


def _kkt_residual(z: np.ndarray, w: np.ndarray, alpha: np.ndarray) -> float:
    """Largest violation of the optimality conditions, with w scaled to norm 1 and Σα to 1."""
    slack = z @ w - 1
    total = max(alpha.sum(), np.finfo(float).tiny)
    return float(
        max(
            np.linalg.norm(w - alpha @ z) / np.linalg.norm(w),
            max(0.0, -slack.min()),
            max(0.0, -alpha.min()) / total,
            np.abs(alpha * slack).max() / total,
        )
    )
