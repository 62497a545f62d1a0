"""Training of a model with a constant tangent kernel, in closed form: every time from one eigen-decomposition.

For the loss ½‖f − y‖² gradient flow gives ḟ = −η Θ (f − y), so with E = exp(−η Θ t) (gradient descent: E = (I − η Θ)^t)

    f_t(X) = y + E (f₀(X) − y),        f_t(x) = f₀(x) + Θ(x, X) Θ⁻¹ (I − E) (y − f₀(X)).

Θ is never inverted: (1 − e^{−ηλt})/λ is evaluated per eigenvalue by expm1, with its limit η t at λ = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from theodolite.core.arrays import as_float64, as_given, on_host
from theodolite.core.errors import ArgumentError, NumericalError

__all__ = ["Dynamics", "critical_learning_rate", "flat_kernel", "training_dynamics", "unit_roundoff"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dynamics:
    """Outputs of a model with constant kernel during training.

    Attributes:
        train: outputs on the training inputs, shaped as ``y``; one leading dimension for several t.
        test: outputs on the test inputs, or None.
        mean: mean over random initialisations (test inputs where given, else training inputs), or None without NNGP kernels.
        covariance: their covariance, ``(M, M)`` per time, or None.
    """

    train: Any
    test: Any = None
    mean: Any = None
    covariance: Any = None

    def __repr__(self) -> str:
        parts = [f"{n}{np.shape(v)}" for n in ("train", "test", "mean", "covariance") if (v := getattr(self, n)) is not None]
        return f"Dynamics({', '.join(parts)})"


def flat_kernel(kernel: Any, name: str) -> Array:
    """A kernel as a matrix: ``(N1, N2)`` as it is, ``(N1, N2, K, K)`` as ``(N1 · K, N2 · K)``."""
    array = on_host(as_float64(kernel, name))
    if array.ndim == 4:
        rows, columns, k, k2 = array.shape
        return np.ascontiguousarray(array.transpose(0, 2, 1, 3)).reshape(rows * k, columns * k2)
    if array.ndim != 2:
        raise ArgumentError(f"{name} must be (N1, N2) or (N1, N2, K, K), got shape {array.shape}")
    return array


def unit_roundoff(kernel: Any) -> float:
    """Relative rounding of a kernel's entries: that of the precision in which they are given, at least that of float64.

    Example:
        >>> unit_roundoff(np.eye(2, dtype=np.float32)) == 2.0**-23, unit_roundoff([[1.0]]) == 2.0**-52
        (True, True)
    """
    name = str(getattr(kernel, "dtype", "")).removeprefix("torch.")
    return {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23}.get(name, 2.0**-52)


class _Modes:
    """Eigenmodes of Θ with the decay E and its integral (1 − E)/λ at any time."""

    def __init__(self, kernel: Array, rate: float, method: str, unit: float) -> None:
        if kernel.shape[0] != kernel.shape[1]:
            raise ArgumentError(f"kernel_train must be square, got {kernel.shape}")
        gap = float(np.abs(kernel - kernel.T).max()) if kernel.size else 0.0
        if gap > max(1e-8, 16 * unit) * float(np.abs(kernel).max()):
            raise ArgumentError(f"kernel_train must be symmetric, got an asymmetry of {gap:.2e}")
        values, self.vectors = np.linalg.eigh(0.5 * (kernel + kernel.T))
        largest, lowest = float(np.abs(values).max()), float(values.min())
        if lowest < -max(1e-6, 8 * len(values) * unit) * largest:
            raise ArgumentError(
                f"kernel_train must be positive semidefinite, got an eigenvalue {lowest:.3g} beside {largest:.3g}"
            )
        # A negative eigenvalue shows how large the noise of the kernel's entries is.
        resolution = max(len(values) * unit * largest, -lowest)
        # Eigenvalues below the resolution are zero: their modes are not trained in any finite time.
        self.values = np.where(values > resolution, values, 0.0)
        self.rate, self.method = rate, method

    def decay(self, t: float) -> Array:
        """Eigenvalues of E."""
        x = self.rate * self.values
        if self.method == "flow":
            return np.where(x > 0, np.exp(-np.where(x > 0, x, 1.0) * t), 1.0)
        if math.isinf(t):
            if float(x.max()) >= 2.0:
                raise NumericalError(
                    f"gradient descent diverges: learning_rate · λ_max = {float(x.max()):.4g} ≥ 2; "
                    f"use learning_rate < {2 * self.rate / float(x.max()):.4g}"
                )
            return np.where(x > 0, 0.0, 1.0)
        return np.power(1.0 - x, t)

    def gain(self, t: float) -> Array:
        """Eigenvalues of Θ⁻¹ (I − E)."""
        positive = self.values > 0
        safe = np.where(positive, self.values, 1.0)
        x = self.rate * safe
        if math.isinf(t):
            self.decay(t)  # refuses a diverging step
            return np.where(positive, 1.0 / safe, 0.0)
        if self.method == "flow":
            done = -np.expm1(-x * t)
        else:
            small = x < 0.5  # there 1 − (1 − x)^t cancels
            done = np.where(small, -np.expm1(t * np.log1p(-np.where(small, x, 0.0))), 1.0 - np.power(1.0 - x, t))
        return np.where(positive, done / safe, self.rate * t)


def critical_learning_rate(kernel: Any) -> float:
    """Largest stable step of gradient descent on ½‖f − y‖², η_crit = 2 / λ_max(Θ); the fastest step is 2 / (λ_min + λ_max).

    Args:
        kernel: ``(N, N)`` or ``(N, N, K, K)``.

    Returns:
        η_crit.

    Cost: O(N³).

    Reference: lee2019.

    Example:
        >>> critical_learning_rate([[2.0, 0.0], [0.0, 1.0]])
        1.0
    """
    return 2.0 / float(np.linalg.eigvalsh(flat_kernel(kernel, "kernel"))[-1])


def training_dynamics(
    kernel_train: Any,
    y: Any,
    *,
    kernel_test: Any = None,
    f0: Any = None,
    f0_test: Any = None,
    learning_rate: float = 1.0,
    t: Any,
    method: Literal["flow", "gd"] = "flow",
    nngp_train: Any = None,
    nngp_test: Any = None,
    nngp_test_test: Any = None,
) -> Dynamics:
    """Outputs at time t of a model with constant tangent kernel trained on ½‖f − y‖² (summed, not averaged).

    f_t(X) = y + E (f₀ − y) and f_t(x) = f₀(x) + Θ(x, X) Θ⁻¹ (I − E)(y − f₀), with E = e^{−ηΘt} for gradient flow and (I − ηΘ)^t
    for gradient descent. With NNGP kernels K also the Gaussian of f_t over random initialisations (where E f₀ = 0): mean
    Θ(T,X) Θ⁻¹ (I − E) y and covariance K(T,T) + A K(X,X) Aᵀ − A K(X,T) − K(T,X) Aᵀ with A = Θ(T,X) Θ⁻¹ (I − E).

    Args:
        kernel_train: Θ(X, X), ``(N, N)``, or ``(N, N, K, K)`` for all pairs of outputs.
        y: targets ``(N,)`` or ``(N, K)``; an ``(N, N)`` kernel acts on each column.
        kernel_test: Θ(T, X), ``(M, N)`` or ``(M, N, K, K)``: test inputs first.
        f0: outputs at time 0 on the training inputs, shaped as ``y``; default zeros.
        f0_test: outputs at time 0 on the test inputs; default zeros.
        learning_rate: η, for the loss summed over samples.
        t: a time (steps for ``"gd"``), or several; infinity gives the end of training.
        method: ``"flow"`` or ``"gd"``.
        nngp_train: K(X, X), for the ensemble.
        nngp_test: K(T, X).
        nngp_test_test: K(T, T).

    Returns:
        `Dynamics`; numpy unless torch is given, then on the device of the first tensor.

    Raises:
        ArgumentError: shapes that do not fit, a kernel that is not symmetric positive semidefinite, negative t, fractional steps.
        NumericalError: t = ∞ with a diverging step.

    Cost: O(N³) once, O(N² + M N) per time.

    Reference: lee2019 eqs. (8)-(11), (14)-(16).

    Example:
        >>> training_dynamics([[2.0]], [1.0], t=[0.0, np.inf]).train.tolist()
        [[0.0], [1.0]]
    """
    times = _times(t, method, learning_rate)
    _check_companions(kernel_test, f0_test, nngp_train, nngp_test, nngp_test_test)
    modes = _Modes(flat_kernel(kernel_train, "kernel_train"), float(learning_rate), method, unit_roundoff(kernel_train))
    size = len(modes.values)
    targets = on_host(as_float64(y, "y"))
    columns = _columns(targets, size, "y")
    start = np.zeros_like(columns) if f0 is None else _columns(on_host(as_float64(f0, "f0")), size, "f0")
    if start.shape != columns.shape:
        raise ArgumentError(f"f0 must have the shape of y, {targets.shape}, got {start.shape}")
    error = modes.vectors.T @ (start - columns)  # per mode
    shape = targets.shape
    train = np.stack([(columns + modes.vectors @ (modes.decay(s)[:, None] * error)).reshape(shape) for s in times])
    test = mean = covariance = None
    cross = None
    if kernel_test is not None:
        across = flat_kernel(kernel_test, "kernel_test")
        if across.shape[1] != size:
            raise ArgumentError(f"kernel_test must be (M, N) with N = {size} columns (test inputs first), got {across.shape}")
        cross = across @ modes.vectors
        test_shape = (cross.shape[0], *shape[1:]) if columns.shape[1] == int(np.prod(shape[1:])) else (-1, *shape[1:])
        base = np.zeros((cross.shape[0], columns.shape[1]))
        if f0_test is not None:
            base = _columns(on_host(as_float64(f0_test, "f0_test")), cross.shape[0], "f0_test")
        test = np.stack([(base - cross @ (modes.gain(s)[:, None] * error)).reshape(test_shape) for s in times])
    if nngp_train is not None:
        blocks = [None if b is None else flat_kernel(b, n) for b, n in _named(nngp_train, nngp_test, nngp_test_test)]
        mean, covariance = _ensemble(modes, columns, cross, blocks, times)
        mean = mean.reshape(len(times), -1, *shape[1:])
    single = np.ndim(t) == 0
    given = (kernel_train, y)
    pick = [None if r is None else as_given(_torch(r[0] if single else r), *given) for r in (train, test, mean, covariance)]
    return Dynamics(*pick)


def _times(t: Any, method: str, learning_rate: float) -> np.ndarray:
    """One or several times as a vector, with the method and rate by which they count checked too."""
    if method not in ("flow", "gd"):
        raise ArgumentError(f"method must be 'flow' or 'gd', got {method!r}")
    if not 0 < learning_rate < math.inf:
        raise ArgumentError(f"learning_rate must be positive and finite, got {learning_rate}")
    times = np.atleast_1d(np.asarray(on_host(t), dtype=np.float64))
    if times.ndim != 1 or times.size == 0 or not (times >= 0).all():
        raise ArgumentError(f"t must be one or several times ≥ 0, got {t}")
    if method == "gd" and (times[np.isfinite(times)] % 1 != 0).any():
        raise ArgumentError(f"t must count whole steps for method='gd', got {t}")
    return times


def _check_companions(kernel_test: Any, f0_test: Any, nngp_train: Any, nngp_test: Any, nngp_test_test: Any) -> None:
    """Refuse arguments that would be ignored for want of another."""
    if f0_test is not None and kernel_test is None:
        raise ArgumentError("kernel_test Θ(T, X) must be given with f0_test: test outputs move by it")
    alone = [n for n, value in (("nngp_test", nngp_test), ("nngp_test_test", nngp_test_test)) if value is not None]
    if alone and (nngp_train is None or kernel_test is None):
        raise ArgumentError(f"nngp_train K(X, X) and kernel_test Θ(T, X) must be given with {' and '.join(alone)}")


def _torch(array: Array) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))


def _columns(values: Array, size: int, name: str) -> Array:
    """``(N,)``, ``(N, K)`` acted on column by column, or the N · K rows of a full kernel, as ``(size, columns)``."""
    if values.ndim >= 1 and values.shape[0] == size:
        return values.reshape(size, -1)
    if values.size == size:
        return values.reshape(size, 1)
    raise ArgumentError(f"{name} must have {size} rows or entries to fit the kernel, got shape {values.shape}")


def _named(train: Any, test: Any, both: Any) -> list[tuple[Any, str]]:
    return [(train, "nngp_train"), (test, "nngp_test"), (both, "nngp_test_test")]


def _ensemble(modes: _Modes, y: Array, cross: Array | None, nngp: list[Any], times: Array) -> tuple[Array, Array]:
    """Mean and covariance over initialisations at each time."""
    train, test, both = nngp
    if cross is None:  # on the training inputs f_t − y = E (f₀ − y)
        rotated = modes.vectors.T @ train @ modes.vectors
        means, covariances = [], []
        for s in times:
            e = modes.decay(s)
            means.append(modes.vectors @ ((1.0 - e)[:, None] * (modes.vectors.T @ y)))
            covariances.append(modes.vectors @ (e[:, None] * rotated * e) @ modes.vectors.T)
        return np.stack(means), np.stack(covariances)
    if test is None or both is None:
        raise ArgumentError("nngp_test K(T, X) and nngp_test_test K(T, T) must be given with nngp_train and kernel_test")
    means, covariances = [], []
    for s in times:
        a = (cross * modes.gain(s)) @ modes.vectors.T  # Θ(T,X) Θ⁻¹ (I − E)
        mixed = a @ test.T
        means.append(a @ y)
        covariances.append(both + a @ train @ a.T - mixed - mixed.T)
    return np.stack(means), np.stack(covariances)
