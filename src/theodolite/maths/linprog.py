"""Linear programs over a changing set of half-spaces: one warm-started HiGHS model, or scipy's where highspy is not installed."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from theodolite.core.errors import NumericalError

Array: TypeAlias = np.ndarray[Any, Any]

__all__ = ["HalfspaceStack"]

#: A polytope whose largest inscribed ball is smaller than this counts as without interior. HiGHS works to 1e-10.
THIN = 1e-9


class HalfspaceStack:
    """{x : low ≤ x ≤ high, a_k·x + c_k ≤ 0 for all k}, with half-spaces pushed and popped.

    Two questions are answered: a point of the interior (the centre of a ball of radius at most 1), and the maximum of a linear
    function. With highspy installed (extra ``exact``) each answer starts from the last basis, about 0.2 ms; without it scipy
    solves every program afresh, about 4 ms.

    Args:
        dim: d.
        low: (d,), −∞ allowed; None for no bounds at all.
        high: likewise.

    Example:
        >>> stack = HalfspaceStack(2, np.zeros(2), np.ones(2))
        >>> stack.push(np.array([1.0, 1.0]), -1.0)                    # x + y ≤ 1
        >>> value, point = stack.maximize(np.array([2.0, 1.0]))
        >>> round(value, 9), bool(np.allclose(point, [1.0, 0.0]))
        (2.0, True)
    """

    def __init__(self, dim: int, low: Array | None = None, high: Array | None = None) -> None:
        self.dim = dim
        self.low = np.full(dim, -np.inf) if low is None else np.asarray(low, dtype=np.float64)
        self.high = np.full(dim, np.inf) if high is None else np.asarray(high, dtype=np.float64)
        self.rows: list[Array] = []  # (a, c), a scaled to unit length
        self.limits: list[float] = []  # on a·x: −c, unless it is moved for a while
        self._highs = _new_highs(dim, self.low, self.high)

    def push(self, normal: Array, constant: float) -> None:
        """Add a·x + c ≤ 0; a must not vanish."""
        size = float(np.linalg.norm(normal))
        row = np.append(normal, constant) / size
        self.rows.append(row)
        self.limits.append(-row[-1])
        if self._highs is not None:
            index = np.arange(self.dim + 1, dtype=np.int32)
            self._highs.addRow(-np.inf, -row[-1], self.dim + 1, index, np.append(row[:-1], 1.0))

    def pop(self) -> None:
        """Remove the half-space that was added last."""
        self.rows.pop()
        self.limits.pop()
        if self._highs is not None:
            self._highs.deleteRows(1, np.array([len(self.rows)], dtype=np.int32))

    def inside(self) -> tuple[Array, float] | None:
        """A point of the interior with its distance (at most 1) from all half-spaces and bounds; None when there is no interior."""
        solved = self._solve(np.append(np.zeros(self.dim), 1.0), ball=True)
        if solved is None or solved[0] <= THIN:
            return None
        return solved[1][:-1], solved[0]

    def maximize(self, objective: Array) -> tuple[float, Array]:
        """max a·x over the closed polytope, and where it is attained.

        Raises:
            NumericalError: the maximum is infinite, or the polytope is empty.
        """
        solved = self._solve(np.append(objective, 0.0), ball=False)
        if solved is None:
            raise NumericalError(
                "the linear program has no finite maximum: the polytope is empty, or unbounded in that direction"
            )
        return solved[0], solved[1][:-1]

    def needed(self) -> list[int]:
        """Half-spaces that make up the polytope, each of which cuts something off: its facets, one program each.

        One after the other: what is not needed is left out from then on, so that of two equal half-spaces one stays.
        """
        kept = list(range(len(self.rows)))
        for k, row in enumerate(self.rows):
            solved = self._solve(np.append(row[:-1], 0.0), ball=False, relaxed=k)
            if solved is not None and solved[0] + row[-1] <= THIN:
                kept.remove(k)
                self._limit(k, np.inf)
        for k in set(range(len(self.rows))) - set(kept):
            self._limit(k, -self.rows[k][-1])
        return kept

    def _limit(self, row: int, limit: float) -> None:
        """Let a·x go up to a limit."""
        self.limits[row] = limit
        if self._highs is not None:
            self._highs.changeRowBounds(row, -np.inf, limit)

    def _solve(self, objective: Array, ball: bool, relaxed: int | None = None) -> tuple[float, Array] | None:
        """Maximise over the polytope, with half-space ``relaxed`` moved outward by one."""
        if self._highs is None:
            return self._solve_scipy(objective, ball, relaxed)
        highs = self._highs
        index = np.arange(self.dim + 1, dtype=np.int32)
        highs.changeColsCost(self.dim + 1, index, -objective)
        highs.changeColBounds(self.dim, 0.0, 1.0 if ball else 0.0)
        if relaxed is not None:
            self._limit(relaxed, 1.0 - self.rows[relaxed][-1])
        highs.run()
        optimal = highs.modelStatusToString(highs.getModelStatus()) == "Optimal"
        if not optimal:  # once more from scratch: a warm start may end in a status that says nothing
            highs.clearSolver()
            highs.run()
            optimal = highs.modelStatusToString(highs.getModelStatus()) == "Optimal"
        x = np.array(highs.getSolution().col_value) if optimal else None
        if relaxed is not None:
            self._limit(relaxed, -self.rows[relaxed][-1])
        return None if x is None else (float(objective @ x), x)

    def _solve_scipy(self, objective: Array, ball: bool, relaxed: int | None) -> tuple[float, Array] | None:
        from scipy.optimize import linprog

        rows = self.rows + _bound_rows(self.low, self.high)
        matrix = np.array([np.append(r[:-1], 1.0) for r in rows]).reshape(-1, self.dim + 1)
        limits = np.array(self.limits + [-r[-1] for r in rows[len(self.limits) :]])
        if relaxed is not None:
            limits[relaxed] += 1.0
        matrix, limits = matrix[np.isfinite(limits)], limits[np.isfinite(limits)]
        bounds = [(None, None)] * self.dim + [(0.0, 1.0 if ball else 0.0)]
        result = linprog(-objective, A_ub=matrix if rows else None, b_ub=limits if rows else None, bounds=bounds, method="highs")
        return (float(objective @ result.x), result.x) if result.status == 0 else None


def _bound_rows(low: Array, high: Array) -> list[Array]:
    rows = []
    for k in range(len(low)):
        for bound, sign in ((low[k], -1.0), (high[k], 1.0)):
            if np.isfinite(bound):
                row = np.zeros(len(low) + 1)
                row[k], row[-1] = sign, -sign * bound
                rows.append(row)
    return rows


def _new_highs(dim: int, low: Array, high: Array) -> Any:
    try:
        import highspy
    except ImportError:
        return None
    highs = highspy.Highs.__mro__[1]()  # the solver itself: the class around it prints a banner and takes over Ctrl-C
    for name, value in (
        ("log_to_console", False),
        ("output_flag", False),
        ("threads", 1),
        ("presolve", "off"),
        ("primal_feasibility_tolerance", 1e-10),
        ("dual_feasibility_tolerance", 1e-10),
    ):
        highs.setOptionValue(name, value)
    for _ in range(dim):
        highs.addVar(-np.inf, np.inf)
    highs.addVar(0.0, 1.0)
    # bounds are rows, so that the ball keeps its distance from them too
    index = np.arange(dim + 1, dtype=np.int32)
    for k in range(dim):
        if np.isfinite(low[k]) or np.isfinite(high[k]):
            for bound, sign in ((low[k], -1.0), (high[k], 1.0)):
                if np.isfinite(bound):
                    row = np.zeros(dim + 1)
                    row[k], row[-1] = sign, 1.0
                    highs.addRow(-np.inf, sign * bound, dim + 1, index, row)
    return _Offset(highs, highs.getNumRow())


class _Offset:
    """A HiGHS model whose first rows are bounds: row numbers are counted after them."""

    def __init__(self, highs: Any, first: int) -> None:
        self._model = highs
        self._first = first

    def deleteRows(self, count: int, index: Array) -> None:
        """Remove rows counted after the bounds."""
        self._model.deleteRows(count, (index + self._first).astype(np.int32))

    def changeRowBounds(self, row: int, low: float, high: float) -> None:
        """Change one row, counted after the bounds."""
        self._model.changeRowBounds(row + self._first, low, high)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)
