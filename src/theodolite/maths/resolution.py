"""Where a function of one variable is smooth: its kinks and jumps, and panels on which polynomials resolve it.

Quadrature converges exponentially only between the points where an integrand is analytic. This module finds these points for an
unknown function, and cuts the line into panels on each of which a polynomial of degree 24 reproduces the function to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Kinks", "chebyshev_points", "find_kinks", "panels"]

Array: TypeAlias = NDArray[Any]
Function = Callable[[Array], Array]

#: Chebyshev points per panel.
POINTS = 25
#: A panel is resolved when its last three coefficients are below this, relative to the function's size.
TOLERANCE = 4e-14
#: Panels are not bisected below this width: what is still unresolved there is a kink.
NARROWEST = 2.0**-11
#: Half-width of the interval in which kinks of an unknown function are looked for.
SEARCH_RADIUS = 64.0
#: More kinks than this are taken for noise or for a staircase that nobody declared.
MOST_KINKS = 192


@dataclass(frozen=True)
class Kinks:
    """What `find_kinks` found.

    Attributes:
        kinks: points where the function is continuous, but a derivative jumps.
        jumps: points where the function itself jumps.
        undecided: description of where smoothness could not be decided, or empty.
        pole: a point at which the function is infinite or grows beyond bounds, or None; then nothing else is looked for.
    """

    kinks: tuple[float, ...] = ()
    jumps: tuple[float, ...] = ()
    undecided: str = ""
    pole: float | None = None


@cache
def chebyshev_points(n: int) -> tuple[Array, Array]:
    """The ``n`` Chebyshev points of [−1, 1] (first kind, increasing) and the matrix from values there to coefficients.

    Example:
        >>> x, to_coefficients = chebyshev_points(5)
        >>> bool(np.allclose(to_coefficients @ (2 * x**2 - 1), [0, 0, 1, 0, 0]))
        True
    """
    angles = np.pi * (np.arange(n)[::-1] + 0.5) / n
    matrix = np.cos(np.arange(n)[:, None] * angles) * (2.0 / n)
    matrix[0] *= 0.5
    return np.cos(angles), matrix


def _unresolved(functions: Sequence[Function], low: Array, high: Array, scales: Sequence[float]) -> NDArray[np.bool_]:
    """Which of the panels [low, high] some function's polynomial does not resolve."""
    points, matrix = chebyshev_points(POINTS)
    x = 0.5 * (low + high)[:, None] + 0.5 * (high - low)[:, None] * points
    bad = np.zeros(len(low), dtype=bool)
    for function, scale in zip(functions, scales, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.array(function(x))
        values[~np.isfinite(values).all(1)] = 0.0  # overflow: nothing is resolved there, and bisection would not help
        coefficients = values @ matrix.T
        size = np.maximum(np.abs(values).max(1), scale)
        # Values that are themselves rounded differences of large numbers cannot have smaller coefficients than their rounding.
        bad |= np.abs(coefficients[:, -3:]).max(1) > TOLERANCE * size
    return bad


def _scale(function: Function) -> float:
    return float(np.abs(function(np.linspace(-1.0, 1.0, 41))).max())


def _bisect(functions: Sequence[Function], edges: Array, narrowest: float) -> tuple[Array, Array]:
    """Leaves [low, high] of the bisection of ``edges``, as (resolved, unresolved) arrays of shape (k, 2)."""
    scales = [_scale(f) for f in functions]
    low, high = edges[:-1], edges[1:]
    done, stuck = [], []
    while len(low):
        bad = _unresolved(functions, low, high, scales)
        done.append(np.stack([low[~bad], high[~bad]], 1))
        low, high = low[bad], high[bad]
        small = high - low < narrowest
        stuck.append(np.stack([low[small], high[small]], 1))
        low, high = low[~small], high[~small]
        if len(low) > 4096:  # nothing is smooth: no use in bisecting every leaf down to the bottom
            stuck.append(np.stack([low, high], 1))
            break
        middle = 0.5 * (low + high)
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    return np.concatenate(done), np.concatenate(stuck)


def panels(functions: Sequence[Function], radius: float, splits: Sequence[float] = ()) -> tuple[Array, bool]:
    """Breakpoints in [−radius, radius] between which every function is a polynomial of degree 24 to rounding.

    Args:
        functions: vectorised functions of one variable.
        radius: half-width of the interval.
        splits: points that must be breakpoints (kinks and jumps).

    Returns:
        (breaks, resolved): increasing breakpoints, with both ends; whether every panel is resolved. Unresolved panels are
        graded dyadically towards the trouble, so that quadrature on them still converges.
    """
    octaves = 2.0 ** np.arange(1, int(np.ceil(np.log2(max(radius, 2.0)))) + 1)
    inside = [s for s in splits if abs(s) < radius]
    edges = np.unique(np.clip(np.concatenate([-octaves, [0.0], octaves, inside, [-radius, radius]]), -radius, radius))
    # Two breaks closer than rounding make an empty panel.
    edges = edges[np.concatenate([[True], np.diff(edges) > 1e-13 * np.maximum(1.0, np.abs(edges[1:]))])]
    done, stuck = _bisect(functions, edges, NARROWEST)
    breaks = np.unique(np.concatenate([edges, done.ravel(), stuck.ravel()]))
    return breaks, len(stuck) == 0


def _side(function: Function, end: float, width: float) -> Callable[[float], float]:
    """Polynomial of degree 8 through the function on the interval of ``width`` (negative: to the left) that starts at ``end``."""
    points, matrix = chebyshev_points(9)
    x = end + 0.5 * width * (1.0 + points)
    coefficients = matrix @ function(x)

    def evaluate(at: float) -> float:
        return float(np.polynomial.chebyshev.chebval(2.0 * (at - end) / width - 1.0, coefficients))

    return evaluate


def _locate(function: Function, low: float, high: float, room: tuple[float, float], scale: float) -> tuple[float, float]:
    """(place, height of the jump) of the single kink in (low, high), by bisection between the two extrapolated sides."""
    left, right = _side(function, low, -room[0]), _side(function, high, room[1])
    a, b = low, high
    for _ in range(200):
        middle = 0.5 * (a + b)
        if not a < middle < b:
            break
        value = float(function(np.array([middle]))[0])
        if abs(value - left(middle)) <= abs(value - right(middle)):
            a = middle
        else:
            b = middle
    place = 0.5 * (a + b)
    gap = abs(left(place) - right(place))
    # Authors write round numbers, and bisection stops short of them when only a high derivative jumps; where the slope jumps it
    # does not, and the sides disagree at a round number that is not the place.
    rounded = round(place, 6)
    if abs(place - rounded) < 2e-7 and abs(left(rounded) - right(rounded)) <= gap + 1e-12 * max(scale, abs(left(rounded))):
        place = rounded
    return place, gap


def _first_jump(function: Function, brackets: Array, least: float) -> tuple[float, ...]:
    """The first place, if any, where the difference across an interval stays above ``least`` however far it is bisected."""
    for low, high in brackets:
        while low < 0.5 * (low + high) < high:
            middle = 0.5 * (low + high)
            values = function(np.array([low, middle, high]))
            low, high = (low, middle) if abs(values[1] - values[0]) >= abs(values[2] - values[1]) else (middle, high)
        if abs(np.diff(function(np.array([low, high])))[0]) > least:
            return (float(high),)
    return ()


def _pole(function: Function, brackets: Array, scale: float) -> float | None:
    """The first place, if any, where |f| is infinite or grows beyond a million times its size elsewhere."""
    for low, high in brackets:
        for _ in range(60):
            x = np.linspace(low, high, 5)
            with np.errstate(all="ignore"):
                size = np.abs(function(x))
            if not np.isfinite(size).all() or size.max() > 1e6 * scale:
                return float(x[np.argmax(np.where(np.isfinite(size), size, np.inf))])
            peak = int(size.argmax())
            low, high = x[max(peak - 1, 0)], x[min(peak + 1, 4)]
    return None


def find_kinks(function: Function, radius: float = SEARCH_RADIUS) -> Kinks:
    """Kinks and jumps of ``function`` on [−radius, radius], located to rounding.

    Bisection towards whatever no polynomial resolves brackets each kink; inside a bracket, the place is where the function leaves
    the continuation of its left side for that of its right side. Jumps of the value, the slope and the curvature are found;
    jumps of higher derivatives do not harm quadrature at this precision. Features narrower than about 0.02 may be overlooked.

    Args:
        function: vectorised function of one variable.
        radius: half-width of the search interval.

    Returns:
        The kinks and jumps, and a description of what stayed undecided (then one jump at most, which says that there are some).

    Cost: about 10⁴ evaluations per kink.

    Example:
        >>> find_kinks(lambda x: np.maximum(x, 0.3)).kinks, find_kinks(lambda x: np.floor(9 * x)).undecided == ""
        ((0.3,), False)
    """
    scale = max(_scale(function), 1e-300)
    if not np.isfinite(scale):
        return Kinks(
            pole=_pole(function, np.array([[-1.0, 1.0]]), float(np.median(np.abs(function(np.linspace(-0.9, 1.1, 41))))))
        )
    # Kinks sit at round numbers, and one that falls on an edge of the bisection would not be seen: edges are odd numbers.
    near, far = 0.48713 * np.arange(-33.0, 34.0) + 0.01579, np.arange(18.02937, radius + 2.0, 1.96173)
    edges = np.concatenate([-far[::-1], near, far])
    _, stuck = _bisect([function], edges, NARROWEST)
    if not len(stuck):
        return Kinks()
    stuck = stuck[np.argsort(stuck[:, 0])]
    pole = _pole(function, stuck[np.abs(stuck).max(1) < 8.0], scale)
    if pole is not None:
        return Kinks(pole=pole)
    brackets: list[list[float]] = []
    for low, high in stuck:
        if brackets and low - brackets[-1][1] <= 2 * NARROWEST:
            brackets[-1][1] = high
        else:
            brackets.append([low, high])
    wide = [b for b in brackets if b[1] - b[0] > 32 * NARROWEST]
    if wide or len(brackets) > MOST_KINKS:
        low, high = (wide or brackets)[0]
        reason = f"no polynomial resolves it on {len(brackets)} intervals, the first [{low:.4g}, {high:.4g}]"
        return Kinks(jumps=_first_jump(function, stuck[:8], 1e-8 * scale), undecided=reason)
    kinks: list[float] = []
    jumps: list[float] = []
    for i, (low, high) in enumerate(brackets):
        before = low - brackets[i - 1][1] if i else 1.0
        after = brackets[i + 1][0] - high if i + 1 < len(brackets) else 1.0
        place, gap = _locate(function, low - NARROWEST, high + NARROWEST, (min(0.05, before / 2), min(0.05, after / 2)), scale)
        (jumps if gap > 1e-8 * scale else kinks).append(float(place) + 0.0)
    return Kinks(tuple(kinks), tuple(jumps))
