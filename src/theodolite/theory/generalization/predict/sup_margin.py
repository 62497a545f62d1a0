"""The maximum-margin separator in the sup-norm geometry: where Adam goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from theodolite.core.errors import NumericalError
from theodolite.theory.generalization.predict.labelled import folded, like
from theodolite.theory.generalization.predict.max_margin import max_margin

__all__ = ["sup_margin"]


def sup_margin(x: Any, y: Any) -> Any:
    """The separator of least sup-norm, min ‖w‖_∞ subject to y_n w·x_n ≥ 1.

    Adam (with negligible ε) and sign descent move every coordinate at the same speed, and converge in direction to a maximum
    margin separator of the ℓ∞ geometry, not to the ℓ2 one of gradient descent. When several w have the least sup-norm the one
    that the linear program ends at is returned.

    Args:
        x: ``(N, d)`` points.
        y: ``(N,)`` labels, −1 or +1.

    Returns:
        ``(d,)``, w; the ℓ∞ margin is 1/‖w‖_∞.

    Raises:
        NotSeparableError: with a certificate.
        ArgumentError: bad data, or one class only.

    Cost: one linear program with d + 1 variables and N + 2d constraints.

    Reference: zhang2024adam.

    Example:
        >>> sup_margin([[1.0, 0.3], [-0.2, -1.5]], [1, -1]).round(6).tolist()
        [0.769231, 0.769231]
    """
    from scipy.optimize import linprog

    z = folded(x, y)
    max_margin(x, y)  # refuses data that are not separable, with their certificate, and a single class
    n, d = z.shape
    eye = np.eye(d)
    bounds = np.block([[-z, np.zeros((n, 1))], [eye, -np.ones((d, 1))], [-eye, -np.ones((d, 1))]])
    right = np.concatenate([-np.ones(n), np.zeros(2 * d)])
    solved = linprog(np.append(np.zeros(d), 1.0), A_ub=bounds, b_ub=right, bounds=(None, None), method="highs")
    if not solved.success:
        raise NumericalError(f"the linear program of the sup-norm margin failed: {solved.message}")
    return like(solved.x[:d], x, y)
