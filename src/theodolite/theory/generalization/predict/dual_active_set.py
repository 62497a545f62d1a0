"""The shortest w with z_n·w ≥ 1 for all n: dual coordinate descent for a guess of the support, an active set to rounding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theodolite.core.errors import NumericalError

__all__ = ["Unbounded", "separated", "support_solution"]

EPS = float(np.finfo(np.float64).eps)

#: Length of the component off the span of the active points at or below which a point of norm ≤ 1 counts as in their span.
DEPENDENT = 1e-13


class Unbounded(Exception):
    """The dual grows without bound: ``weights`` ≥ 0, not all zero, have Σ weights_n z_n = 0, so no w has z_n·w > 0 for all n."""

    def __init__(self, weights: np.ndarray):
        super().__init__("the points have the origin in their convex hull")
        self.weights = weights


def support_solution(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(w, α) with points·w = 1 and w = pointsᵀα, for linearly independent rows.

    Example:
        >>> support_solution(np.array([[1.0, 0.3], [0.2, 1.5]]))[1].round(6).tolist()
        [0.790895, 0.212191]
    """
    return _Factor(points).optimum()


def separated(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Active set, multipliers α and w of min ‖w‖ subject to z·w ≥ 1, for points of norm at most 1.

    The dual max Σα − ½‖zᵀα‖² over α ≥ 0 is climbed coordinate by coordinate until its carriers hardly change, then exactly: a
    violated constraint enters with the largest multiplier that keeps the others tight and non-negative (goldfarb1983), on a QR
    factor of the active points that is updated, O(d s) per exchange. Only the points nearest to the margin are looked at until
    they are all satisfied; then all are.

    Args:
        z: ``(N, d)``, no zero rows.

    Returns:
        active ``(s,)``, alpha ``(N,)``, w ``(d,)``.

    Raises:
        Unbounded: there is no such w; with weights that prove it.
        NumericalError: the exchanges did not end.

    Cost: O(N d) per look at all points, O(d s) per exchange.

    Example:
        >>> active, alpha, w = separated(np.array([[0.5, 0.15], [0.1, 0.75], [0.9, 0.3]]))
        >>> sorted(active.tolist()), w.round(6).tolist()
        ([0, 1], [1.666667, 1.111111])
    """
    n, d = z.shape
    state = _start(z)
    left = 20 * (n + d) + 100
    fresh = False
    while True:
        near = np.argsort(z @ state.w)[: max(200, 2 * d)]
        before = left
        while left:
            slack = z[near] @ state.w - 1
            slack[np.isin(near, state.active)] = 0.0
            worst = int(np.argmin(slack))
            if slack[worst] >= -DEPENDENT - 4 * EPS * float(np.linalg.norm(state.w)):
                break
            left -= 1
            state.enter(int(near[worst]))
            fresh = False
        if not left:
            raise NumericalError(
                f"the active set of the separator did not settle on {n} points; look for near-duplicates among them"
            )
        if left == before and fresh:
            return np.array(state.active), state.alpha, state.w
        # The updated factor has drifted by rounding; a factor computed anew has the last word.
        state.refresh()
        fresh = True


class _Factor:
    """QR factor of the active points as columns, updated by insertions and deletions."""

    def __init__(self, points: np.ndarray):
        from scipy.linalg import qr

        self.q, self.r = qr(points.T, mode="economic", check_finite=False)

    def append(self, point: np.ndarray) -> None:
        from scipy.linalg import qr_insert

        self.q, self.r = qr_insert(self.q, self.r, point, self.r.shape[1], which="col", check_finite=False)

    def drop(self, position: int) -> None:
        from scipy.linalg import qr_delete

        # A square Q is taken for that of a full factorisation, and comes back with a column to spare.
        q, r = qr_delete(self.q, self.r, position, which="col", check_finite=False)
        self.q, self.r = q[:, : r.shape[1]], r[: r.shape[1]]

    def optimum(self) -> tuple[np.ndarray, np.ndarray]:
        """w of least length with value 1 on the active points, and its multipliers."""
        from scipy.linalg import solve_triangular

        inner = solve_triangular(self.r, np.ones(self.r.shape[1]), trans="T", check_finite=False)
        return self.q @ inner, solve_triangular(self.r, inner, check_finite=False)

    def split(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(share, residual): point = Σ share_j active_j + residual, the residual orthogonal to the active points."""
        from scipy.linalg import solve_triangular

        inner = self.q.T @ point
        residual = point - self.q @ inner
        residual -= self.q @ (self.q.T @ residual)
        return solve_triangular(self.r, inner, check_finite=False), residual


@dataclass
class _State:
    """A dual feasible point: the active constraints are tight at w, and w = Σ α z."""

    z: np.ndarray
    active: list[int]
    alpha: np.ndarray
    factor: _Factor
    w: np.ndarray

    def refresh(self) -> None:
        """Factor and w computed anew."""
        self.factor = _Factor(self.z[self.active])
        self._settle()

    def _settle(self) -> None:
        # From the factor, not as Σ α z: the multipliers of a narrow margin are large and cancel.
        self.w, target = self.factor.optimum()
        self.alpha[self.active] = np.maximum(target, 0.0)

    def enter(self, entering: int) -> None:
        """Raise the multiplier of a violated constraint to its optimum, dropping multipliers that reach zero."""
        point = self.z[entering]
        while self.active:
            share, residual = self.factor.split(point)
            dependent = len(self.active) >= len(point) or np.linalg.norm(residual) <= DEPENDENT
            full = np.inf if dependent else (1 - float(point @ self.w)) / float(residual @ residual)
            # Along e_entering − share the other active constraints stay tight; a multiplier with positive share falls to zero.
            falls = share > 0
            ratios = np.where(falls, self.alpha[self.active] / np.where(falls, share, 1.0), np.inf)
            step = min(full, float(ratios.min()))
            if not np.isfinite(step):
                raise Unbounded(self._proof(entering))
            self.alpha[self.active] -= step * share
            self.alpha[entering] += step
            self.w = self.w + step * residual
            if step == full:
                self.factor.append(point)
                self.active.append(entering)
                self._settle()
                return
            blocking = int(np.argmin(ratios))
            self.alpha[self.active[blocking]] = 0.0
            del self.active[blocking]
            if self.active:
                self.factor.drop(blocking)
        self.active = [entering]
        self.refresh()

    def _proof(self, entering: int) -> np.ndarray:
        """Weights of a vanishing combination of the entering point and the active ones, from a factor computed anew."""
        share, _ = _Factor(self.z[self.active]).split(self.z[entering])
        weights = np.zeros(len(self.z))
        weights[self.active] = np.maximum(-share, 0.0)
        weights[entering] = 1.0
        return weights


def _start(z: np.ndarray) -> _State:
    """A dual feasible active set: the carriers of coordinate ascent, those that are not wanted dropped, or the shortest point."""
    from theodolite.theory.generalization.predict.dual_ascent_kernel import ascend

    norms2 = np.einsum("nd,nd->n", z, z)
    alpha = ascend(z, norms2, 200, 1e-4)
    shortest = [int(np.argmin(norms2))]
    carriers = np.flatnonzero(alpha > 1e-9 * alpha.max())
    few = len(carriers) <= 2 * z.shape[1]
    active: list[int] = carriers[_independent(z[carriers])].tolist() if few else shortest
    factor, current = _Factor(z[active]), alpha[active]
    while True:
        w, target = factor.optimum()
        if target.min() > 0:
            break
        # Towards the optimum on these carriers until the first multiplier vanishes: the dual rises, so no set comes back.
        falls = target <= 0
        ratios = np.where(falls, current / np.where(falls, current - target, 1.0), np.inf)
        blocking = int(np.argmin(ratios))
        current = np.delete(current + ratios[blocking] * (target - current), blocking)
        del active[blocking]
        if not active:
            active = shortest
            factor, current = _Factor(z[active]), np.ones(1)
            continue
        factor.drop(blocking)
    multipliers = np.zeros(len(z))
    multipliers[active] = target
    return _State(z, active, multipliers, factor, w)


def _independent(rows: np.ndarray) -> np.ndarray:
    """Indices of rows that are linearly independent to working precision, by pivoted QR."""
    from scipy.linalg import qr

    r, pivots = qr(rows.T, mode="r", pivoting=True, check_finite=False)
    diagonal = np.abs(np.diagonal(r))
    return np.sort(pivots[: int(np.sum(diagonal > 1e-12 * diagonal[0]))])
