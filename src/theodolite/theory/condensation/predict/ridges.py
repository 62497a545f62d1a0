"""The flow u′ = P_u ∂Φ for a kinked Φ of order one (ReLU and its kin), followed exactly from event to event.

Between kinks D(u) = ∇Φ is constant, and the orbit is the great circle from u towards D/|D|. The hyperplane u·x_i = 0 is a valley
if y_i (right + left) > 0, which the flow leaves, or a ridge, across which it passes or along which it slides: there the slopes
θ_i of the ridges in contact take the values between the two sides that make the velocity least (the Filippov solution of a
concave function). A sliding orbit is again a great circle, in the intersection of its ridges. So an orbit is a finite list of
arcs, and its end a local maximum, exact up to rounding.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from theodolite.maths.compiled import compiled

__all__ = ["follow"]

#: Angles and slopes below this are zero: rounding after some hundred arcs.
TINY = 1e-11

# Loops and no array expressions: those take most of half a minute to compile.


@compiled
def dot(a: Any, b: Any) -> Any:
    """Σ_k a_k b_k."""
    total = 0.0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


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
    count, dimension = len(x), x.shape[1]
    ends = np.empty_like(starts)
    status = np.empty(len(starts), dtype=np.int64)
    scale = 0.0
    for i in range(count):
        scale = max(scale, abs(y[i]) * math.sqrt(dot(x[i], x[i])))
    scale *= max(abs(left), abs(right))
    side, contact = np.empty(count), np.empty(count, dtype=np.bool_)
    velocity, field = np.empty(dimension), np.empty(dimension)
    for s in range(len(starts)):
        u = ends[s]
        for d in range(dimension):
            u[d] = starts[s, d]
        for i in range(count):
            side[i] = 1.0 if dot(x[i], u) >= 0.0 else -1.0
            contact[i] = False
        status[s] = -1
        for _ in range(most_events):
            slide(u, x, y, left, right, side, contact, velocity, field)
            speed = math.sqrt(dot(velocity, velocity))
            if speed <= TINY * scale:
                status[s] = 1 if math.sqrt(dot(field, field)) > TINY * scale else 0
                break
            for d in range(dimension):
                velocity[d] /= speed
            # The arc ends at the maximum of (u cos t + velocity sin t)·field, unless a kink comes before.
            arc, hit = math.atan2(dot(field, velocity), dot(field, u)), -1
            for i in range(count):
                if contact[i]:
                    continue
                z, rate = side[i] * dot(x[i], u), side[i] * dot(x[i], velocity)
                if rate >= 0.0 and z <= 0.0:  # just left, or rounding beside its kink: it moves inward
                    continue
                t = 0.0 if z <= 0.0 else math.atan2(z, -rate)
                if t < arc:
                    arc, hit = t, i
            length = 0.0
            for d in range(dimension):
                u[d] = math.cos(arc) * u[d] + math.sin(arc) * velocity[d]
                length += u[d] * u[d]
            for d in range(dimension):
                u[d] /= math.sqrt(length)
            if hit < 0:
                continue  # at the maximum of this arc: the next velocity is zero, or the ridges are left
            if y[hit] * (right + left) < 0.0:
                contact[hit] = True
            else:
                side[hit] = -side[hit]
    return ends, status


@compiled
def slide(u: Any, x: Any, y: Any, left: float, right: float, side: Any, contact: Any, velocity: Any, field: Any) -> None:
    """Velocity P_u ∂Φ and the effective field, written in place; ridges that are left lose their contact and get their side.

    The slopes of the ridges in contact minimise |P_u (D_0 + Σ c_i x_i)|² over the box between the slopes of the two sides.
    """
    count, dimension = len(x), x.shape[1]
    touching = 0
    for d in range(dimension):
        field[d] = 0.0
    for i in range(count):
        if contact[i]:
            touching += 1
            continue
        weight = y[i] * (right if side[i] > 0.0 else -left) / count
        for d in range(dimension):
            field[d] += weight * x[i, d]
    if touching > 0:
        touched, ridge = np.empty(touching, dtype=np.int64), np.empty((touching, dimension))
        low, high, target = np.empty(touching), np.empty(touching), np.empty(dimension)
        k = 0
        for i in range(count):
            if contact[i]:
                touched[k] = i
                first, second = y[i] * right / count, -y[i] * left / count
                low[k], high[k] = min(first, second), max(first, second)
                for d in range(dimension):
                    ridge[k, d] = x[i, d]
                k += 1
        along = dot(field, u)
        for d in range(dimension):
            target[d] = field[d] - along * u[d]
        c = box_least_squares(ridge, target, low, high)
        for k in range(touching):
            i = touched[k]
            at_low, at_high = c[k] <= low[k], c[k] >= high[k]
            if at_low or at_high:
                contact[i] = False
                c[k] = low[k] if at_low else high[k]
                side[i] = 1.0 if c[k] == y[i] * right / count else -1.0
            for d in range(dimension):
                field[d] += c[k] * x[i, d]
    along = dot(field, u)
    for d in range(dimension):
        velocity[d] = field[d] - along * u[d]


@compiled
def box_least_squares(rows: Any, target: Any, low: Any, high: Any) -> Any:
    """c in [low, high] that minimises |target + rowsᵀ c|: active set, started by coordinate descent."""
    size = len(rows)
    gram, load, c = np.empty((size, size)), np.empty(size), np.empty(size)
    for a in range(size):
        load[a] = dot(rows[a], target)
        c[a] = min(max(0.0, low[a]), high[a])
        for b in range(size):
            gram[a, b] = dot(rows[a], rows[b])
    for _ in range(60):
        for k in range(size):
            c[k] = min(max(c[k] - (load[k] + dot(gram[k], c)) / gram[k, k], low[k]), high[k])
    free, solution = np.empty(size, dtype=np.int64), np.empty(size)
    for _ in range(4 * size + 4):
        count = 0
        for k in range(size):
            if low[k] < c[k] < high[k]:
                free[count] = k
                count += 1
        if count > 0 and not step_inside(gram, load, low, high, c, free[:count], solution):
            continue
        worst, excess = -1, 1e-13 * math.sqrt(dot(target, target))
        for k in range(size):
            slope = (load[k] + dot(gram[k], c)) / math.sqrt(gram[k, k])
            if c[k] <= low[k] and -slope > excess:
                worst, excess = k, -slope
            if c[k] >= high[k] and slope > excess:
                worst, excess = k, slope
        if worst < 0:
            break
        c[worst] += 1e-9 * (high[worst] - low[worst]) * (1.0 if c[worst] <= low[worst] else -1.0)
    return c


@compiled
def step_inside(gram: Any, load: Any, low: Any, high: Any, c: Any, free: Any, solution: Any) -> Any:
    """Move the free coordinates to their minimum, or as far as the box allows; whether the minimum was reached."""
    for a in range(len(free)):
        solution[a] = -load[free[a]]
        for k in range(len(c)):
            if not (low[k] < c[k] < high[k]):
                solution[a] -= gram[free[a], k] * c[k]
    solve_definite(gram, free, solution)
    share = 1.0
    for a in range(len(free)):
        k = free[a]
        move = solution[a] - c[k]
        if move > 0.0:
            share = min(share, (high[k] - c[k]) / move)
        elif move < 0.0:
            share = min(share, (low[k] - c[k]) / move)
    for a in range(len(free)):
        k = free[a]
        c[k] += share * (solution[a] - c[k])
        if share < 1.0 and (c[k] - low[k] < 1e-14 * (high[k] - low[k])):
            c[k] = low[k]
        if share < 1.0 and (high[k] - c[k] < 1e-14 * (high[k] - low[k])):
            c[k] = high[k]
    return share >= 1.0


@compiled
def solve_definite(gram: Any, free: Any, solution: Any) -> None:
    """Solve gram[free, free] s = solution in place by Cholesky's method, the diagonal raised by a rounding."""
    size = len(free)
    factor = np.empty((size, size))
    for a in range(size):
        for b in range(a + 1):
            value = gram[free[a], free[b]] * (1.0 + 1e-14 if a == b else 1.0)
            for k in range(b):
                value -= factor[a, k] * factor[b, k]
            # Rows that depend on each other leave nothing on the diagonal: such a coordinate may stand anywhere, and stays near zero.
            factor[a, b] = math.sqrt(max(value, 1e-15 * gram[free[a], free[a]])) if a == b else value / factor[b, b]
    for a in range(size):
        for k in range(a):
            solution[a] -= factor[a, k] * solution[k]
        solution[a] /= factor[a, a]
    for a in range(size - 1, -1, -1):
        for k in range(a + 1, size):
            solution[a] -= factor[k, a] * solution[k]
        solution[a] /= factor[a, a]
