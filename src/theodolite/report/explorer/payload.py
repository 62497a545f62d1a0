"""Results as strict JSON: no NaN, no bare infinity, and arrays no longer than what a picture shows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["plain", "rounded", "strict_json"]


def plain(value: Any) -> Any:
    """``value`` as what JSON has: NaN becomes None, infinities the texts "inf" and "-inf", arrays lists.

    Raises:
        TypeError: a value that has no form in JSON.

    Example:
        >>> plain({"xi": np.array([1.5, np.inf, np.nan]), "n": np.int64(3)})
        {'xi': [1.5, 'inf', None], 'n': 3}
    """
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def rounded(array: Any, digits: int = 5) -> np.ndarray:
    """``array`` to ``digits`` significant digits: what is drawn needs no more, and the page is half as long.

    Example:
        >>> rounded([1.23456789, 0.0, -98765.4321, np.inf], 3).tolist()
        [1.23, 0.0, -98800.0, inf]
    """
    values = np.asarray(array, dtype=np.float64)
    finite = np.isfinite(values) & (values != 0)
    exponent = np.zeros(values.shape, dtype=int)
    exponent[finite] = digits - 1 - np.floor(np.log10(np.abs(values[finite]))).astype(int)
    # Multiplying by 10^k and dividing by it leaves the decimal that was meant; 10.0**-k would not be exact.
    up, down = 10.0 ** np.clip(exponent, 0, 300), 10.0 ** np.clip(-exponent, 0, 300)
    with np.errstate(invalid="ignore", over="ignore"):
        out = np.where(exponent >= 0, np.round(values * up) / up, np.round(values / down) * down)
    return np.where(finite & np.isfinite(out), out, values)


def strict_json(value: Any) -> str:
    """``value`` as one line of JSON."""
    return json.dumps(plain(value), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
