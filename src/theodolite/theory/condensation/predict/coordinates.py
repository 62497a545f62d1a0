"""The phase diagram of two-layer networks: coordinates of an initialisation, its regime, and how far the weights travel.

The network is f(x) = (1/α) Σ_k a_k σ(w_k·x), the bias folded into x as (x, 1), with a_k ~ N(0, β₁²) and w_k ~ N(0, β₂² I).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from theodolite.core.arrays import on_host
from theodolite.core.errors import ArgumentError, unknown

__all__ = [
    "BOUNDARY_TOLERANCE",
    "NAMED_INITIALISATIONS",
    "Coordinates",
    "boundary_distance",
    "named_coordinates",
    "regime",
    "relative_distance_exponent",
    "scaling_exponents",
]

Array = npt.NDArray[np.float64]

#: Width of the critical boundary: far above float64 rounding of γ and γ′, far below anything that a network can show.
BOUNDARY_TOLERANCE = 1e-9


class Coordinates(NamedTuple):
    """Place of an initialisation in the phase diagram; unpacks as ``gamma, gamma_prime``."""

    gamma: Any
    gamma_prime: Any


#: Infinite-width coordinates of well-known initialisations (β₁, β₂, α as powers of the width m, inputs of dimension O(1)).
NAMED_INITIALISATIONS: dict[str, Coordinates] = {
    "ntk": Coordinates(0.5, 0.0),  # α = √m, β₁ = β₂ = 1
    "mean_field": Coordinates(1.0, 0.0),  # α = m, β₁ = β₂ = 1
    "xavier": Coordinates(1.0, 0.0),  # α = 1, β₁² = β₂² = 2/(m + O(1))
    "lecun": Coordinates(0.5, 0.5),  # α = 1, β₁² = 1/m, β₂ = O(1)
    "he": Coordinates(0.5, 0.5),  # α = 1, β₁² = 2/m, β₂ = O(1)
    "pytorch": Coordinates(0.5, 0.5),  # nn.Linear: uniform on ±1/√fan_in, so β₁² = 1/(3m), β₂ = O(1)
}


def named_coordinates(name: str) -> Coordinates:
    """Coordinates (γ, γ′) of a well-known initialisation in the limit of infinite width.

    Raises:
        UnknownNameError: no such name; the nearest ones are listed.

    Source: Luo et al. (2021), Fig. 1.

    Example:
        >>> named_coordinates("mean_field")
        Coordinates(gamma=1.0, gamma_prime=0.0)
    """
    key = name.lower().replace("-", "_").replace(" ", "_")
    if key not in NAMED_INITIALISATIONS:
        raise unknown("initialisation", name, NAMED_INITIALISATIONS)
    return NAMED_INITIALISATIONS[key]


def scaling_exponents(std_a: Any, std_w: Any, alpha: Any, width: Any) -> Coordinates:
    """Finite-width coordinates γ = −log(β₁β₂/α)/log m and γ′ = −log(β₁/β₂)/log m.

    The phase diagram speaks of limits m → ∞: a constant factor c in a scale shifts a coordinate by log c / log m.

    Args:
        std_a: β₁, standard deviation (not variance) of the outgoing weights.
        std_w: β₂, standard deviation of the incoming weights and biases.
        alpha: factor 1/α in front of the sum.
        width: m ≥ 2.

    Returns:
        `Coordinates`; Python floats for scalars, arrays for arrays (broadcast).

    Raises:
        ArgumentError: a scale that is not positive and finite, or a width below 2 (log 1 = 0: no exponent exists).

    Source: Luo et al. (2021), Eq. (6)–(7).

    Example:
        >>> scaling_exponents(1.0, 1.0, 100.0, 100)                 # mean field: α = m
        Coordinates(gamma=1.0, gamma_prime=0.0)
    """
    values = {}
    for name, value in {"std_a": std_a, "std_w": std_w, "alpha": alpha, "width": width}.items():
        array = _numbers(name, value)
        if not np.all(np.isfinite(array) & (array > 0)):
            raise ArgumentError(f"{name} must be positive and finite, got {value!r}; a zero scale has no exponent")
        values[name] = array
    if np.any(values["width"] < 2):
        raise ArgumentError(f"width must be at least 2, got {width!r}: exponents are taken to base m, and log 1 = 0")
    log_m = np.log(values["width"])
    log_a, log_w, log_alpha = np.log(values["std_a"]), np.log(values["std_w"]), np.log(values["alpha"])
    gamma = (log_alpha - log_a - log_w) / log_m
    gamma_prime = (log_w - log_a) / log_m + 0.0 * gamma
    # + 0.0 turns a negative zero into a plain one.
    return Coordinates(_plain(gamma + 0.0), _plain(gamma_prime + 0.0))


@overload
def regime(gamma: float, gamma_prime: float) -> str: ...
@overload
def regime(gamma: Any, gamma_prime: Any) -> Any: ...
def regime(gamma: Any, gamma_prime: Any) -> Any:
    """Regime of a wide two-layer ReLU network at (γ, γ′): ``"linear"``, ``"critical"`` or ``"condensed"``.

    With RD = sup_t ‖θ_w(t) − θ_w(0)‖ / ‖θ_w(0)‖ and m → ∞: linear (RD → 0) iff γ < 1 or γ′ > γ − 1; condensed (RD → ∞) iff
    γ > 1 and γ′ < γ − 1; critical on the boundary {γ = 1, γ′ ≤ 0} ∪ {γ′ = γ − 1, γ ≥ 1}, up to 1e-9.

    Args:
        gamma: γ, number or array.
        gamma_prime: γ′, number or array (broadcast).

    Returns:
        A string for numbers, an array of strings for arrays.

    Raises:
        ArgumentError: a coordinate is not finite.

    Source: Luo et al. (2021), Thm 1 and 2.

    Example:
        >>> regime(0.5, 0.0), regime(1.0, 0.0), regime(1.75, 0.0)
        ('linear', 'critical', 'condensed')
    """
    score = _condensation_score(gamma, gamma_prime)
    word = np.where(score > BOUNDARY_TOLERANCE, "condensed", np.where(score < -BOUNDARY_TOLERANCE, "linear", "critical"))
    return str(word) if word.ndim == 0 else word


def boundary_distance(gamma: Any, gamma_prime: Any) -> Any:
    """Signed Euclidean distance to the critical boundary: positive in the condensed regime, negative in the linear one.

    Args:
        gamma: γ, number or array.
        gamma_prime: γ′, number or array (broadcast).

    Raises:
        ArgumentError: a coordinate is not finite.

    Example:
        >>> boundary_distance(1.5, -1.0), boundary_distance(0.5, -1.0)
        (0.5, -0.5)
    """
    score = _condensation_score(gamma, gamma_prime)
    g, p = np.broadcast_arrays(_numbers("gamma", gamma), _numbers("gamma_prime", gamma_prime))
    to_vertical = np.hypot(g - 1, np.maximum(p, 0))
    along = np.maximum((g - 1 + p) / 2, 0)  # projection on the ray (1 + s, s)
    to_diagonal = np.hypot(g - 1 - along, p - along)
    return _plain(np.sign(score) * np.minimum(to_vertical, to_diagonal) + 0.0)


def relative_distance_exponent(gamma: Any, gamma_prime: Any) -> Any:
    """Exponent S of RD ~ m^S at the end of gradient flow, by leading-order balance (few samples, 1-homogeneous activation).

    The flow in normalised coordinates, dA ∝ κ/κ′, dV ∝ κκ′, conserves κ′A² − |V|²/κ′, and a fit needs f = O(1):

    * γ ≤ 1, γ′ ≤ 0: V moves by m^{γ−1}. γ ≤ 1, γ′ ≥ 0: A moves by m^{γ−1}, V by κ′² times that: S = γ − 1 − 2γ′.
    * γ ≥ 1, γ′ ≥ γ − 1: A grows to m^{γ−1}, and V follows by the conserved quantity: S = 2(γ − 1 − γ′).
    * condensed: V grows with A = O(1) while V ≤ κ′A, so S = γ − 1 if γ′ ≤ 1 − γ; else both grow: S = (γ − 1 − γ′)/2.

    S is continuous, negative, zero and positive exactly in the linear, critical and condensed regime. The signs are theorems
    (Luo et al. 2021); the values are this balance argument, which assumes that all neurons of a kind grow alike.

    Args:
        gamma: γ, number or array.
        gamma_prime: γ′, number or array (broadcast).

    Returns:
        S, a Python float for numbers.

    Raises:
        ArgumentError: a coordinate is not finite.

    Example:
        >>> relative_distance_exponent(0.5, 0.0), relative_distance_exponent(2.0, 0.0), relative_distance_exponent(2.0, 1.0)
        (-0.5, 0.5, 0.0)
    """
    _condensation_score(gamma, gamma_prime)
    g, p = np.broadcast_arrays(_numbers("gamma", gamma), _numbers("gamma_prime", gamma_prime))
    weak = g - 1 - 2 * np.maximum(p, 0)
    strong = np.where(p >= g - 1, 2 * (g - 1 - p), np.where(p <= 1 - g, g - 1, (g - 1 - p) / 2))
    return _plain(np.where(g <= 1, weak, strong) + 0.0)


def _condensation_score(gamma: Any, gamma_prime: Any) -> Array:
    """min(γ − 1, γ − 1 − γ′): positive iff condensed, negative iff linear, zero iff critical."""
    g, p = _numbers("gamma", gamma), _numbers("gamma_prime", gamma_prime)
    for name, value in (("gamma", g), ("gamma_prime", p)):
        if not np.all(np.isfinite(value)):
            raise ArgumentError(f"{name} must be finite, got {value!r}")
    return np.minimum(g - 1, g - 1 - p)


def _numbers(name: str, value: Any) -> Array:
    try:
        return np.asarray(on_host(value), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must be a number or an array of numbers, got {value!r}") from error


def _plain(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 and not math.isnan(float(value)) else value
