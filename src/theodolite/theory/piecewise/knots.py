"""Continuous piecewise-linear activations by name: their knots, slopes and offsets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["RELU", "RELU6", "Knots", "knots_of"]


@dataclass(frozen=True)
class Knots:
    """z ↦ slopes[p]·z + offsets[p], where p is the number of knots below z.

    Example:
        >>> knots_of("hardtanh", (-1.0, 2.0), {})
        Knots(knots=(-1.0, 2.0), slopes=(0.0, 1.0, 0.0), offsets=(-1.0, 0.0, 2.0))
    """

    knots: tuple[float, ...]
    slopes: tuple[float, ...]
    offsets: tuple[float, ...]


#: max(z, 0) and min(max(z, 0), 6).
RELU = Knots((0.0,), (0.0, 1.0), (0.0, 0.0))
RELU6 = Knots((0.0, 6.0), (0.0, 1.0, 0.0), (0.0, 0.0, 6.0))


def knots_of(label: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Knots | None:
    """The knots of torch's function ``label`` with its constant arguments; None when it is not piecewise linear and continuous."""

    def given(position: int, name: str, default: Any) -> Any:
        value = kwargs.get(name, args[position] if len(args) > position else default)
        return value.item() if hasattr(value, "item") and getattr(value, "numel", lambda: 1)() == 1 else value

    if label in ("relu", "relu_"):
        return RELU
    if label in ("abs", "__abs__"):
        return Knots((0.0,), (-1.0, 1.0), (0.0, 0.0))
    if label == "leaky_relu":
        return Knots((0.0,), (float(given(0, "negative_slope", 0.01)), 1.0), (0.0, 0.0))
    if label == "rrelu":
        if given(2, "training", False):
            return None
        slope = (float(given(0, "lower", 1 / 8)) + float(given(1, "upper", 1 / 3))) / 2
        return Knots((0.0,), (slope, 1.0), (0.0, 0.0))
    if label == "relu6":
        return RELU6
    if label in ("hardtanh", "hardtanh_"):
        return _clamp(float(given(0, "min_val", -1.0)), float(given(1, "max_val", 1.0)))
    if label in ("clamp", "clamp_min", "clamp_max"):
        low = given(0, "min", None) if label != "clamp_max" else None
        high = given(0 if label == "clamp_max" else 1, "max", None) if label != "clamp_min" else None
        if any(hasattr(v, "numel") for v in (low, high)):
            return None
        return _clamp(low, high)
    if label in ("threshold", "threshold_"):
        at, value = float(given(0, "threshold", 0.0)), float(given(1, "value", 0.0))
        return Knots((at,), (0.0, 1.0), (value, 0.0)) if at == value else None  # a jump otherwise
    if label == "softshrink":
        width = float(given(0, "lambd", 0.5))
        return Knots((-width, width), (1.0, 0.0, 1.0), (width, 0.0, -width)) if width > 0 else None
    return None


def _clamp(low: float | None, high: float | None) -> Knots | None:
    if low is None and high is None:
        return None
    if high is None:
        assert low is not None
        return Knots((float(low),), (0.0, 1.0), (float(low), 0.0))
    if low is None:
        return Knots((float(high),), (1.0, 0.0), (0.0, float(high)))
    return Knots((float(low), float(high)), (0.0, 1.0, 0.0), (float(low), 0.0, float(high))) if low < high else None
