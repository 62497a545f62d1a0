"""A double-descent curve of 18 widths from one factorisation on each side of the threshold, against one solve per width."""

from collections.abc import Callable

import numpy as np
from benchmarks.machine import Work
from benchmarks.scaling import Curve

from theodolite.data import digits
from theodolite.theory.generalization import double_descent, random_features

TITLE = "double descent: 18 widths up to 5n, n = 800 digits, ten outputs, against one least-squares solve per width"
TOLERANCE = 1e-9
GOALS = {"numpy.linalg.lstsq per width": 4.0}
RATIOS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.9875, 1.0125, 1.025, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0)


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    import torch

    n = 200 if quick else 800
    split = digits(n, dtype=torch.float64)
    train, test = (random_features(p.numpy(), 5 * n, kind="cosine", scale=0.5, generator=0) for p in (split.x, split.x_test))
    y, y_test = np.eye(10)[split.y], np.eye(10)[split.y_test]
    widths = [round(r * n) for r in RATIOS]

    def ours() -> np.ndarray:
        curve = double_descent(train, y, widths, test_features=test, test_y=y_test)
        return np.log(np.stack([curve.test_mse, curve.norm]))

    def per_width(solve: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        rows = []
        for width in widths:
            a = solve(train[:, :width])
            rows.append([((test[:, :width] @ a - y_test) ** 2).sum(1).mean(), np.linalg.norm(a)])
        return np.log(np.array(rows).T)

    def gelsd() -> np.ndarray:
        return per_width(lambda f: np.linalg.lstsq(f, y, rcond=None)[0])

    def gelsy() -> np.ndarray:
        from scipy.linalg import lstsq

        return per_width(lambda f: lstsq(f, y, lapack_driver="gelsy", check_finite=False)[0])

    def normal_equations() -> np.ndarray:
        def solve(f: np.ndarray) -> np.ndarray:
            wide = f.shape[1] > f.shape[0]
            return f.T @ np.linalg.solve(f @ f.T, y) if wide else np.linalg.solve(f.T @ f, f.T @ y)

        return per_width(solve)

    return {
        "theodolite": ours,
        "numpy.linalg.lstsq per width": gelsd,
        "scipy lstsq (gelsy) per width": gelsy,
        "normal equations per width": normal_equations,
    }


def floor(quick: bool) -> Work:
    """One n × n factorisation by reflections for the widths below the threshold, and the Gram matrix of the widest above it."""
    n = 200 if quick else 800
    return Work(flops=4 / 3 * n**3 + 5.0 * n**3)


def curves(quick: bool) -> list[Curve]:
    sizes = (50, 100, 200) if quick else (100, 200, 400, 800)

    def sweep(n: int) -> Callable[[], object]:
        rng = np.random.default_rng(0)
        f, y = rng.standard_normal((n, 5 * n)), rng.standard_normal((n, 10))
        widths = [round(r * n) for r in RATIOS]
        return lambda: double_descent(f, y, widths)

    return [Curve("double descent, 18 widths up to 5n", "n", sizes, 3, sweep)]
