"""The hard-margin separator without bias, to rounding, against general solvers."""

from collections.abc import Callable

import numpy as np
from benchmarks.machine import Work

from theodolite.theory.generalization import max_margin

TITLE = "maximum margin separator: 500 points in 30 dimensions, KKT residual 1e-10, against scikit-learn and SLSQP"
#: scikit-learn's solvers stop at their own tolerance, far from rounding.
TOLERANCE = 1e-3


def separable(n: int, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gaussian points moved apart along a direction, their labels, and the direction."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=d) / d**0.5
    x = rng.normal(size=(n, d))
    y = np.sign(x @ direction)
    return x + 0.5 * y[:, None] * direction, y, direction


def linear_svc(x: np.ndarray, y: np.ndarray, tol: float, max_iter: int) -> np.ndarray:
    """scikit-learn's linear solver, without a bias."""
    from sklearn.svm import LinearSVC

    return LinearSVC(C=1e8, loss="hinge", fit_intercept=False, tol=tol, max_iter=max_iter).fit(x, y).coef_[0]


def sizes(quick: bool) -> tuple[int, int]:
    """Points and dimensions."""
    return (100, 10) if quick else (500, 30)


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    n, d = sizes(quick)
    x, y, direction = separable(n, d)
    z = x * y[:, None]

    def svc() -> np.ndarray:
        from sklearn.svm import SVC

        # Mirrored points make the bias zero.
        found = SVC(kernel="linear", C=1e8, tol=1e-6).fit(np.vstack([z, -z]), np.repeat([1, -1], n))
        return found.coef_[0]

    def slsqp() -> np.ndarray:
        from scipy.optimize import minimize

        constraint = {"type": "ineq", "fun": lambda w: z @ w - 1, "jac": lambda w: z}
        start = direction / (z @ direction).min()
        return minimize(lambda w: w @ w / 2, start, jac=lambda w: w, constraints=constraint, options={"ftol": 1e-12}).x

    return {
        "theodolite": lambda: max_margin(x, y).w,
        "sklearn SVC": svc,
        "sklearn LinearSVC": lambda: linear_svc(x, y, 1e-8, 10**6),
        "scipy SLSQP": slsqp,
    }


def floor(quick: bool) -> Work:
    """The margins of all points, once: what a check of the result costs."""
    n, d = sizes(quick)
    return Work(flops=2.0 * n * d, traffic=8.0 * n * d)
