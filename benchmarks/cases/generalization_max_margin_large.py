"""The hard-margin separator without bias of 10⁴ points in 784 dimensions, to rounding, against scikit-learn's linear solver."""

from collections.abc import Callable

import numpy as np

from theodolite.theory.generalization import max_margin

TITLE = "maximum margin separator: 10⁴ points in 784 dimensions, 740 support vectors, KKT residual 1e-10, against scikit-learn"
#: scikit-learn stops at its own tolerance, far from rounding.
TOLERANCE = 1e-2


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    n, d = (1000, 80) if quick else (10_000, 784)
    rng = np.random.default_rng(0)
    direction = rng.normal(size=d) / d**0.5
    x = rng.normal(size=(n, d))
    y = np.sign(x @ direction)
    x += 0.5 * y[:, None] * direction

    def linear_svc() -> np.ndarray:
        from sklearn.svm import LinearSVC

        return LinearSVC(C=1e8, loss="hinge", fit_intercept=False, tol=1e-4, max_iter=10**5).fit(x, y).coef_[0]

    return {"theodolite": lambda: max_margin(x, y).w, "sklearn LinearSVC, tol 1e-4": linear_svc}
