"""The compiled loop of `gradient_descent`: explicit loops over points and coordinates, nothing allocated per step."""

from __future__ import annotations

import numpy as np

from theodolite.maths.compiled import compiled

__all__ = ["iterate"]

GD, SGD, MOMENTUM, ADAM, NORMALIZED = range(5)


@compiled
def _pull(margin: float, shift: float, logistic: bool) -> float:
    """−ℓ′(m) e^shift."""
    if not logistic:
        return np.exp(shift - margin)
    return np.exp(shift - margin) / (1 + np.exp(-margin)) if margin > 0 else np.exp(shift) / (1 + np.exp(margin))


@compiled
def _value(margin: float, shift: float, logistic: bool) -> float:
    """ℓ(m) e^shift."""
    if not logistic or margin > 37:
        return np.exp(shift - margin)
    if margin > 0:
        return np.log1p(np.exp(-margin)) * np.exp(shift)
    return (np.log1p(np.exp(margin)) - margin) * np.exp(shift)


@compiled
def _next_random(state: np.uint64) -> np.uint64:
    """One step of xorshift64 (Marsaglia)."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@compiled
def _shuffle(order: np.ndarray, state: np.uint64) -> np.uint64:
    """Fisher and Yates, in place; returns the generator's next state."""
    for i in range(len(order) - 1, 0, -1):
        state = _next_random(state)
        j = np.int64(state % np.uint64(i + 1))
        order[i], order[j] = order[j], order[i]
    return state


@compiled
def _push(z: np.ndarray, chosen: np.ndarray, w: np.ndarray, ratio: bool, logistic: bool, push: np.ndarray) -> None:
    """−∇L over the chosen points, divided by L if ``ratio``, into ``push``."""
    push[:] = 0.0
    shift = 0.0
    if ratio:  # numerator and denominator are scaled by e^(least margin), so that neither underflows
        shift = np.inf
        for i in chosen:
            shift = min(shift, _margin(z, i, w))
        shift = max(0.0, shift)
    value = 0.0
    for i in chosen:
        margin = _margin(z, i, w)
        weight = _pull(margin, shift, logistic)
        if ratio:
            value += _value(margin, shift, logistic)
        for c in range(len(w)):
            push[c] += weight * z[i, c]
    if ratio:
        for c in range(len(w)):
            push[c] /= value


@compiled
def _margin(z: np.ndarray, i: int, w: np.ndarray) -> float:
    total = 0.0
    for c in range(len(w)):
        total += z[i, c] * w[c]
    return total


@compiled
def iterate(
    z: np.ndarray,
    start: np.ndarray,
    marks: np.ndarray,
    rule: int,
    numbers: np.ndarray,
    logistic: bool,
    batch: int,
    seed: np.uint64,
) -> np.ndarray:
    """Weights ``(T, d)`` after ``marks`` steps; ``numbers`` holds η, β (β_1), β_2 and ε."""
    n, d = z.shape
    eta, beta_1, beta_2, eps = numbers
    w, push, first, second = start.copy(), np.zeros(d), np.zeros(d), np.zeros(d)
    order = np.arange(n)
    state = (seed + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)
    out = np.zeros((len(marks), d))
    step, low, high = 0, 0, n
    for mark in range(len(marks)):
        while step < marks[mark]:
            step += 1
            if rule == SGD:
                low = high
                if low >= n:
                    state, low = _shuffle(order, state), 0
                high = min(low + batch, n)
            _push(z, order[low:high], w, rule == NORMALIZED, logistic, push)
            for c in range(d):
                if rule == MOMENTUM:
                    first[c] = beta_1 * first[c] + eta * push[c]
                    w[c] += first[c]
                elif rule == ADAM:
                    first[c] = beta_1 * first[c] + (1 - beta_1) * push[c]
                    second[c] = beta_2 * second[c] + (1 - beta_2) * push[c] ** 2
                    root = np.sqrt(second[c] / (1 - beta_2**step)) + eps
                    if root > 0:
                        w[c] += eta * first[c] / (1 - beta_1**step) / root
                else:
                    w[c] += eta * push[c]
        for c in range(d):
            out[mark, c] = w[c]
    return out
