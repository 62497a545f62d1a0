"""Residual networks at initialisation: lengths, correlations and gradients through the blocks (Yang & Schoenholz 2017).

Two kinds. Reduced (``rrn``): x^l = x^{l−1} + φ(h^l). Full (``frn``): x^l = x^{l−1} + V φ(h^l) + a, with V ~ N(0, σ_v²/width) and
a ~ N(0, σ_a²). In both h^l = W x^{l−1} + b, so h has variance q = σ_w² p + σ_b² where p = E x².
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.maths.activation import identify
from theodolite.maths.dual import dual
from theodolite.maths.gaussian import check_variance
from theodolite.maths.resolution import Array
from theodolite.theory.meanfield.predict.arguments import broadcasting, check_count, check_number
from theodolite.theory.meanfield.predict.moments import mean, moment_table

__all__ = ["ResNetPropagation", "optimal_variance", "resnet"]

Kind = Literal["rrn", "frn"]


@dataclass(frozen=True)
class ResNetPropagation:
    """What a residual network does to two inputs and to a gradient, block by block.

    Attributes:
        depth: 0, 1, …, L.
        length: p_l = E x² (per coordinate), of both inputs.
        gradient_growth: E‖∂f/∂x⁰‖² / E‖∂f/∂x^l‖², the growth of the squared gradient over l blocks; inf where it overflows.
        log_gradient_growth: its natural logarithm.
    """

    depth: Array
    length: Array
    gradient_growth: Array
    log_gradient_growth: Array
    _products: Callable[[], Array] = field(repr=False, compare=False)

    @functools.cached_property
    def correlation(self) -> Array:
        """c_l = E x x′ / p_l, found when first asked for: some 30 ms per block where φ has no closed covariance."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.length > 0, self._products() / self.length, 1.0)

    def __repr__(self) -> str:
        return (
            f"ResNetPropagation(depth={int(self.depth.flat[-1])}, length={self.length.flat[-1]:.6g}, "
            f"log_gradient_growth={self.log_gradient_growth.flat[-1]:.6g})"
        )


def _check(sigma_w2: float, sigma_b2: float, sigma_v2: float, sigma_a2: float, depth: int, kind: str) -> None:
    for name, value in (("sigma_w2", sigma_w2), ("sigma_b2", sigma_b2), ("sigma_v2", sigma_v2), ("sigma_a2", sigma_a2)):
        check_variance(value, name)
    check_count(depth, "depth")
    if kind not in ("rrn", "frn"):
        raise ArgumentError(f"kind must be 'rrn' (x + φ(h)) or 'frn' (x + V φ(h) + a), got {kind!r}")


@broadcasting("sigma_w2", "sigma_b2", "sigma_v2", "sigma_a2", "p0", "c0")
def resnet(
    activation: Any,
    sigma_w2: Any,
    sigma_b2: Any = 0.0,
    sigma_v2: Any = 1.0,
    sigma_a2: Any = 0.0,
    depth: int = 100,
    p0: Any = 1.0,
    c0: Any = 0.0,
    kind: Kind = "rrn",
) -> ResNetPropagation:
    """Length, correlation and gradient growth of a residual network at every depth.

    Length p_l = p_{l−1} + σ_v² E φ²(q_l) + σ_a², covariance likewise with E φφ; the squared gradient grows by
    1 + σ_v² σ_w² E φ′²(q_l) per block. For ``rrn`` V = 1 and a = 0, and where E φ ≠ 0 the mean m_l = m_{l−1} + E φ adds 2 m E φ to
    both (the published recursions leave this term out; it vanishes for odd φ). For tanh the log growth is of order √L, for ReLU
    it is L log(1 + σ_v²σ_w²/2): a ReLU network without scaled branches explodes exponentially.

    Args:
        activation: φ, any elementwise callable.
        sigma_w2: σ_w², variance parameter of the inner weights (W ~ N(0, σ_w²/width)).
        sigma_b2: σ_b², variance of the inner biases.
        sigma_v2: σ_v² of the outer weights (``frn``).
        sigma_a2: σ_a², variance of the outer biases (``frn``).
        depth: L, number of blocks.
        p0: p_0 = ‖x⁰‖²/width of both inputs.
        c0: their correlation.
        kind: ``"rrn"`` or ``"frn"``.

    Returns:
        `ResNetPropagation` with arrays of length L + 1; variances, p0 and c0 broadcast, and their axes come first.

    Raises:
        ArgumentError: negative variances, |c0| > 1, depth < 1, an unknown kind; σ_v² ≠ 1 or σ_a² ≠ 0 with ``rrn``.
        UnsupportedError: φ jumps, so that gradients are infinite.

    Cost:
        About 10 µs per block; correlations, when asked for, L evaluations of the dual map.

    Reference:
        yang2017 §3–4.

    Example:
        >>> import torch
        >>> round(float(resnet(torch.tanh, 1.0, depth=10).log_gradient_growth[-1]), 9)
        2.643206353
    """
    _check(sigma_w2, sigma_b2, sigma_v2, sigma_a2, depth, kind)
    check_variance(p0, "p0")
    check_number(c0, "c0", -1.0, 1.0)
    if kind == "rrn" and (sigma_v2 != 1.0 or sigma_a2 != 0.0):
        raise ArgumentError(f"kind='rrn' has no outer weights; got sigma_v2={sigma_v2}, sigma_a2={sigma_a2}; use kind='frn'")
    _ = identify(activation).prime  # refuses a φ that jumps, with the reason
    blocks = _Blocks(activation, sigma_w2, sigma_b2, sigma_v2, sigma_a2, kind)
    lengths, _, logs = np.array(list(blocks.run(float(p0), None, int(depth)))).T

    def products() -> Array:
        return np.array([row[1] for row in blocks.run(float(p0), float(p0 * c0), int(depth))])

    with np.errstate(over="ignore"):
        return ResNetPropagation(np.arange(depth + 1.0), lengths, np.exp(logs), logs, products)


class _Blocks:
    """The recursion of (p, γ, log growth) from block to block."""

    def __init__(self, activation: Any, sigma_w2: float, sigma_b2: float, sigma_v2: float, sigma_a2: float, kind: Kind) -> None:
        self.w, self.b, self.v, self.a = sigma_w2, sigma_b2, sigma_v2, sigma_a2
        self.activation = identify(activation)
        self.table, self.dual = moment_table(activation), dual(activation)
        grid = np.linspace(0.0, 8.0, 65)
        self.odd = bool(np.abs(self.activation.function(grid) + self.activation.function(-grid)).max() < 1e-12)
        self.has_mean = kind == "rrn" and not self.odd

    def run(self, p: float, g: float | None, depth: int) -> Iterator[tuple[float, float, float]]:
        """(p_l, γ_l, log growth) for l = 0 … depth; γ is not followed where ``g`` is None."""
        m, log_growth = 0.0, 0.0
        yield p, math.nan if g is None else g, log_growth
        for block in range(1, depth + 1):
            q = self.w * p + self.b
            second, slope = self.table.at(q)
            shift = 0.0
            if self.has_mean:
                average = float(mean(self.activation, q))
                shift, m = 2 * m * average, m + average
            log_growth += math.log1p(self.v * self.w * slope)
            if g is not None:
                c = min(1.0, max(-1.0, (self.w * g + self.b) / q)) if q > 0 else 1.0
                g += self.v * self._covariance(q, c, second) + self.a + shift
            p += self.v * second + self.a + shift
            if not math.isfinite(p):
                raise NumericalError(f"the length overflows after {block} blocks; scale the branches, e.g. sigma_v2=1/depth")
            yield p, math.nan if g is None else g, log_growth

    def _covariance(self, q: float, c: float, second: float) -> float:
        if c == 0.0:
            return 0.0 if self.odd else float(mean(self.activation, q)) ** 2
        return second if c == 1.0 else float(self.dual.value(q, q, c))


@broadcasting("depth", "log_growth", "sigma_b2", "sigma_v2", "sigma_a2", "p0")
def optimal_variance(
    depth: Any,
    activation: Any = np.tanh,
    *,
    log_growth: Any = 1.0,
    sigma_b2: Any = 0.0,
    sigma_v2: Any = 1.0,
    sigma_a2: Any = 0.0,
    p0: Any = 1.0,
    kind: Kind = "rrn",
) -> Any:
    """σ_w² at which the squared gradient of a residual network grows by e^{log_growth} over ``depth`` blocks.

    Larger variances make inputs more distinguishable but gradients explode; the best trade-off found in practice follows a contour of
    the gradient growth, σ_w² ∝ 1/L for tanh networks.

    Args:
        depth: L, number of blocks.
        activation: φ; default tanh.
        log_growth: target ln(growth of the squared gradient) > 0.
        sigma_b2: σ_b².
        sigma_v2: σ_v² (``frn``).
        sigma_a2: σ_a² (``frn``).
        p0: initial length.
        kind: ``"rrn"`` or ``"frn"``.

    Returns:
        σ_w²: a float for numbers, an array where depth or a variance is one.

    Raises:
        ArgumentError: a target that is not positive.
        NumericalError: no σ_w² in [1e-12, 1e6] reaches it.
        UnsupportedError: φ jumps.

    Reference:
        yang2017 §5.

    Example:
        >>> round(optimal_variance(400) / optimal_variance(1600), 1)
        4.0
    """
    from scipy.optimize import brentq

    _check(1.0, sigma_b2, sigma_v2, sigma_a2, depth, kind)
    _ = identify(activation).prime  # refuses a φ that jumps, with the reason
    if not check_number(log_growth, "log_growth") > 0:
        raise ArgumentError(f"log_growth must be positive and finite, got {log_growth}")

    def excess(log_variance: float) -> float:
        blocks = _Blocks(activation, math.exp(log_variance), sigma_b2, sigma_v2, sigma_a2, kind)
        try:
            return max(rows[2] for rows in blocks.run(p0, None, depth)) - log_growth
        except NumericalError:
            return 1e6

    # Small variances have growth L σ_v² σ_w² φ′(0)²: the bracket is widened from there
    low = high = math.log(log_growth / depth)
    step = 1.0
    while excess(low) > 0 and low > math.log(1e-12):
        low, high, step = low - step, low, 2 * step
    step = 1.0
    while excess(high) < 0 and high < math.log(1e6):
        low, high, step = high, high + step, 2 * step
    if excess(low) > 0 or excess(high) < 0:
        raise NumericalError(f"no sigma_w2 between 1e-12 and 1e6 gives log growth {log_growth} over {depth} blocks")
    return math.exp(brentq(excess, low, high, xtol=1e-9))
