"""Checks of single numbers, in one manner of speaking."""

from __future__ import annotations

import math
import operator
from typing import Any

from theodolite.core.errors import ArgumentError

__all__ = ["integer", "number"]


def integer(value: Any, name: str, least: int = 1, instead: str = "") -> int:
    """``value`` as an int.

    Args:
        value: a whole number; 3.0 will do, True will not.
        name: of the argument.
        least: smallest one allowed.
        instead: what else the argument may be, for the message.

    Raises:
        ArgumentError: anything else.

    Example:
        >>> integer(3.0, "dim")
        3
    """
    try:
        found = operator.index(value)
    except TypeError:
        found = int(value) if isinstance(value, float) and value.is_integer() else least - 1
    if isinstance(value, bool) or found < least:
        kind = {0: "a non-negative integer", 1: "a positive integer"}.get(least, f"an integer of at least {least}")
        raise ArgumentError(f"{name} must be {kind}{instead}, got {value!r}")
    return found


def number(value: Any, name: str, least: float = -math.inf, most: float = math.inf) -> float:
    """``value`` as a float that is not NaN, from ``least`` to ``most``.

    Raises:
        ArgumentError: anything else.

    Example:
        >>> number("1", "p", least=1)
        Traceback (most recent call last):
        theodolite.core.errors.ArgumentError: p must be a number from 1 to inf, got '1'
    """
    try:
        found = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not least <= found <= most:
        raise ArgumentError(f"{name} must be a number from {least:g} to {most:g}, got {value!r}")
    return found
