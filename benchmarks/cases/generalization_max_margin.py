"""The hard-margin separator without bias, to rounding, against general solvers."""

from collections.abc import Callable

import numpy as np

from theodolite.theory.generalization import max_margin

TITLE = "maximum margin separator: 500 points in 30 dimensions, KKT residual 1e-10, against scikit-learn and SLSQP"
#: scikit-learn's solvers stop at their own tolerance, far from rounding.
TOLERANCE = 1e-3


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    n, d = (100, 10) if quick else (500, 30)
    rng = np.random.default_rng(0)
    direction = rng.normal(size=d) / d**0.5
    x = rng.normal(size=(n, d))
    y = np.sign(x @ direction)
    x += 0.5 * y[:, None] * direction
    z = x * y[:, None]

    def svc() -> np.ndarray:
        from sklearn.svm import SVC

        # Mirrored points make the bias zero.
        found = SVC(kernel="linear", C=1e8, tol=1e-6).fit(np.vstack([z, -z]), np.repeat([1, -1], n))
        return found.coef_[0]

    def linear_svc() -> np.ndarray:
        from sklearn.svm import LinearSVC

        found = LinearSVC(C=1e8, loss="hinge", fit_intercept=False, tol=1e-8, max_iter=10**6).fit(x, y)
        return found.coef_[0]

    def slsqp() -> np.ndarray:
        from scipy.optimize import minimize

        constraint = {"type": "ineq", "fun": lambda w: z @ w - 1, "jac": lambda w: z}
        start = direction / (z @ direction).min()
        return minimize(lambda w: w @ w / 2, start, jac=lambda w: w, constraints=constraint, options={"ftol": 1e-12}).x

    return {"theodolite": lambda: max_margin(x, y).w, "sklearn SVC": svc, "sklearn LinearSVC": linear_svc, "scipy SLSQP": slsqp}
