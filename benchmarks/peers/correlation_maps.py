"""The correlation map at q = 1 by dks: its quadrature, one correlation at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def c_map(activation: str, correlations: list[float]) -> Callable[[], np.ndarray]:
    """C(c) = E φ(u)φ(v) / E φ(u)²."""
    from dks.base.activation_getter import get_activation_function
    from dks.base.activation_transform import _calc_c_map

    phi = get_activation_function(activation)
    return lambda: np.array([_calc_c_map(phi, c=c) for c in correlations])
