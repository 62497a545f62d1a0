"""Multiplicity of an activation: the order of its first non-zero derivative at zero."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from theodolite.core.errors import ArgumentError, TheodoliteWarning, UnsupportedError
from theodolite.maths.activation import identify

__all__ = ["LeadingTerm", "Multiplicity", "kink_in_words", "leading_term", "multiplicity"]

Array = npt.NDArray[np.float64]

#: Highest derivative looked at.
ORDERS = 8
#: A scaled Taylor coefficient below this share of the largest one is zero: autograd leaves at most 1e-12 of it as rounding.
ZERO = 1e-7
#: An interpolant's coefficient k is rounding below this share of the values, times 40^k/k!.
ROUNDING = 1e-12
#: One-sided coefficients that differ by more than this share of the largest one make a kink.
UNEQUAL = 1e-5
#: Distance from zero at which one-sided derivatives are taken, in units of the activation's own scale.
OFFSET = 1e-9
#: Distances at which the exponent of σ(z) − σ(0) is read: near ones may be lost in rounding, far ones in the
#: next terms, so that one whole exponent is enough.
DISTANCES = (1e-7, 1e-5, 1e-3)
#: An exponent farther than this from a whole number belongs to no Taylor expansion.
FRACTION = 0.02


@dataclass(frozen=True)
class Multiplicity:
    """Behaviour of an activation at zero: σ(z) = value_at_zero + coefficient · z^p + higher orders.

    Attributes:
        p: order of the first derivative at zero that does not vanish; None when there is a kink or a jump.
        coefficient: Taylor coefficient σ^(p)(0)/p!; NaN when p is None.
        kink: one-sided derivatives of the leading order differ (ReLU, |z|) or are infinite (√|z|), or σ itself jumps at zero.
        value_at_zero: σ(0).
        slopes: one-sided leading coefficients (left, right) of σ(z) − σ(0) ≈ right·z₊^order and left·(−z)₊^order; infinite where
            the derivative of that order is.
        order: leading order, also defined at a kink.
        jump: σ(0⁺) − σ(0⁻).
        radius: |z| at which the next term is as large as the leading one (inf when there is none up to order 8); an
            initialisation is small where |w·x| is far below it.
    """

    p: int | None
    coefficient: float
    kink: bool
    value_at_zero: float
    slopes: tuple[float, float]
    order: int
    jump: float
    radius: float


@dataclass(frozen=True)
class LeadingTerm:
    """φ(z) = right·z₊^order + left·(−z)₊^order: what a small network sees of its activation."""

    order: int
    left: float
    right: float

    @property
    def smooth(self) -> bool:
        """Whether φ is the monomial right·z^order."""
        return self.left == (-1) ** self.order * self.right

    def value(self, z: Array) -> Array:
        """φ(z)."""
        if self.smooth:
            return self.right * _power(z, self.order)
        return np.where(z > 0, self.right, self.left) * _power(np.abs(z), self.order)

    def slope(self, z: Array) -> Array:
        """φ′(z); zero at a kink."""
        if self.smooth:
            return self.order * self.right * _power(z, self.order - 1)
        if self.order == 1:
            return self.right * (z > 0) - self.left * (z < 0)
        return self.order * np.where(z > 0, self.right, -self.left) * _power(np.abs(z), self.order - 1)

    def second(self, z: Array) -> Array:
        """φ″(z), order at least 2."""
        side = np.where(z > 0, self.right, self.left)
        return self.order * (self.order - 1) * side * _power(np.abs(z), self.order - 2)


def _power(z: Array, exponent: int) -> Array:
    """z^exponent by repeated multiplication: thirty times faster than a general power."""
    if exponent == 0:
        return np.ones_like(z)
    result = z
    for _ in range(exponent - 1):
        result = result * z
    return result


def multiplicity(activation: Callable[[Any], Any] | str) -> Multiplicity:
    """Multiplicity p of an activation: σ^(s)(0) = 0 for s = 1, …, p − 1 and σ^(p)(0) ≠ 0.

    At the initial stage of small-initialisation training, orientations follow the extrema of Φ_p(u) = (1/n) Σ_i y_i (u·x_i)^p.
    Derivatives up to order 8 are nested autograd in float64 at 0 and at ±1e-9 of the activation's own scale; numpy callables and
    names are differentiated through Chebyshev interpolants on either side of zero. Where one-sided derivatives of the leading order
    differ (ReLU) or are infinite (√|z|), there is no multiplicity.

    Args:
        activation: torch function, module, name, lambda or numpy function, elementwise.

    Returns:
        `Multiplicity`.

    Raises:
        ArgumentError: not a callable, not elementwise, or NaN at zero.
        UnsupportedError: constant near zero up to order 8, so that a small network cannot learn; or no Taylor expansion is found.

    Warns:
        TheodoliteWarning: the activation has a kink, an infinite derivative or a jump at zero.

    Cost: eight nested derivatives of a scalar function, about 10 ms.

    Source: Zhou et al. (2022), Def. 1.

    Example:
        >>> import torch
        >>> m = multiplicity(lambda z: z * torch.tanh(z))
        >>> m.p, m.coefficient, m.kink
        (2, 1.0, False)
    """
    found = _analyse(activation)
    if found.kink:
        warnings.warn(f"{kink_in_words(found)}; the bound 2p does not apply", TheodoliteWarning, stacklevel=2)
    return found


def kink_in_words(found: Multiplicity) -> str:
    """Why an activation with a kink or a jump at zero has no multiplicity."""
    if found.jump:
        what = f"jumps by {found.jump:.3g}"
    elif not np.isfinite(found.slopes).all():
        what = f"has an infinite derivative of order {found.order}"
    else:
        what = f"has a kink of order {found.order}, one-sided coefficients {found.slopes[0]:.3g} and {found.slopes[1]:.3g},"
    return f"the activation {what} at zero, so that its multiplicity is undefined"


def leading_term(activation: Callable[[Any], Any] | str) -> tuple[LeadingTerm, Multiplicity]:
    """The leading one-sided term of an activation at zero, normalised to z^p when it is smooth, and its `Multiplicity`.

    Raises:
        UnsupportedError: the activation jumps at zero or a leading derivative is infinite there: no direction field exists.
    """
    found = _analyse(activation)
    if found.jump or not np.isfinite(found.slopes).all():
        raise UnsupportedError(
            f"{kink_in_words(found)} and small weights have no gradient field; use an activation with one-sided Taylor expansions"
        )
    if found.p is not None:
        return LeadingTerm(found.p, float((-1) ** found.p), 1.0), found
    return LeadingTerm(found.order, *found.slopes), found


def _analyse(activation: Callable[[Any], Any] | str) -> Multiplicity:
    singular = _singular(_values(activation))
    if singular is not None:
        return singular
    value, left, right, centre, scale = _taylor(activation)
    jump = right[0] - left[0]
    weights = scale ** np.arange(ORDERS + 1)
    size = max(np.abs(weights * left)[1:].max(), np.abs(weights * right)[1:].max())
    if abs(jump) > UNEQUAL * max(size, abs(value), 1e-300):
        return Multiplicity(None, math.nan, True, value, (float(left[0] - value), float(right[0] - value)), 0, float(jump), 0.0)
    if size == 0.0:
        raise UnsupportedError(
            f"the activation is constant near zero up to order {ORDERS}: a network with small weights gets no gradient; "
            "choose another activation or an initialisation away from zero"
        )
    unequal = np.abs(right - left) * weights > UNEQUAL * size
    # Values at zero itself are exact where both sides agree with them; at a convention of autograd (abs, where) the sides decide.
    trusted = ~unequal & (np.abs(centre - 0.5 * (left + right)) * weights <= UNEQUAL * size)
    best = np.where(trusted, centre, 0.5 * (left + right))
    extent = np.where(trusted, np.abs(centre), np.maximum(np.abs(left), np.abs(right)))
    present = extent * weights > ZERO * size
    order = int(np.flatnonzero(present[1:])[0]) + 1
    later = np.flatnonzero(present[order + 1 :]) + order + 1
    kink = bool(unequal[1 : order + 1].any())
    radius = math.inf if not len(later) else float((extent[order] / extent[later[0]]) ** (1 / (later[0] - order)))
    if kink:
        slopes = (float((-1) ** order * left[order]), float(right[order]))
        slopes = (_tidy(slopes[0], size / weights[order]), _tidy(slopes[1], size / weights[order]))
        return Multiplicity(None, math.nan, True, value, slopes, order, 0.0, radius)
    coefficient = float(best[order])
    return Multiplicity(order, coefficient, False, value, ((-1) ** order * coefficient, coefficient), order, 0.0, radius)


def _singular(function: Callable[[Array], Array]) -> Multiplicity | None:
    """What is known of an activation with σ(z) − σ(0) like |z|^q, q broken, whose derivative of order ⌈q⌉ is infinite at zero; None
    where the leading exponents on both sides are whole.
    """
    at_zero = float(function(np.zeros(1))[0])
    sides = [_exponent(function, at_zero, sign) for sign in (-1.0, 1.0)]
    if all(q == round(q) for q, _ in sides if math.isfinite(q)):
        return None
    order = math.ceil(min(q for q, _ in sides if math.isfinite(q)))
    left, right = (0.0 if not q <= order else c if q == order else math.copysign(math.inf, c) for q, c in sides)
    return Multiplicity(None, math.nan, True, at_zero, (left, right), order, 0.0, 0.0)


def _exponent(function: Callable[[Array], Array], at_zero: float, sign: float) -> tuple[float, float]:
    """q and c of σ(z) − σ(0) ≈ c |z|^q on the side of ``sign``, q rounded where some distance shows a whole one; NaN where the
    difference vanishes or jumps.
    """
    seen: list[tuple[float, float]] = []
    for distance in DISTANCES:
        z = distance * sign * np.array([1.0, 2.0])
        near, far = function(z) - at_zero
        if abs(near) > 1e-9 * abs(at_zero) and near * far > 0:
            q = math.log2(far / near)
            if abs(q - round(q)) <= FRACTION:
                return (float(round(q)), float(near / abs(z[0]) ** round(q))) if round(q) else (math.nan, 0.0)
            seen.append((q, float(near)))
    return seen[0] if seen else (math.nan, 0.0)


def _tidy(value: float, size: float) -> float:
    """Zero where a one-sided coefficient is rounding noise beside the other."""
    return 0.0 if abs(value) <= ZERO * size else value


def _taylor(activation: Callable[[Any], Any] | str) -> tuple[float, Array, Array, Array, float]:
    """σ(0), Taylor coefficients 0..8 left of, right of and at zero, and the scale s at which s^k |b_k| are comparable."""
    call = _torch_callable(activation)
    try:
        if call is None:
            raise UnsupportedError("not a torch callable")
        at_zero, left, right = _jets(call, OFFSET)
        scale = _scale(np.nan_to_num(np.maximum(np.abs(left), np.abs(right))))
        if not 0.1 < scale < 10:
            at_zero, left, right = _jets(call, scale * OFFSET)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError):  # it leaves autograd: only values are to be had
        return _chebyshev_jets(identify(activation).function)
    if not np.isfinite(at_zero[0]):
        raise ArgumentError(f"activation must be defined at zero, got σ(0) = {at_zero[0]}")
    # At the offset h the coefficient k holds (k + 1) b_{k+1} h of its neighbour, which is far below every tolerance.
    if not (np.isfinite(left).all() and np.isfinite(right).all() and _reproduces(call, at_zero[0], left, right, scale)):
        return _chebyshev_jets(identify(activation).function)
    centre = np.where(np.isfinite(at_zero), at_zero, 0.5 * (left + right))
    return float(at_zero[0]), left, right, centre, scale


def _reproduces(call: Callable[[Any], Any], at_zero: float, left: Array, right: Array, scale: float) -> bool:
    """Whether the one-sided Taylor polynomials give back the function: autograd errs beside removable singularities."""
    import torch

    z = scale * np.array([-0.05, -0.02, 0.02, 0.05])
    with torch.no_grad():
        values = call(torch.from_numpy(z.copy())).double().numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        model = (z[:, None] ** np.arange(ORDERS + 1) * np.where((z < 0)[:, None], left, right)).sum(1)
        error = np.abs(model - values).max()
    return bool(error <= 1e-6 * np.abs(values - at_zero).max() + 1e-13 * np.abs(values).max())


def _scale(coefficients: Array) -> float:
    """The s that balances the low and the high half of s^k |b_k|: near the radius of convergence, 1 for polynomials."""
    order = np.arange(1, ORDERS + 1)
    logs = np.log(np.maximum(coefficients[1:], 1e-300))
    half = ORDERS // 2
    if logs[half:].max() < logs.max() - 37 or logs[:half].max() < logs.max() - 200:  # one half is zero or rounding
        return 1.0
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        balance = (logs[half:] + middle * order[half:]).max() - (logs[:half] + middle * order[:half]).max()
        low, high = (low, middle) if balance > 0 else (middle, high)
    return float(np.exp(np.clip(low, -20.0, 20.0)))


def _values(activation: Callable[[Any], Any] | str) -> Callable[[Array], Array]:
    """The activation on float64 arrays."""
    import torch

    call = _torch_callable(activation)
    if call is not None:
        try:
            call(torch.zeros(1, dtype=torch.float64, requires_grad=True)).double()
            return lambda z: np.asarray(call(torch.from_numpy(z)).detach().double().numpy())
        except (RuntimeError, TypeError, AttributeError, NotImplementedError):  # a numpy function
            pass
    return identify(activation).function


def _torch_callable(activation: Any) -> Callable[[Any], Any] | None:
    """The activation as a callable on float64 tensors, or None for a name that torch does not have."""
    import torch

    if isinstance(activation, str):
        name = activation.lower()
        own = {"xtanh": lambda z: z * torch.tanh(z), "x2tanh": lambda z: z * z * torch.tanh(z)}
        return own.get(name) or getattr(torch, name, None) or getattr(torch.nn.functional, name, None)
    if not callable(activation):
        raise ArgumentError(f"activation must be an elementwise callable, module or name, got {activation!r}")
    if isinstance(activation, torch.nn.Module):
        return copy.deepcopy(activation).double().eval()
    call: Callable[[Any], Any] = activation
    return call


def _jets(call: Callable[[Any], Any], offset: float) -> tuple[Array, Array, Array]:
    """Taylor coefficients 0..8 at 0, −offset and +offset, by nested autograd."""
    import torch

    with torch.enable_grad():
        z = torch.tensor([0.0, -offset, offset], dtype=torch.float64, requires_grad=True)
        value = call(z)
        if not isinstance(value, torch.Tensor) or value.is_complex():
            raise TypeError("the activation does not map real tensors to real tensors")
        if value.shape != z.shape:
            raise ArgumentError(f"activation must be elementwise, but turned shape {tuple(z.shape)} into {tuple(value.shape)}")
        rows = [value.detach().double()]
        for k in range(1, ORDERS + 1):
            slope = None
            if value.requires_grad:
                (slope,) = torch.autograd.grad(value.sum(), z, create_graph=True, allow_unused=True)
            value = torch.zeros_like(z) if slope is None else slope
            rows.append(value.detach() / math.factorial(k))
    at_zero, left, right = torch.stack(rows).numpy().T
    return at_zero, left, right


def _chebyshev_jets(function: Callable[[Array], Array]) -> tuple[float, Array, Array, Array, float]:
    """The same from values alone: degree-20 interpolants on [−½, ½] where it is smooth, else on either side of zero, as near to
    zero as it takes.

    Raises:
        UnsupportedError: no polynomial describes the function near zero.
    """
    at_zero = float(function(np.zeros(1))[0])
    both, misfit = _interpolant(function, -0.5, 0.5, 20)
    if misfit < 1e-12:
        # A degree-20 interpolant resolves coefficient k to about 1e-15·(40)^k/k!: orders above four are only rounding.
        both[5:] = np.where(np.abs(both[5:]) < 1e-3 * np.abs(both[1:]).max(), 0.0, both[5:])
        # A function of higher order has rounding only in its low coefficients.
        noise = ROUNDING * np.abs(function(np.linspace(-0.5, 0.5, 8)) - at_zero).max()
        both = np.where(np.abs(both) < noise * np.array([40.0**k / math.factorial(k) for k in range(ORDERS + 1)]), 0.0, both)
        both[0] = at_zero
        return at_zero, both, both, both, 1.0
    for scale in (1.0, 1e-1, 1e-2, 1e-3):
        (left, below), (right, above) = (
            _interpolant(lambda z, s=scale: function(s * z), low, low + 0.5, 14)  # type: ignore[misc]
            for low in (-0.5, 0.0)
        )
        if max(below, above) < 1e-9:
            break
    else:
        raise UnsupportedError(
            "the activation has no Taylor expansion on either side of zero that its values show; pass an activation that is "
            "smooth there, or a torch function that autograd can differentiate"
        )
    for side in (left, right):
        size = np.abs(side[1:3]).max()
        side[3:] = np.where(np.abs(side[3:]) < 1e-2 * size, 0.0, side[3:])
        side[0] = at_zero if abs(side[0] - at_zero) < 1e-9 * max(1.0, size) else side[0]
    rescale = scale ** -np.arange(ORDERS + 1.0)
    return at_zero, left * rescale, right * rescale, 0.5 * (left + right) * rescale, scale


def _interpolant(function: Callable[[Array], Array], low: float, high: float, degree: int) -> tuple[Array, float]:
    """Taylor coefficients 0..8 at zero of the Chebyshev interpolant on [low, high], and its relative misfit between the nodes."""
    cheb = np.polynomial.chebyshev
    nodes = 0.5 * (low + high) + 0.5 * (high - low) * cheb.chebpts1(degree + 1)
    values = function(nodes)
    series = cheb.Chebyshev.fit(nodes, values, degree, domain=[low, high])
    rows = [float(series.deriv(k)(0.0)) / math.factorial(k) if k else float(series(0.0)) for k in range(ORDERS + 1)]
    check = np.linspace(low, high, 37)[1:-1]
    return np.array(rows), float(np.abs(series(check) - function(check)).max() / max(np.abs(values).max(), 1e-300))
