"""Double descent: least squares on N random features for all N, and the fitted function at each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from theodolite.report.explorer.parameters import Choice, Field, Number, Whole
from theodolite.report.explorer.payload import rounded

__all__ = ["CURVE", "curve"]

CURVE: dict[str, Field] = {
    "data": Choice(("sine", "digits"), "sine"),
    "kind": Choice(("cosine", "relu", "erf"), "cosine"),
    "samples": Whole(8, 200, 20),
    "noise": Number(0.0, 1.0, 0.2),
    "ridge": Number(0.0, 100.0, 0.0),
    "seed": Whole(0, 99, 0),
}

#: N/n at which errors are computed: closer together around the threshold.
RATIOS = (
    *(0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.75),
    *(2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0),
)
#: Greatest number of features, and of samples of one input.
MOST, MOST_ON_A_LINE = 3000, 60
#: Repetitions of the curve, and test points.
SETTINGS = {"sine": (8, 200), "digits": (3, 400)}
#: Scale of the random directions on sin 2πx per sample: features about as wide as the samples are apart, so that they can
#: interpolate with moderate coefficients; much wider ones would make the peak a matter of rounding. For digits it is 0.5.
SCALES = {"cosine": 0.5, "relu": 0.25, "erf": 0.25}
#: Test images shown.
IMAGES = 12


def curve(data: str, kind: str, samples: int, noise: float, ridge: float, seed: int) -> dict[str, Any]:
    """Training and test errors against N, over some repetitions, with the fits of the first repetition.

    Args:
        data: ``sine`` (y = sin 2πx plus noise, one input) or ``digits`` (ten classes as one-hot rows).
        kind: of the random features.
        samples: n.
        noise: standard deviation of the noise on y; for digits the fraction of labels that are replaced.
        ridge: λ of the penalty λ‖a‖² on the summed squared error.
        seed: of everything.
    """
    from theodolite.core.errors import ArgumentError
    from theodolite.core.seed import child_seed
    from theodolite.theory.generalization import double_descent, random_features

    if data == "sine" and samples > MOST_ON_A_LINE:
        raise ArgumentError(
            f"samples must be at most {MOST_ON_A_LINE} for data='sine', got {samples}: on a line more of them only make the problem "
            "ill-conditioned; take data='digits'"
        )
    repetitions, _ = SETTINGS[data]
    scale = SCALES[kind] * samples if data == "sine" else 0.5
    widths = sorted({max(1, round(r * samples)) for r in RATIOS if r * samples <= MOST})
    columns: dict[str, list[np.ndarray]] = {"train": [], "test": [], "norm": [], "error": []}
    shown: dict[str, Any] = {}
    for repetition in range(repetitions):
        source = child_seed(seed, "explorer.descent", repetition)
        x, y, x_test, y_test = (_sine if data == "sine" else _digits)(samples, noise, source)
        train, test = (
            random_features(points, widths[-1], kind=kind, scale=scale, generator=source % 2**31) for points in (x, x_test)
        )
        found = double_descent(train, y, widths, test_features=test, test_y=y_test, ridge=ridge)
        for name, values in zip(columns, (found.train_mse, found.test_mse, found.norm, found.test_error), strict=True):
            columns[name].append(values)
        if repetition == 0:
            shown = _shown(data, (x, y, x_test, y_test), (train, test), widths, ridge)
    curves: dict[str, Any] = {}
    for name, values in columns.items():
        stack = np.array(values)
        curves[name] = {"median": rounded(np.median(stack, 0)), "low": rounded(stack.min(0)), "high": rounded(stack.max(0))}
    return {
        "widths": widths,
        "samples": samples,
        "repetitions": repetitions,
        **curves,
        "shown": shown,
        "python": _code(data, kind, samples, noise, ridge),
    }


def _sine(samples: int, noise: float, seed: int) -> tuple[np.ndarray, ...]:
    """Jittered samples on [−1, 1], as (x, 1), so that relu and erf features have their kinks and steps off the origin."""
    source = np.random.default_rng(seed)
    x = (2 * np.arange(samples) + 1 + source.uniform(-0.5, 0.5, samples)) / samples - 1
    grid = np.linspace(-1, 1, SETTINGS["sine"][1])
    y = np.sin(2 * math.pi * x) + noise * source.normal(size=samples)
    return np.stack([x, np.ones(samples)], 1), y, np.stack([grid, np.ones(len(grid))], 1), np.sin(2 * math.pi * grid)


def _digits(samples: int, noise: float, seed: int) -> tuple[np.ndarray, ...]:
    from theodolite.data import digits

    split = digits(samples, seed % 2**31)
    count = SETTINGS["digits"][1]
    source = np.random.default_rng(seed)
    labels = split.y.numpy().copy()
    replaced = source.permutation(samples)[: round(noise * samples)]
    labels[replaced] = source.integers(0, 10, len(replaced))
    pixels = (part.double().numpy() for part in (split.x, split.x_test[:count]))
    x, x_test = pixels
    return x, np.eye(10)[labels], x_test, np.eye(10)[split.y_test[:count].numpy()]


def _shown(data: str, sets: tuple[np.ndarray, ...], features: tuple[Any, Any], widths: list[int], ridge: float) -> dict[str, Any]:
    """The fits of one repetition: functions on the grid, or predicted classes of some test images."""
    from theodolite.maths.nestedleastsquares import nested_least_squares

    x, y, x_test, y_test = sets
    train, test = features
    fits = [
        test[:, : solution.width] @ solution.coefficients
        for solution in nested_least_squares(train, y.reshape(len(y), -1), widths, ridge=ridge)
    ]
    if data == "sine":
        return {
            "x": rounded(x[:, 0], 4),
            "y": rounded(y, 4),
            "grid": rounded(x_test[:, 0], 4),
            "truth": rounded(y_test, 4),
            "fits": [rounded(fit[:, 0], 4) for fit in fits],
        }
    return {
        "images": np.round(x_test[:IMAGES] * 16).astype(int),
        "labels": y_test[:IMAGES].argmax(1),
        "predicted": [fit[:IMAGES].argmax(1) for fit in fits],
    }


def _code(data: str, kind: str, samples: int, noise: float, ridge: float) -> str:
    if data == "digits":
        return (
            "import theodolite as td\n\n"
            f'record = td.reproduce("generalization.double_descent_features", kinds=("{kind}",), samples={samples}, test_samples=400,\n'
            f"                      label_noise=({noise!r},), ridges=({ridge!r},), seeds=2)\n"
            'record.figure().savefig("double_descent.pdf")\n'
        )
    return (
        "import numpy as np\nimport theodolite as td\n\n"
        f"source, n = np.random.default_rng(0), {samples}\n"
        "x = (2 * np.arange(n) + 1 + source.uniform(-0.5, 0.5, n)) / n - 1\ngrid = np.linspace(-1, 1, 200)\n"
        f"y = np.sin(2 * np.pi * x) + {noise!r} * source.normal(size=n)\n"
        "train, test = (td.generalization.random_features(np.stack([p, np.ones(len(p))], 1), 30 * n,\n"
        f'               kind="{kind}", scale={SCALES[kind]!r} * n, generator=0) for p in (x, grid))\n'
        "widths = np.unique(np.geomspace(1, 30 * n, 50).astype(int))\n"
        f"curve = td.generalization.double_descent(train, y, widths, ridge={ridge!r},\n"
        "                                         test_features=test, test_y=np.sin(2 * np.pi * grid))\n"
        "print(curve.widths, curve.test_mse.round(4), curve.threshold)\n"
    )
