"""Real discrete algorithms on a linear classifier: gradient descent, SGD, momentum, Adam and normalised gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.arrays import on_host
from theodolite.core.errors import ArgumentError, NumericalError, unknown
from theodolite.theory.generalization.predict.flow import LOSSES, log_loss
from theodolite.theory.generalization.predict.labelled import as_matrix, folded, like, positive

__all__ = ["OPTIMIZERS", "Descent", "Optimizer", "gradient_descent"]

#: Names of the algorithms.
OPTIMIZERS = ("gd", "sgd", "momentum", "adam", "normalized")


@dataclass(frozen=True)
class Optimizer:
    """A first-order algorithm for the loss summed over samples.

    Attributes:
        name: ``gd``: w ← w − η∇L. ``sgd``: the sum over a batch, drawn without replacement epoch by epoch. ``momentum``:
            v ← βv − η∇L, w ← w + v (heavy ball). ``adam``: with bias correction. ``normalized``: w ← w − η∇L/L.
        momentum: β of ``momentum``, β_1 of ``adam``.
        beta_2: of ``adam``.
        eps: of ``adam``, added to the root; with 0 the step never stalls however small the gradient.
        batch_size: of ``sgd``.
        seed: of the order in which ``sgd`` visits the samples.
    """

    name: str = "gd"
    momentum: float = 0.9
    beta_2: float = 0.999
    eps: float = 1e-8
    batch_size: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise unknown("optimizer", self.name, OPTIMIZERS)
        if not (0 <= self.momentum < 1 and 0 <= self.beta_2 < 1):
            raise ArgumentError(f"momentum and beta_2 must lie in [0, 1), got {self.momentum} and {self.beta_2}")
        if self.eps < 0 or self.batch_size < 1:
            raise ArgumentError(f"eps must be ≥ 0 and batch_size ≥ 1, got {self.eps} and {self.batch_size}")


@dataclass(frozen=True)
class Descent:
    """Iterates of a discrete algorithm.

    Attributes:
        steps: the numbers of steps asked for.
        w: ``(T, d)``, the weights after so many steps.
        log_loss: ``(T,)``, log of the loss summed over samples.
    """

    steps: Any
    w: Any
    log_loss: Any

    @property
    def loss(self) -> Any:
        """``(T,)``, the loss summed over samples."""
        return np.exp(self.log_loss) if isinstance(self.log_loss, np.ndarray) else self.log_loss.exp()


def gradient_descent(
    x: Any,
    y: Any,
    steps: Any,
    optimizer: str | Optimizer = "gd",
    *,
    learning_rate: float | None = None,
    loss: str = "logistic",
    w0: Any = None,
) -> Descent:
    """Iterates w_t of a first-order algorithm on Σ_n ℓ(y_n w·x_n), exactly as the algorithm says, at the steps asked for.

    Args:
        x: ``(N, d)`` points.
        y: ``(N,)`` labels, −1 or +1.
        steps: increasing numbers of steps ≥ 0, as in ``log_spaced(8).looks(10**6)``.
        optimizer: a name among `OPTIMIZERS` or an `Optimizer`.
        learning_rate: η; 1/σ_max(x) when omitted, the choice of Soudry et al.
        loss: ``"logistic"`` or ``"exponential"``.
        w0: ``(d,)``, start; zero when omitted.

    Returns:
        `Descent`; arrays are torch tensors when x or y is one.

    Raises:
        ArgumentError: bad data, steps, loss or learning rate.
        UnknownNameError: no such optimizer.
        NumericalError: the iterates left the range of floats.

    Cost: O(N d) per step, compiled: about 0.1 µs for a dozen points in the plane.

    Reference: soudry2018 §2 and Fig. 1; nacson2019 for normalised steps; kingma2015 for Adam.

    Example:
        >>> run = gradient_descent([[1.0, 0.3], [0.2, 1.5]], [1, 1], [0, 1], learning_rate=1.0)
        >>> run.w.tolist()
        [[0.0, 0.0], [0.6, 0.9]]
    """
    z = folded(x, y)
    start = np.zeros(z.shape[1]) if w0 is None else as_matrix(w0, "w0", ndim=1)
    if len(start) != z.shape[1]:
        raise ArgumentError(f"w0 must have one entry per coordinate of x ({z.shape[1]}), got {len(start)}")
    rule = Optimizer(optimizer) if isinstance(optimizer, str) else optimizer
    if loss not in LOSSES:
        raise ArgumentError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    eta = 1 / float(np.linalg.norm(z, 2)) if learning_rate is None else positive(learning_rate, "learning_rate")
    if rule.batch_size > len(z):
        raise ArgumentError(f"batch_size must be at most the number of points {len(z)}, got {rule.batch_size}")
    marks = _marks(steps)
    numbers = np.array([eta, rule.momentum, rule.beta_2, rule.eps])
    from theodolite.theory.generalization.construct.descent_kernel import iterate

    w = iterate(z, start, marks, OPTIMIZERS.index(rule.name), numbers, loss == "logistic", rule.batch_size, np.uint64(rule.seed))
    if not np.isfinite(w).all():
        first = int(marks[int(np.argmin(np.isfinite(w).all(axis=1)))])
        raise NumericalError(f"{rule.name} left the range of floats by step {first}; lower learning_rate = {eta:.3g}")
    return Descent(like(marks, x, y), like(w, x, y), like(log_loss(w @ z.T, loss), x, y))


def _marks(steps: Any) -> np.ndarray:
    marks = np.asarray(on_host(steps)).ravel()
    if marks.size == 0 or not np.issubdtype(marks.dtype, np.integer) or marks[0] < 0 or np.any(np.diff(marks) < 0):
        raise ArgumentError(f"steps must be increasing integers ≥ 0, got {marks[:8].tolist()}")
    return marks.astype(np.int64)
