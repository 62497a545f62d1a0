"""Gradient flow of a linear classifier, dw/dt = −η Σ_n ∇ℓ(y_n w·x_n), in logarithmic time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.arrays import on_host
from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.theory.generalization.predict.labelled import as_matrix, folded, like, positive

__all__ = ["GradientFlow", "follow", "gradient_flow", "log_loss"]

LOSSES = ("logistic", "exponential")

#: Least relative tolerance that the integrator keeps.
FINEST = 100 * float(np.finfo(np.float64).eps)

#: Largest logarithm of a force that is formed.
MOST = 600.0


@dataclass(frozen=True)
class GradientFlow:
    """A trajectory of the gradient flow.

    Attributes:
        times: the times asked for.
        w: ``(T, d)``, the weights.
        log_loss: ``(T,)``, log of the loss summed over samples (the loss itself underflows beyond t = 1e308).
    """

    times: Any
    w: Any
    log_loss: Any

    @property
    def loss(self) -> Any:
        """``(T,)``, the loss summed over samples."""
        return np.exp(self.log_loss) if isinstance(self.log_loss, np.ndarray) else self.log_loss.exp()


def gradient_flow(
    x: Any, y: Any, times: Any, *, loss: str = "logistic", rate: float = 1.0, w0: Any = None, rtol: float = 1e-10
) -> GradientFlow:
    """The flow dw/dt = −rate·∇ Σ_n ℓ(y_n w·x_n) at the given times, to t = 1e100 and beyond.

    In s = log(1 + t/τ), with τ the time scale of the first motion, dw/ds = −(t + τ) rate ∇L(w) stays of order one for ever on
    separable data (w ≈ ŵ log t), while its transverse part is stiff; a variable-order BDF integrator with the analytic
    Jacobian then needs a few hundred steps per hundred decades. (t + τ)·exp(−margin) is formed as one exponential, so nothing
    overflows; times beyond 1e308 may be given as Python integers. The flow moves in the span of the points; orthogonal to it w
    stays at w0.

    This is the flow, not gradient descent: from the same start the two differ by O(η) in the first steps, which the limits
    forget only in the span of the support vectors. For gradient descent at astronomic times, take some real steps first and
    start the flow from there.

    Args:
        x: ``(N, d)`` points.
        y: ``(N,)`` labels, −1 or +1; separability is not required.
        times: ``(T,)`` non-negative, increasing.
        loss: ``"logistic"``, log(1 + e^(−m)), or ``"exponential"``, e^(−m); summed over samples.
        rate: multiplies the gradient; the learning rate of the gradient descent that the flow stands for.
        w0: ``(d,)``, start; zero when omitted.
        rtol: relative tolerance of the integrator, below 1 and at least 2.3e-14.

    Returns:
        `GradientFlow`; arrays are torch tensors when x or y is one.

    Raises:
        ArgumentError: bad data, times, loss name, rate or rtol.
        NumericalError: the integrator stopped; with its reason.

    Cost: a few hundred to a few thousand evaluations of O(N r) with r = rank of x, and as many solves of O(r³) at most.

    Reference: soudry2018 (the flow's limits); hairer1996 for stiff integration.

    Example:
        >>> flow = gradient_flow([[1.0, 0.3], [0.2, 1.5]], [1, 1], [1e3, 1e100], rate=0.5)
        >>> (flow.loss * flow.times).round(4).tolist()                  # → ‖ŵ‖²/rate = 2.0062
        [2.016, 2.0062]
    """
    z = folded(x, y)
    start = np.zeros(z.shape[1]) if w0 is None else as_matrix(w0, "w0", ndim=1)
    if len(start) != z.shape[1]:
        raise ArgumentError(f"w0 must have one entry per coordinate of x ({z.shape[1]}), got {len(start)}")
    if loss not in LOSSES:
        raise ArgumentError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    eta, tolerance = positive(rate, "rate"), positive(rtol, "rtol")
    if not FINEST <= tolerance < 1:
        raise ArgumentError(f"rtol must be below 1 and at least {FINEST:.2g}, which rounding allows, got {rtol!r}")
    logs = _log_times(times)
    w = follow(z, start, logs, eta=eta, loss=loss, rtol=tolerance, logarithmic=True)
    asked = like(np.array([float(t) if t < 1e308 else np.inf for t in _listed(times)]), x, y)
    return GradientFlow(asked, like(w, x, y), like(log_loss(w @ z.T, loss), x, y))


def log_loss(margins: np.ndarray, loss: str) -> np.ndarray:
    """log Σ_n ℓ(m_n) over the last axis, without underflow.

    Example:
        >>> float(log_loss(np.array([800.0, 900.0]), "logistic"))
        -800.0
    """
    from scipy.special import logsumexp

    return np.asarray(logsumexp(-margins if loss == "exponential" else _log_softplus(-margins), axis=-1))


def _log_softplus(u: np.ndarray) -> np.ndarray:
    """log log(1 + e^u): u for u → −∞, where log1p would underflow."""
    return np.where(u < -37, u, np.log(np.logaddexp(0.0, np.maximum(u, -37.0))))


def _listed(times: Any) -> list[Any]:
    times = on_host(times)
    if isinstance(times, np.ndarray):
        times = times.ravel().tolist()
    listed = list(times) if isinstance(times, Sequence) else [times]
    return [t.item() if hasattr(t, "item") and np.ndim(t) == 0 else t for t in listed]


def _log_times(times: Any) -> np.ndarray:
    """log t for every time; Python integers may exceed the range of floats."""
    listed = _listed(times)
    if not listed:
        raise ArgumentError("times must not be empty; pass the times at which the flow is wanted")
    for t in listed:
        if not isinstance(t, (int, float)) or not t >= 0 or (isinstance(t, float) and math.isinf(t)):
            raise ArgumentError(f"times must be finite and non-negative, got {t!r}; beyond 1e308 pass Python integers")
    logs = np.array([math.log(t) if t > 0 else -np.inf for t in listed])
    if any(b < a for a, b in itertools.pairwise(logs)):
        raise ArgumentError(f"times must increase, got {listed[:8]}; sort them")
    return logs


def follow(
    z: np.ndarray, start: np.ndarray, times: np.ndarray, *, eta: float, loss: str, rtol: float = 1e-10, logarithmic: bool = False
) -> np.ndarray:
    """The flow on folded points, ``(T, d)``; ``times`` are their logarithms if ``logarithmic``.

    Example:
        >>> follow(np.eye(1), np.zeros(1), np.array([0.0, 1.0]), eta=1.0, loss="exponential").round(6).tolist()
        [[0.0], [0.693147]]
    """
    with np.errstate(divide="ignore"):
        logs = times if logarithmic else np.log(times)
    _, sigma, vh = np.linalg.svd(z, full_matrices=False)
    basis = vh[sigma > 1e-13 * max(sigma[0], 1e-300)].T  # (d, r): the flow stays in start + span of the points
    if basis.shape[1] == 0:
        return np.tile(start, (len(logs), 1))
    # Time of the first motion; the force of the exponential loss on misclassified points makes it shorter.
    log_tau = -math.log(eta) - 2 * math.log(sigma[0]) + (min(0.0, float((z @ start).min())) if loss == "exponential" else 0.0)
    marks = np.logaddexp(0.0, logs - log_tau)  # s = log(1 + t/τ), so that t + τ = τ e^s
    inner = _integrate(z @ basis, z @ start, marks, math.log(eta) + log_tau, loss, rtol)
    return start + inner @ basis.T


def _integrate(points: np.ndarray, offsets: np.ndarray, marks: np.ndarray, log_rate: float, loss: str, rtol: float) -> np.ndarray:
    """Displacements v(s), ``(T, r)``, with v(0) = 0 and dv/ds = Σ e^(s + log_rate) (−ℓ′(m_n)) p_n, m = offsets + points·v."""
    from scipy.integrate import LSODA

    logistic = loss == "logistic"

    def log_pull(s: float, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        margins = offsets + points @ v
        logs = s + log_rate - (np.logaddexp(0.0, margins) if logistic else margins)
        # Only a trial step, or data that are not separable long after convergence, come near the range of floats: a common
        # factor then leaves the direction, and the equilibrium, as they are.
        return margins, logs - max(0.0, float(logs.max()) - MOST)

    def slope(s: float, v: np.ndarray) -> np.ndarray:
        return np.exp(log_pull(s, v)[1]) @ points

    def jacobian(s: float, v: np.ndarray) -> np.ndarray:
        margins, logs = log_pull(s, v)
        # −ℓ″/ℓ′ is 1 for the exponential loss and 1 − σ(−m) = σ(m) for the logistic one.
        weights = np.exp(logs - np.logaddexp(0.0, -margins)) if logistic else np.exp(logs)
        return -(points.T * weights) @ points

    solver = LSODA(slope, 0.0, np.zeros(points.shape[1]), float(marks[-1]), rtol=rtol, atol=rtol * 1e-2, jac=jacobian)
    out = np.zeros((len(marks), points.shape[1]))
    done = int(np.searchsorted(marks, 0.0, side="right"))
    while done < len(marks):
        message = solver.step()
        if solver.status == "failed":
            raise NumericalError(f"the flow could not be integrated beyond log(1 + t/τ) = {solver.t:.3g}: {message}")
        reached = int(np.searchsorted(marks, solver.t, side="right"))
        if reached > done:
            out[done:reached] = solver.dense_output()(marks[done:reached]).T
            done = reached
    return out
