"""The compiled loop of the dual coordinate ascent that guesses the support of the maximum-margin separator."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["ascend"]


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def ascend(z: np.ndarray, norms2: np.ndarray, rounds: int, tolerance: float) -> np.ndarray:
    """Multipliers ``(N,)`` after dual coordinate ascent: each in turn to its best value ≥ 0, in rounds of one sweep over all
    points and twenty over those that carry; until no constraint is violated, and none of the carriers slack, by ``tolerance``.
    """
    n, d = z.shape
    alpha, w = np.zeros(n), np.zeros(d)
    carriers = np.zeros(n, np.int64)
    for _ in range(rounds):
        worst, count = 0.0, 0
        for sweep in range(21):
            for k in range(n if sweep == 0 else count):
                i = k if sweep == 0 else carriers[k]
                slack = -1.0
                for c in range(d):
                    slack += z[i, c] * w[c]
                if sweep == 0 and (slack < 0 or alpha[i] > 0):
                    worst = max(worst, abs(slack))
                change = max(-alpha[i], -slack / norms2[i])
                if change != 0.0:
                    alpha[i] += change
                    for c in range(d):
                        w[c] += change * z[i, c]
                if sweep == 0 and alpha[i] > 0:
                    carriers[count] = i
                    count += 1
        if worst <= tolerance:
            break
    return alpha
