"""The flow u′ = P_u ∂Φ for a kinked Φ of order one (ReLU and its kin), followed exactly from event to event.

Between kinks D(u) = ∇Φ is constant, and the orbit is the great circle from u towards D/|D|. The hyperplane u·x_i = 0 is a valley
if y_i (right + left) > 0, which the flow leaves, or a ridge, across which it passes or along which it slides: there the slopes
θ_i of the ridges in contact take the values between the two sides that make the velocity least (the Filippov solution of a
concave function). A sliding orbit is again a great circle, in the intersection of its ridges. So an orbit is a finite list of
arcs, and its end a local maximum, exact up to rounding.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["follow"]

#: Angles and slopes below this are zero: rounding after some hundred arcs.
TINY = 1e-11

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


@compiled
def follow(starts: Any, x: Any, y: Any, left: float, right: float, most_events: int) -> Any:
    """End points of the flow and whether each is a maximum that was reached.

    Args:
        starts: (S, D) unit vectors.
        x: (n, D) inputs with the bias folded in.
        y: (n,) weights.
        left: coefficient of φ on the left: φ(z) = left·(−z)₊ + right·z₊.
        right: coefficient on the right.
        most_events: arcs after which a start is given up.

    Returns:
        (S, D) end points and (S,) 1 where a maximum was reached, 0 where the field vanished, −1 where it was given up.
    """
    count = len(x)
    ends = np.empty_like(starts)
    status = np.empty(len(starts), dtype=np.int64)
    scale = 0.0
    for i in range(count):
        scale = max(scale, abs(y[i]) * np.sqrt(np.sum(x[i] ** 2)))
    scale *= max(abs(left), abs(right))
    for s in range(len(starts)):
        u = starts[s].copy()
        side = np.where(x @ u >= 0.0, 1.0, -1.0)
        contact = np.zeros(count, dtype=np.bool_)
        status[s] = -1
        for _ in range(most_events):
            velocity, field = slide(u, x, y, left, right, side, contact, scale)
            speed = np.sqrt(np.sum(velocity**2))
            if speed <= TINY * scale:
                status[s] = 1 if np.sqrt(np.sum(field**2)) > TINY * scale else 0
                break
            direction = velocity / speed
            # The arc ends at the maximum of (u cos t + direction sin t)·field, unless a kink comes before.
            arc = np.arctan2(np.sum(field * direction), np.sum(field * u))
            hit = -1
            values, rates = x @ u, x @ direction
            for i in range(count):
                if contact[i]:
                    continue
                z, rate = side[i] * values[i], side[i] * rates[i]
                if rate >= 0.0 and z <= 0.0:  # just left, or rounding beside its kink: it moves inward
                    continue
                t = 0.0 if z <= 0.0 else np.arctan2(z, -rate)
                if t < arc:
                    arc, hit = t, i
            u = np.cos(arc) * u + np.sin(arc) * direction
            u /= np.sqrt(np.sum(u**2))
            if hit < 0:
                continue  # at the maximum of this arc: the next velocity is zero, or the ridges are left
            if y[hit] * (right + left) < 0.0:
                contact[hit] = True
            else:
                side[hit] = -side[hit]
        ends[s] = u
    return ends, status


@compiled
def slide(u: Any, x: Any, y: Any, left: float, right: float, side: Any, contact: Any, scale: float) -> Any:
    """Velocity P_u ∂Φ and the effective field; ridges that are left lose their contact and get their side.

    The slopes of the ridges in contact minimise |P_u (D_0 + Σ c_i x_i)|² over the box between the slopes of the two sides.
    """
    count, dimension = len(x), x.shape[1]
    touched = np.flatnonzero(contact)
    weights = np.zeros(count)
    for i in range(count):
        if not contact[i]:
            weights[i] = y[i] * (right if side[i] > 0.0 else -left) / count
    field = weights @ x
    if len(touched) > 0:
        ridge = x[touched]
        first, second = y[touched] * right / count, -y[touched] * left / count
        low, high = np.minimum(first, second), np.maximum(first, second)
        c = box_least_squares(ridge, field - np.sum(field * u) * u, low, high)
        for k in range(len(touched)):
            i = touched[k]
            at_low, at_high = c[k] <= low[k], c[k] >= high[k]
            if at_low or at_high:
                contact[i] = False
                bound = low[k] if at_low else high[k]
                side[i] = 1.0 if bound == first[k] else -1.0
                c[k] = bound
            for d in range(dimension):
                field[d] += c[k] * x[i, d]
    return field - np.sum(field * u) * u, field


@compiled
def box_least_squares(rows: Any, target: Any, low: Any, high: Any) -> Any:
    """c in [low, high] that minimises |target + rowsᵀ c|: active set, started by coordinate descent."""
    size = len(rows)
    gram = rows @ rows.T
    load = rows @ target
    c = np.minimum(np.maximum(np.zeros(size), low), high)
    for _ in range(60):
        for k in range(size):
            slope = load[k] + np.sum(gram[k] * c)
            c[k] = min(max(c[k] - slope / gram[k, k], low[k]), high[k])
    for _ in range(4 * size + 4):
        free = np.flatnonzero((c > low) & (c < high))
        if len(free) > 0:
            solution = -load[free]
            small = np.empty((len(free), len(free)))
            for a in range(len(free)):
                for k in range(size):
                    if not (low[k] < c[k] < high[k]):
                        solution[a] -= gram[free[a], k] * c[k]
                for b in range(len(free)):
                    small[a, b] = gram[free[a], free[b]]
                small[a, a] *= 1.0 + 1e-14
            solution = np.linalg.solve(small, solution)
            # Step to the solution, or as far as the box allows.
            share = 1.0
            for a in range(len(free)):
                move = solution[a] - c[free[a]]
                if move > 0.0:
                    share = min(share, (high[free[a]] - c[free[a]]) / move)
                elif move < 0.0:
                    share = min(share, (low[free[a]] - c[free[a]]) / move)
            for a in range(len(free)):
                k = free[a]
                c[k] += share * (solution[a] - c[k])
                if share < 1.0 and (c[k] - low[k] < 1e-14 * (high[k] - low[k])):
                    c[k] = low[k]
                if share < 1.0 and (high[k] - c[k] < 1e-14 * (high[k] - low[k])):
                    c[k] = high[k]
            if share < 1.0:
                continue
        worst, excess = -1, 1e-13 * np.sqrt(np.sum(target**2))
        for k in range(size):
            slope = (load[k] + np.sum(gram[k] * c)) / np.sqrt(gram[k, k])
            if c[k] <= low[k] and -slope > excess:
                worst, excess = k, -slope
            if c[k] >= high[k] and slope > excess:
                worst, excess = k, slope
        if worst < 0:
            break
        c[worst] += 1e-9 * (high[worst] - low[worst]) * (1.0 if c[worst] <= low[worst] else -1.0)
    return c
