"""The phase plane of two-layer networks, and where the neurons of a small one condense."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

import numpy as np

from theodolite.core.errors import TheodoliteWarning
from theodolite.nets.activations import ACTIVATIONS
from theodolite.report.explorer.parameters import Choice, Field, Number, Whole
from theodolite.report.explorer.payload import rounded

__all__ = ["PLANE", "POINT", "TARGETS", "plane", "point"]

#: Window of the plane.
GAMMA, GAMMA_PRIME = (0.0, 3.0), (-1.5, 1.5)
#: Widths at which standard deviations are listed.
WIDTHS = (100, 1_000, 10_000)

#: Name -> (inputs, targets, what it is): data sets of one input, small enough to be shown whole.
TARGETS: dict[str, tuple[tuple[float, ...], tuple[float, ...], str]] = {
    "four_points": ((-1.5, -0.5, 0.5, 1.5), (0.9, -0.6, 0.3, -0.8), "four points with alternating signs"),
    "step": ((-1.0, -0.6, -0.2, 0.2, 0.6, 1.0), (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0), "the sign of x at six points"),
    "sine": (
        tuple(round(-1 + 2 * i / 11, 6) for i in range(12)),
        tuple(round(math.sin(3 * (-1 + 2 * i / 11)), 6) for i in range(12)),
        "sin 3x at twelve points",
    ),
    "bump": (
        tuple(round(-1 + 2 * i / 10, 6) for i in range(11)),
        tuple(round(math.exp(-8 * (-1 + 2 * i / 10) ** 2), 6) for i in range(11)),
        "exp(−8x²) at eleven points",
    ),
}

#: Activations with a direction field at zero.
_NAMES = tuple(ACTIVATIONS)

PLANE: dict[str, Field] = {"columns": Whole(8, 96, 60), "rows": Whole(8, 96, 60)}
POINT: dict[str, Field] = {
    "gamma": Number(-1.0, 5.0, 1.75),
    "gamma_prime": Number(-3.0, 3.0, 0.0),
    "activation": Choice(_NAMES, "tanh"),
    "target": Choice(tuple(TARGETS), "four_points"),
}


def plane(columns: int, rows: int) -> dict[str, Any]:
    """The exponent S of the relative distance, the regime's boundary and the named initialisations.

    Args:
        columns: grid points in γ.
        rows: grid points in γ′.
    """
    from theodolite.theory.condensation import relative_distance_exponent
    from theodolite.theory.condensation.predict import NAMED_INITIALISATIONS

    gamma = GAMMA[0] + (np.arange(columns) + 0.5) * (GAMMA[1] - GAMMA[0]) / columns
    prime = GAMMA_PRIME[0] + (np.arange(rows) + 0.5) * (GAMMA_PRIME[1] - GAMMA_PRIME[0]) / rows
    exponent = relative_distance_exponent(gamma[None, :], prime[:, None])
    places: dict[tuple[float, float], list[str]] = {}
    for name, (g, p) in NAMED_INITIALISATIONS.items():
        places.setdefault((float(g), float(p)), []).append(name)
    corner = GAMMA_PRIME[1]
    return {
        "gamma": gamma,
        "gamma_prime": prime,
        "gamma_range": GAMMA,
        "gamma_prime_range": GAMMA_PRIME,
        "exponent": rounded(exponent),
        # {γ = 1, γ′ ≤ 0} and {γ′ = γ − 1, γ ≥ 1}
        "boundary": {"gamma": [1.0, 1.0, 1.0 + corner], "gamma_prime": [GAMMA_PRIME[0], 0.0, corner]},
        "named": [{"gamma": g, "gamma_prime": p, "names": names} for (g, p), names in places.items()],
        "targets": {name: {"x": x, "y": y, "about": about} for name, (x, y, about) in TARGETS.items()},
    }


def point(gamma: float, gamma_prime: float, activation: str, target: str) -> dict[str, Any]:
    """Regime and standard deviations at (γ, γ′), and the condensed directions of an activation on a data set.

    Args:
        gamma: γ.
        gamma_prime: γ′.
        activation: name.
        target: name of the data set.
    """
    from theodolite.theory import condensation
    from theodolite.train import MLPSpec, PhaseDiagram

    rows = []
    for width in WIDTHS:
        (std_w, _), (std_a, _) = PhaseDiagram(gamma, gamma_prime).stds(MLPSpec((1, width, 1)))
        rows.append({"width": width, "std_a": std_a, "std_w": std_w})
    return {
        "gamma": gamma,
        "gamma_prime": gamma_prime,
        "regime": condensation.regime(gamma, gamma_prime),
        "exponent": condensation.relative_distance_exponent(gamma, gamma_prime),
        "distance": condensation.boundary_distance(gamma, gamma_prime),
        "stds": rows,
        "directions": _directions(activation, target),
        "python": _code(gamma, gamma_prime, activation, target),
    }


@functools.lru_cache(maxsize=256)
def _directions(activation: str, target: str) -> dict[str, Any]:
    from theodolite.theory.condensation import predict_directions
    from theodolite.theory.condensation.predict.multiplicity import leading_term
    from theodolite.theory.condensation.predict.sphere import Potential

    x, y, about = TARGETS[target]
    phi = ACTIVATIONS[activation]
    term, multiplicity = leading_term(phi)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the activation has a kink", TheodoliteWarning)  # the page says so itself
        found = predict_directions(np.array(x), np.array(y), phi)
    targets = np.array(y) - (np.mean(y) if found.centred else 0.0)
    potential = Potential(np.stack([x, np.ones(len(x))], 1), targets, term)
    angle = np.linspace(-math.pi, math.pi, 181)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    return {
        "about": about,
        "p": multiplicity.p,
        "kink": multiplicity.kink,
        "order": multiplicity.order,
        "coefficient": multiplicity.coefficient,
        "radius": multiplicity.radius,
        "centred": found.centred,
        "method": found.method,
        "count": found.count,
        "lines": found.lines,
        "x": x,
        "y": targets,
        "potential": {"angle": rounded(angle, 6), "value": rounded(potential.value(circle))},
        "found": [_attractor(found, k) for k in range(len(found))],
    }


def _attractor(found: Any, k: int) -> dict[str, Any]:
    """Row k of the predicted directions."""
    w, b = found.vectors[k]
    return {
        "angle": float(found.angles[k]),
        "w": float(w),
        "b": float(b),
        "sign": int(found.sign[k]),
        "strength": float(found.strength[k]),
        "grows": bool(found.growing[k]),
        "basin": float(found.basin[k]),
    }


def _code(gamma: float, gamma_prime: float, activation: str, target: str) -> str:
    x, y, _ = TARGETS[target]
    return (
        "import theodolite as td\nfrom theodolite.train import Ensemble, MLPSpec, PhaseDiagram\n\n"
        f"gamma, gamma_prime = {gamma!r}, {gamma_prime!r}\n"
        "print(td.condensation.regime(gamma, gamma_prime))\n"
        f'activation = td.nets.activation("{activation}")\n'
        f"x = {list(x)}\ny = {list(y)}\n"
        "print(td.condensation.predict_directions(x, y, activation))\n\n"
        "# two-layer networks drawn at this point of the plane\n"
        f'spec = MLPSpec((1, 1000, 1), "{activation}", init=PhaseDiagram(gamma, gamma_prime))\n'
        "networks = Ensemble(spec, 4)\n"
        "print(td.condensation.coordinates(networks.member(0)))\n"
    )
