"""Where gradient descent on separable data goes, and how fast: the constants of Soudry et al."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.errors import ArgumentError, NumericalError, TheodoliteWarning
from theodolite.theory.generalization.predict.labelled import as_matrix, folded, like, positive
from theodolite.theory.generalization.predict.max_margin import folded_margin

__all__ = ["ImplicitBias", "implicit_bias_constants"]


@dataclass(frozen=True)
class ImplicitBias:
    """Limits of w(t) = ŵ log t + w̃ + o(1), where ŵ is the maximum-margin separator.

    Attributes:
        loss_times_t: lim L(t)·t = ‖ŵ‖²/η, for the loss summed over samples.
        angle_times_log_t: lim ∠(w(t), ŵ)·log t = ‖P w̃‖/‖ŵ‖ with P the projection off ŵ; zero when w̃ is parallel to ŵ, and
            then the angle decays like t^(−r)/log t with r = ``transverse_rate`` or faster.
        margin_gap_times_log_t: lim (1/‖ŵ‖ − min_n y_n w·x_n/‖w‖)·log t = (ŵ·w̃/‖ŵ‖² − min_S y_n x_n·w̃)/‖ŵ‖.
        w_hat: ``(d,)``, ŵ.
        w_tilde: ``(d,)``, the limit w̃ of w(t) − ŵ log t.
        transverse_rate: least eigenvalue of Σ_S α_n x_n x_nᵀ on the part of the support vectors' span that is orthogonal to ŵ:
            there, small deviations from w̃ decay like t^(−transverse_rate). Infinite when that part is empty.
        next_margin_rate: θ − 1 with θ = min y_n ŵ·x_n off the support: the pull of the other points decays like t^(−θ)·dt, so
            what they do to w − ŵ log t decays like t^(1−θ). Infinite when all points are support vectors.
    """

    loss_times_t: float
    angle_times_log_t: float
    margin_gap_times_log_t: float
    w_hat: Any
    w_tilde: Any
    transverse_rate: float
    next_margin_rate: float


def implicit_bias_constants(x: Any, y: Any, learning_rate: float, w0: Any = None) -> ImplicitBias:
    """Limit constants of gradient descent with the logistic or exponential loss, summed over samples, on separable data.

    With S the support vectors of the maximum-margin separator ŵ, gradient descent (or the flow dw/dt = −η∇L) has
    w(t) = ŵ log t + w̃ + o(1), where w̃ in the span of S solves η Σ_S exp(−y_n x_n·w̃) y_n x_n = ŵ, that is
    η exp(−y_n x_n·w̃) = α_n. It is the minimiser of the convex ŵ·w̃ + η Σ_S exp(−y_n x_n·w̃), found by Newton's method. Hence
    L·t → ‖ŵ‖²/η, and angle and margin gap decay like 1/log t with the constants returned. The loss's tail alone matters, so
    logistic and exponential loss share all limits. ``learning_rate`` must be below 2/(β σ_max²(x)) for the discrete algorithm.

    Orthogonal to all points w stays at w0. Orthogonal to S, but not to all points, the limit depends on the whole trajectory;
    that part is taken from the gradient flow started at w0 with the logistic loss, and a warning says so.

    Args:
        x: ``(N, d)`` points.
        y: ``(N,)`` labels, −1 or +1.
        learning_rate: η > 0, the step of gradient descent (the rate of the flow).
        w0: ``(d,)``, start; zero when omitted.

    Returns:
        `ImplicitBias`.

    Raises:
        NotSeparableError: no homogeneous separator exists; with a certificate.
        NumericalError: a point on the margin has multiplier zero, so that w − ŵ log t has no limit (it grows like log log t).
        ArgumentError: a learning rate that is not positive, or bad data.

    Warns:
        TheodoliteWarning: the support vectors do not span the data.

    Cost: that of `theodolite.theory.generalization.max_margin`, and O(|S| d²) per Newton step.

    Reference: soudry2018 Thm 3, Thm 4 (for the rates), §5 for their proof; the constants follow from its Eq. 5.

    Example:
        >>> bias = implicit_bias_constants([[1.0, 0.3], [0.2, 1.5], [2.0, 2.0]], [1, 1, 1], learning_rate=0.2)
        >>> round(bias.loss_times_t, 6)
        5.015432
    """
    eta = positive(learning_rate, "learning_rate")
    z = folded(x, y)
    start = np.zeros(z.shape[1]) if w0 is None else as_matrix(w0, "w0", ndim=1)
    if len(start) != z.shape[1]:
        raise ArgumentError(f"w0 must have one entry per coordinate of x ({z.shape[1]}), got {len(start)}")
    svm = folded_margin(z, z, np.asarray(y.tolist() if hasattr(y, "tolist") else y))
    w_hat, support = svm.w, z[svm.support]
    basis = _span(support)
    inner = _fixed_point(support @ basis, w_hat @ basis, eta)
    w_tilde = basis @ inner + _off_support(z, start, basis, eta)
    length2 = float(w_hat @ w_hat)
    transverse = w_tilde - w_hat * (w_hat @ w_tilde) / length2
    theta = np.delete(z @ w_hat, svm.support)
    return ImplicitBias(
        loss_times_t=length2 / eta,
        angle_times_log_t=float(np.linalg.norm(transverse)) / length2**0.5,
        margin_gap_times_log_t=float((w_hat @ w_tilde) / length2 - (support @ w_tilde).min()) / length2**0.5,
        w_hat=like(w_hat, x, y),
        w_tilde=like(w_tilde, x, y),
        transverse_rate=_transverse_rate(support @ basis, w_hat @ basis, inner, eta),
        next_margin_rate=float(theta.min()) - 1 if len(theta) else float("inf"),
    )


def _span(rows: np.ndarray) -> np.ndarray:
    """Orthonormal basis ``(d, r)`` of the span of the rows."""
    _, s, vh = np.linalg.svd(rows, full_matrices=False)
    return vh[s > 1e-10 * s[0]].T


def _fixed_point(support: np.ndarray, w_hat: np.ndarray, eta: float) -> np.ndarray:
    """Minimiser of ŵ·v + η Σ exp(−z·v) in the coordinates of the span, by Newton's method with step halving."""
    length = float(np.linalg.norm(w_hat))
    # In units of the margin, z ‖ŵ‖ and v/‖ŵ‖, everything at the minimum is of order one: Σ rate exp(−z·v) = 1.
    z, direction, rate = support * length, w_hat / length, eta / length**2
    v = direction * np.log(rate * len(z))  # all exponentials equal, as z·direction = 1

    def value(at: np.ndarray) -> float:
        with np.errstate(over="ignore"):
            return float(direction @ at + rate * np.exp(-z @ at).sum())

    for _ in range(500):
        pull = rate * np.exp(-z @ v)
        if pull.min() < 1e-12 * pull.max():
            break
        gradient = direction - z.T @ pull
        step = -np.linalg.lstsq((z.T * pull) @ z, gradient, rcond=None)[0]
        decrease, size = -float(gradient @ step), 1.0  # the squared Newton decrement
        if decrease <= 1e-20:  # one more step squares the error of 1e-10
            return (v + step) * length
        while decrease > 1e-12 and value(v + size * step) > value(v) - 0.25 * size * decrease:
            size /= 2
        v = v + size * step
    raise NumericalError(
        "w(t) − ŵ log t has no limit on these data: a point lies on the margin with multiplier zero (a coincidence of measure "
        "zero), so the residual grows like log log t; move one of the support vectors"
    )


def _off_support(z: np.ndarray, start: np.ndarray, basis: np.ndarray, eta: float) -> np.ndarray:
    """The limit's component off the span of the support vectors."""
    outside = start - basis @ (basis.T @ start)
    reach = z - (z @ basis) @ basis.T
    if np.linalg.norm(reach) <= 1e-10 * np.linalg.norm(z):
        return outside
    from theodolite.theory.generalization.predict.flow import follow

    warnings.warn(
        "the support vectors do not span the data, so the part of w̃ off their span depends on the whole trajectory; it is that "
        "of the gradient flow with the logistic loss, which the discrete algorithm follows only up to its step",
        TheodoliteWarning,
        stacklevel=3,
    )
    w = follow(z, start, np.array([1e12, 1e30]), eta=eta, loss="logistic")[-1]
    return w - basis @ (basis.T @ w)


def _transverse_rate(support: np.ndarray, w_hat: np.ndarray, inner: np.ndarray, eta: float) -> float:
    """Least eigenvalue of η Σ exp(−z·w̃) z zᵀ orthogonal to ŵ (coordinates of the span)."""
    if len(w_hat) == 1:
        return float("inf")
    alpha = eta * np.exp(-support @ inner)
    # ŵ is an eigenvector (eigenvalue 1, as z·ŵ = 1 and Σ α z = ŵ), so the others are those of the projected matrix.
    q = np.linalg.svd(w_hat[None])[2][1:].T
    return float(np.linalg.eigvalsh((q.T @ (support.T * alpha)) @ (support @ q))[0])
