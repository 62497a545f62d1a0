"""The stationary law of an LSTM's cell, c = f c + i g, through its characteristic function."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np

from theodolite.maths.resolution import Array
from theodolite.theory.meanfield.predict.gates import sigmoid

__all__ = ["CellState"]

#: sech⁴ and sech² have Fourier transforms that fall like exp(−π t/2): beyond this frequency nothing is left.
LAST = 26.0
#: Nodes per panel in log t, and the widest panel.
NODES, PANEL = 16, 0.4
#: Below this frequency, in units of 1/√E c², four moments give the characteristic function to 1e-15.
FIRST = 3e-3

Rule = tuple[Array, Array]


class CellState:
    """Second moments of c where f, i and g are independent of c and of each other, and g is symmetric.

    φ_c(t) = φ_{ig}(t) E_f φ_c(f t) is linear in φ_c; on a grid in log t, with φ_c known from its moments below the grid, it is a
    system of linear equations.

    Args:
        forget: nodes and weights of the pre-activation of f = σ(e).
        input_: of that of i = σ(e).
        candidate: of that of g = tanh(e).
    """

    def __init__(self, forget: Rule, input_: Rule, candidate: Rule) -> None:
        (e_f, self._wf), (e_i, self._wi), (e_g, wg) = forget, input_, candidate
        f, rest, self._i, g = sigmoid(e_f), sigmoid(-e_f), sigmoid(e_i), np.tanh(e_g)
        self._f, self._g, self._wg = f, g, wg
        ig2 = float(self._wi @ self._i**2) * float(wg @ g**2)
        ig4 = float(self._wi @ self._i**4) * float(wg @ g**4)
        #: E c² and E c⁴
        self.second = ig2 / float(self._wf @ (rest * (1.0 + f)))
        lost4 = float(self._wf @ (rest * (1.0 + f) * (1.0 + f * f)))
        self.fourth = (6.0 * float(self._wf @ f**2) * self.second * ig2 + ig4) / lost4

    @cached_property
    def _solution(self) -> tuple[Array, Array, Array]:
        """Frequencies t, weights of dt, and φ_c(t)."""
        start = math.log(FIRST / max(1.0, math.sqrt(self.second)))
        panels = math.ceil((math.log(LAST) - start) / PANEL)
        grid = _LogGrid(start, math.log(LAST), panels)
        candidate = np.cos(np.multiply.outer(grid.t, self._g)) @ self._wg
        g2, g4 = (float(self._wg @ self._g**k) for k in (2, 4))
        matrix, known = grid.averages(self._i, self._wi, _series(g2, g4))
        factor = matrix @ candidate + known  # E cos(t i g)
        matrix, known = grid.averages(self._f, self._wf, _series(self.second, self.fourth))
        law = np.linalg.solve(np.eye(len(grid.t)) - factor[:, None] * matrix, factor * known)
        # The piece below the grid, by a rule of its own
        x, w = np.polynomial.legendre.leggauss(8)
        t0 = 0.5 * math.exp(start) * (x + 1.0)
        below = _series(self.second, self.fourth)(t0)
        return (
            np.concatenate([t0, grid.t]),
            np.concatenate([0.5 * math.exp(start) * w, grid.weight * grid.t]),
            np.concatenate([below, law]),
        )

    @cached_property
    def tanh2(self) -> float:
        """E tanh² c = ∫₀^∞ (1 − φ_c(t)) t/sinh(π t/2) dt, for ∫₀^∞ t/sinh(π t/2) dt = 1."""
        if self.second == 0.0:
            return 0.0
        t, weight, law = self._solution
        return float(weight @ ((1.0 - law) * t / np.sinh(0.5 * math.pi * t)))

    @cached_property
    def sech4(self) -> float:
        """E sech⁴ c = (1/π) ∫₀^∞ φ_c(t) π t (t² + 4)/(6 sinh(π t/2)) dt."""
        if self.second == 0.0:
            return 1.0
        t, weight, law = self._solution
        return float(weight @ (law * t * (t * t + 4.0) / (6.0 * np.sinh(0.5 * math.pi * t))))


def _series(second: float, fourth: float) -> Callable[[Array], Array]:
    """1 − E c² t²/2 + E c⁴ t⁴/24."""
    return lambda t: 1.0 - 0.5 * second * t**2 + fourth * t**4 / 24.0


class _LogGrid:
    """Gauss–Legendre nodes on panels in log t, with barycentric interpolation on each."""

    def __init__(self, start: float, stop: float, panels: int) -> None:
        self.start, self.step, self.panels = start, (stop - start) / panels, panels
        self.x, w = np.polynomial.legendre.leggauss(NODES)
        self.logs = (start + self.step * (np.arange(panels)[:, None] + 0.5 * (self.x + 1.0))).ravel()
        self.t, self.weight = np.exp(self.logs), np.tile(0.5 * self.step * w, panels)
        self.barycentric = (-1.0) ** np.arange(NODES) * np.sqrt((1.0 - self.x**2) * w)

    def averages(self, factors: Array, weights: Array, below: Callable[[Array], Array]) -> tuple[Array, Array]:
        """(M, m) with Σ_k w_k F(a_k t) = M F(grid) + m on the grid, for 0 < a_k ≤ 1; ``below`` gives F under the grid."""
        size = len(self.t)
        matrix, known = np.zeros((size, self.panels, NODES)), np.zeros(size)
        rows = np.arange(size)
        for factor, weight in zip(factors[weights > 1e-30], weights[weights > 1e-30], strict=True):
            place = (self.logs + math.log(max(factor, 1e-300)) - self.start) / self.step
            inside = place >= 0.0
            known[~inside] += weight * below(factor * self.t[~inside])
            panel = np.minimum(place[inside].astype(int), self.panels - 1)
            local = 2.0 * (place[inside] - panel) - 1.0
            distance = local[:, None] - self.x
            distance[distance == 0.0] = 1e-300
            terms = self.barycentric / distance
            matrix[rows[inside], panel] += weight * terms / terms.sum(1, keepdims=True)
        return matrix.reshape(size, -1), known
