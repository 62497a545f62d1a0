"""Double descent: minimum-norm (or ridge) least squares on the first N features, for all widths N at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.arrays import on_host
from theodolite.core.errors import ArgumentError
from theodolite.maths.nestedleastsquares import nested_least_squares
from theodolite.theory.generalization.predict.labelled import like

__all__ = ["DoubleDescent", "double_descent"]


@dataclass(frozen=True)
class DoubleDescent:
    """One double-descent curve; every array has one entry per width.

    Attributes:
        widths: number of features N.
        train_mse: mean over samples of the squared error, summed over outputs.
        test_mse: the same on the test points; None when none were given.
        norm: ‖a‖ (Frobenius, over all outputs) of the coefficients.
        rank: numerical rank of the N features on the training points; where it reaches n the data are interpolated.
        test_error: fraction of test points on the wrong side: largest output differs from the largest target, or, for one
            output, its sign from the target's; None without test points.
    """

    widths: Any
    train_mse: Any
    test_mse: Any
    norm: Any
    rank: Any
    test_error: Any

    @property
    def threshold(self) -> int | None:
        """The least width at which the rank is at its largest; None if that is the last width, so that it may still grow."""
        least = int(self.widths[self.rank == self.rank.max()].min())
        return None if least == int(self.widths.max()) else least


def double_descent(
    features: Any, y: Any, widths: Any, *, test_features: Any = None, test_y: Any = None, ridge: float = 0.0
) -> DoubleDescent:
    """Training and test error of least squares on the first N features, for each width N.

    The model of width N is the minimiser of ‖A_N a − y‖² + ridge·‖a‖² (of least norm when ridge = 0, as gradient descent from
    zero finds it), where A_N holds the first N columns of ``features``. Test error peaks where rank A_N reaches the number of
    samples, at N = n for features in general position, and falls again beyond. All widths come from one QR factorisation on
    each side of the threshold (`theodolite.maths.nestedleastsquares`), which stays accurate at it.

    Features may be complex (random Fourier features); if the targets are real the prediction is the real part of A_N a.

    Args:
        features: ``(n, N_max)`` real or complex.
        y: ``(n,)`` or ``(n, K)`` targets.
        widths: numbers of features, each in 1…N_max, in any order.
        test_features: ``(m, N_max)``.
        test_y: ``(m,)`` or ``(m, K)``.
        ridge: λ ≥ 0, added to the *summed* squared error as λ‖a‖².

    Returns:
        `DoubleDescent`; arrays are torch tensors when an argument is one.

    Raises:
        ArgumentError: shapes that do not match, widths out of range, a negative ridge, non-finite entries.

    Cost: 2n²·N_max flops once, then O((n + m)·N·K) per width.

    Reference: belkin2019 §2 (min-norm random features), hastie2022 (ridge).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> beta = rng.normal(size=80) / 80**0.5
        >>> x, x_test = rng.normal(size=(40, 80)), rng.normal(size=(500, 80))
        >>> curve = double_descent(x, x @ beta, [20, 40, 80], test_features=x_test, test_y=x_test @ beta)
        >>> bool(curve.test_mse[1] > 5 * curve.test_mse[0]), bool(curve.test_mse[2] < curve.test_mse[0]), curve.threshold
        (True, True, 40)
    """
    train, targets = _matrix(features, "features"), _targets(y, "y")
    if len(train) != len(targets):
        raise ArgumentError(f"features and y must have one row per sample, got {len(train)} and {len(targets)} rows")
    order = _widths(widths, train.shape[1])
    penalty = _penalty(ridge)
    test = _test_set(test_features, test_y, train, targets)
    real = not np.iscomplexobj(targets)
    rows: dict[int, tuple[float, float, float, int, float]] = {}
    for solution in nested_least_squares(train, targets, sorted(set(order)), ridge=penalty):
        a = solution.coefficients
        mse, _ = _errors(train[:, : solution.width] @ a, targets, real)
        test_mse, test_error = (np.nan, np.nan) if test is None else _errors(test[0][:, : solution.width] @ a, test[1], real)
        rows[solution.width] = (mse, test_mse, float(np.linalg.norm(a)), solution.rank, test_error)
    given = (features, y, test_features, test_y)
    columns = [np.array(column) for column in zip(*(rows[w] for w in order), strict=True)]
    train_mse, test_mse_, norm, rank, error = (like(c, *given) for c in columns)
    if test is None:
        test_mse_ = error = None
    return DoubleDescent(like(np.array(order), *given), train_mse, test_mse_, norm, rank, error)


def _penalty(ridge: Any) -> float:
    try:
        number = float(ridge)
    except (TypeError, ValueError):
        raise ArgumentError(f"ridge must be a number, got {ridge!r}") from None
    if not (number >= 0 and np.isfinite(number)):
        raise ArgumentError(f"ridge must be at least 0 and finite, got {ridge!r}; 0 is least squares of least norm")
    return number


def _errors(prediction: np.ndarray, targets: np.ndarray, real: bool) -> tuple[float, float]:
    """Squared error summed over outputs, and fraction of wrong classes, both averaged over samples."""
    if real:
        prediction = prediction.real
    mse = float((np.abs(prediction - targets) ** 2).sum(axis=1).mean())
    if prediction.shape[1] == 1:
        return mse, float(np.mean(np.sign(prediction.real) != np.sign(targets.real)))
    return mse, float(np.mean(prediction.real.argmax(axis=1) != targets.real.argmax(axis=1)))


def _matrix(value: Any, name: str) -> np.ndarray:
    """A finite matrix in double precision, real or complex."""
    array = np.asarray(on_host(value))
    if array.ndim != 2 or array.size == 0:
        raise ArgumentError(f"{name} must be a non-empty matrix (samples, features), got shape {array.shape}")
    array = array.astype(np.complex128 if np.iscomplexobj(array) else np.float64, copy=False)
    if not np.isfinite(array).all():
        raise ArgumentError(f"{name} must be finite, got a NaN or infinity in row {int(np.argwhere(~np.isfinite(array))[0][0])}")
    return array


def _targets(value: Any, name: str) -> np.ndarray:
    array = np.asarray(on_host(value))
    if array.ndim not in (1, 2):
        raise ArgumentError(f"{name} must have shape (n,) or (n, K), got {array.shape}; pass class labels as one-hot rows")
    return _matrix(array.reshape(len(array), -1), name)


def _test_set(features: Any, y: Any, train: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    if features is None and y is None:
        return None
    if features is None or y is None:
        missing = "test_features" if features is None else "test_y"
        raise ArgumentError(f"test_features and test_y come together, but {missing} is missing")
    points, answers = _matrix(features, "test_features"), _targets(y, "test_y")
    if points.shape[1] != train.shape[1] or answers.shape[1] != targets.shape[1] or len(points) != len(answers):
        raise ArgumentError(
            f"the test set must have {train.shape[1]} features and {targets.shape[1]} outputs for each of its points, "
            f"got shapes {points.shape} and {answers.shape}"
        )
    return points, answers


def _widths(widths: Any, most: int) -> list[int]:
    listed = np.atleast_1d(np.asarray(on_host(widths)))
    whole = listed.ndim == 1 and listed.size > 0 and np.issubdtype(listed.dtype, np.number)
    if not whole or np.any(listed != np.floor(listed)):
        raise ArgumentError(f"widths must be whole numbers, got {widths!r}")
    outside = listed[(listed < 1) | (listed > most)]
    if outside.size:
        raise ArgumentError(f"widths must lie in 1…{most}, the number of features given, got {outside[:5].tolist()}")
    return [int(w) for w in listed]
