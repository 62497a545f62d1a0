"""Exact evaluation of one-dimensional piecewise-linear two-layer networks by sorted breakpoints, O(m log m + N) a network."""

from __future__ import annotations

import numpy as np

from theodolite.maths.compiled import compiled

__all__ = ["PIECES", "sorted_outputs"]

#: Activation -> (slope and value at −∞: σ(z) = slope z + offset + Σ change_r (z − kink_r)₊, kinks, changes of slope).
PIECES: dict[str, tuple[float, float, tuple[float, ...], tuple[float, ...]]] = {
    "relu": (0.0, 0.0, (0.0,), (1.0,)),
    "leaky_relu": (0.01, 0.0, (0.0,), (0.99,)),
    "abs": (-1.0, 0.0, (0.0,), (2.0,)),
    "hardtanh": (0.0, -1.0, (-1.0, 1.0), (1.0, -1.0)),
    "identity": (1.0, 0.0, (), ()),
}


def sorted_outputs(activation: str, w: np.ndarray, b: np.ndarray, a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Σ_k a_k σ(w_k x + b_k) in float64 for every network and point.

    Between breakpoints the function is affine; its slope and intercept are running sums of the neurons that are active there, those
    with w > 0 summed from the left and those with w < 0 from the right, so that no neuron is ever subtracted again. The absolute
    error is a few roundings of Σ|a_k|(|w_k x| + |b_k| + 1).

    Args:
        activation: a name in `PIECES`.
        w: (E, m).
        b: (E, m).
        a: (E, m).
        x: (N,), in any order.

    Returns:
        (E, N).

    Example:
        >>> one = np.ones((1, 1))
        >>> sorted_outputs("relu", one, 0 * one, 2 * one, np.array([3.0, -1.0])).tolist()
        [[6.0, 0.0]]
    """
    slope, offset, kinks, changes = PIECES[activation]
    pieces = (slope, offset, np.array(kinks), np.array(changes))
    x = np.asarray(x, np.float64)
    order = np.argsort(x, kind="stable")
    result = np.empty((w.shape[0], x.size))
    neurons = tuple(np.ascontiguousarray(v, np.float64) for v in (w, b, a))
    _sweep(pieces, neurons, x[order], order, result)
    return result


@compiled
def _sweep(pieces, neurons, x, order, result):
    """Outputs of every network at ascending points, each to its place in the order given."""
    slope, offset, kinks, changes = pieces
    w, b, a = neurons
    members, width = w.shape
    place, steep, level = np.empty((2, width * kinks.size)), np.empty((2, width * kinks.size)), np.empty((2, width * kinks.size))
    for e in range(members):
        base_slope, base_level = 0.0, 0.0
        right, left = 0, 0
        for k in range(width):
            base_slope += a[e, k] * slope * w[e, k]
            base_level += a[e, k] * (slope * b[e, k] + offset)
            for r in range(kinks.size):
                z, change = b[e, k] - kinks[r], a[e, k] * changes[r]
                if w[e, k] > 0.0:
                    place[0, right], steep[0, right], level[0, right] = -z / w[e, k], change * w[e, k], change * z
                    right += 1
                elif w[e, k] < 0.0:
                    place[1, left], steep[1, left], level[1, left] = -z / w[e, k], change * w[e, k], change * z
                    left += 1
                else:
                    base_level += change * max(z, 0.0)
        # Left to right: neurons with w > 0 switch on.
        sequence = np.argsort(place[0, :right])
        rise, height, used = base_slope, base_level, 0
        for i in range(x.size):
            while used < right and place[0, sequence[used]] < x[i]:
                rise += steep[0, sequence[used]]
                height += level[0, sequence[used]]
                used += 1
            result[e, order[i]] = rise * x[i] + height
        # Right to left: neurons with w < 0 switch on.
        sequence = np.argsort(place[1, :left])
        rise, height, used = 0.0, 0.0, left - 1
        for i in range(x.size - 1, -1, -1):
            while used >= 0 and place[1, sequence[used]] > x[i]:
                rise += steep[1, sequence[used]]
                height += level[1, sequence[used]]
                used -= 1
            result[e, order[i]] += rise * x[i] + height
