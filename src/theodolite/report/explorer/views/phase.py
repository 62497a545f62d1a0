"""The mean-field phase plane of an activation, and everything that is known at one point of it."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from theodolite.core.errors import NumericalError
from theodolite.nets.activations import ACTIVATIONS
from theodolite.report.explorer.parameters import Choice, Field, Number, Whole
from theodolite.report.explorer.payload import rounded

__all__ = ["PLANE", "POINT", "correlations", "plane", "point"]

_NAMES = tuple(ACTIVATIONS)

#: Parameters of `plane` and of `correlations`; windows left out are chosen by the activation.
PLANE: dict[str, Field] = {
    "activation": Choice(_NAMES, "tanh"),
    "w_max": Number(0.1, 400.0),
    "b_max": Number(0.01, 25.0, 1.0),
    "columns": Whole(8, 96, 80),
    "rows": Whole(8, 72, 60),
}
#: Parameters of `point`.
POINT: dict[str, Field] = {
    "activation": Choice(_NAMES, "tanh"),
    "w": Number(0.001, 400.0, 1.5),
    "b": Number(0.0, 25.0, 0.05),
    "depth": Whole(1, 1000, 16),
}

#: Layers of the drawn correlation flow, and the correlations from which it starts.
LAYERS, STARTS = 40, (0.0, 0.3, 0.6, 0.9)
#: Chebyshev nodes in θ = arccos c at which the correlation map is computed.
NODES = 33


def plane(activation: str, w_max: float | None, b_max: float, columns: int, rows: int) -> dict[str, Any]:
    """χ₁, the gradient's depth scale and q* on a grid, with the critical line: what takes no correlation map.

    Args:
        activation: name.
        w_max: greatest σ_w²; None: about twice that of the critical line.
        b_max: greatest σ_b².
        columns: grid points in σ_w².
        rows: grid points in σ_b².
    """
    from theodolite.theory.meanfield.predict.depth import length_scale
    from theodolite.theory.meanfield.predict.fixed_points import fixed_variance
    from theodolite.theory.meanfield.predict.maps import TINY
    from theodolite.theory.meanfield.predict.moments import moment_table

    phi = ACTIVATIONS[activation]
    high, w, b = _grid(activation, w_max, b_max, columns, rows)
    grid_w, grid_b = (np.ascontiguousarray(a) for a in np.broadcast_arrays(w[None, :], b[:, None]))
    q = fixed_variance(phi, grid_w, grid_b, 1.0, diverging=np.inf)
    # Where the variance diverges χ₁ is its limit for large q, as in `meanfield.phase_diagram`.
    at = np.where(np.isfinite(q), np.maximum(q, TINY), 2.0**30)
    chi = grid_w * moment_table(phi).slope(at.ravel())[0].reshape(q.shape)
    return {
        "w_max": high,
        "b_max": b_max,
        "sigma_w2": w,
        "sigma_b2": b,
        "chi_1": rounded(chi),
        "xi_grad": rounded(np.abs(length_scale(chi))),
        "q_star": rounded(q),
        "line": _critical_line(activation, b_max),
        "python": _plane_code(activation, high, b_max, columns, rows),
    }


def correlations(activation: str, w_max: float | None, b_max: float, columns: int, rows: int) -> dict[str, Any]:
    """c* and ξ_c on the grid of `plane`, whose arguments it takes.

    They solve the correlation map, which takes some seconds for activations without a closed form or a series: hence apart.
    """
    from theodolite.theory import meanfield

    _, w, b = _grid(activation, w_max, b_max, columns, rows)
    found = meanfield.phase_diagram(ACTIVATIONS[activation], w, b)
    return {"c_star": rounded(found.c_star.T), "xi_c": rounded(found.xi_c.T)}


def _grid(activation: str, w_max: float | None, b_max: float, columns: int, rows: int) -> tuple[float, np.ndarray, np.ndarray]:
    """The right end of the window, and the points at the centres of the cells that are drawn: σ_w² = 0 itself says nothing."""
    high = w_max if w_max is not None else _window(_critical_line(activation, b_max)["sigma_w2"])
    return high, (np.arange(columns) + 0.5) * high / columns, (np.arange(rows) + 0.5) * b_max / rows


@functools.lru_cache(maxsize=64)
def _critical_line(activation: str, b_max: float) -> dict[str, list[Any]]:
    """The critical line for σ_b² up to ``b_max``; empty beyond what exists, one point for ReLU."""
    from theodolite.theory.meanfield import critical_line

    found: dict[str, list[Any]] = {"sigma_w2": [], "sigma_b2": [], "stable": []}
    # Denser next to σ_b² = 0, where the line of tanh leaves with a vertical tangent.
    for b in b_max * np.linspace(0.0, 1.0, 41) ** 2:
        try:
            at = critical_line(ACTIVATIONS[activation], float(b))
        except NumericalError:
            continue
        found["sigma_w2"].append(float(at.sigma_w2))
        found["sigma_b2"].append(float(b))
        found["stable"].append(bool(at.stable))
    return found


def _window(line: list[float]) -> float:
    """A round number about twice the σ_w² of the critical line at a small bias; 4 where there is none."""
    if not line:
        return 4.0
    wanted = min(400.0, max(0.2, 2.0 * line[len(line) // 4]))
    step = 10.0 ** math.floor(math.log10(wanted))
    return min(400.0, next(m * step for m in (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0) if m * step >= wanted - 1e-9))


def point(activation: str, w: float, b: float, depth: int) -> dict[str, Any]:
    """Everything at one point (σ_w², σ_b²): phase, c-map, flows, depth scales, Jacobian densities, and how to be critical there.

    Args:
        activation: name.
        w: σ_w².
        b: σ_b².
        depth: layers of the Jacobian.
    """
    from theodolite.theory import meanfield

    phi = ACTIVATIONS[activation]
    result: dict[str, Any] = {"sigma_w2": w, "sigma_b2": b, "critical": _critical_point(activation, b)}
    q = math.nan
    try:
        q = meanfield.q_star(phi, w, b)
        chi = meanfield.chi_1(phi, w, b)
        scales = meanfield.depth_scales(phi, w, b)
        c_star = meanfield.c_star(phi, w, b)
    except NumericalError as error:
        result |= {"diverges": True, "reason": str(error)}
    else:
        theta, values = _correlation_map(activation, w, b)
        result |= {
            "diverges": False,
            "q_star": q,
            "chi_1": chi,
            "c_star": c_star,
            "phase": "critical" if abs(chi - 1) <= 1e-7 else "chaotic" if chi > 1 else "ordered",
            "xi_q": scales.xi_q,
            "xi_c": scales.xi_c,
            "xi_grad": scales.xi_grad,
            "map": _drawn_map(theta, values),
            "flows": [{"c0": c0, "c": rounded(_flow(values, c0), 6)} for c0 in STARTS],
        }
    return result | {
        "jacobian": _jacobian(activation, result["critical"], q, depth),
        "python": _point_code(activation, w, b, depth, result["critical"]),
    }


def _critical_point(activation: str, b: float) -> dict[str, Any]:
    from theodolite.theory.meanfield import critical_line

    try:
        at = critical_line(ACTIVATIONS[activation], b)
    except NumericalError as error:
        return {"exists": False, "reason": str(error)}
    return {
        "exists": True,
        "sigma_w2": float(at.sigma_w2),
        "sigma_b2": float(at.sigma_b2),
        "q_star": float(at.q_star),
        "stable": bool(at.stable),
    }


@functools.lru_cache(maxsize=256)
def _correlation_map(activation: str, w: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes θ_k, and Chebyshev coefficients of θ ↦ C(cos θ) on [0, π].

    In θ the map is smooth even for activations with kinks, where in c it has (1 − c)^{3/2}; 33 nodes give it to about 1e-6, and
    for ELU, whose map takes 30 ms a point, all that is drawn takes a second.
    """
    from theodolite.theory.meanfield import c_map

    k = np.arange(NODES)
    x = np.cos(math.pi * k / (NODES - 1))  # Chebyshev points of the second kind: both ends are nodes
    theta = 0.5 * math.pi * (x + 1.0)
    values = np.asarray(c_map(np.clip(np.cos(theta), -1.0, 1.0), ACTIVATIONS[activation], w, b))
    return theta, np.polynomial.chebyshev.chebfit(x, values, NODES - 1)


def _at(coefficients: np.ndarray, c: Any) -> np.ndarray:
    theta = np.arccos(np.clip(c, -1.0, 1.0))
    return np.polynomial.chebyshev.chebval(2.0 * theta / math.pi - 1.0, coefficients)


def _drawn_map(theta: np.ndarray, coefficients: np.ndarray) -> dict[str, Any]:
    c = np.cos(np.linspace(math.pi, 0.0, 81))
    return {"c": rounded(c, 6), "next": rounded(_at(coefficients, c), 6)}


def _flow(coefficients: np.ndarray, start: float) -> np.ndarray:
    """c_0 … c_40 at the fixed variance."""
    c = [start]
    for _ in range(LAYERS):
        c.append(float(np.clip(_at(coefficients, c[-1]), -1.0, 1.0)))
    return np.array(c)


def _jacobian(activation: str, critical: dict[str, Any], q: float, depth: int) -> dict[str, Any]:
    """Density of singular values at criticality for both ensembles of weights."""
    from theodolite.theory import meanfield

    at = max(critical["q_star"], 1e-6) if critical["exists"] else q
    if not (math.isfinite(at) and at > 0):
        return {"available": False, "reason": "neither a critical point nor a finite q* exists here"}
    found: dict[str, Any] = {"available": True, "q": at, "at_critical_point": critical["exists"], "depth": depth}
    for weights in ("gaussian", "orthogonal"):
        try:
            top = _right_end(activation, at, depth, weights)
            # Denser next to zero, where deep Gaussian spectra pile up; ρ(s) ds = ρ(λ) dλ with λ = s².
            s = top * np.linspace(0.004, 1.03, 160) ** 1.5
            density = 2.0 * s * meanfield.jacobian_density(s**2, ACTIVATIONS[activation], at, depth, weights)
        except NumericalError as error:
            found[weights] = {"available": False, "reason": str(error)}
        else:
            found[weights] = {"available": True, "s_max": top, "s": rounded(s), "density": rounded(density)}
    return found


def _right_end(activation: str, q: float, depth: int, weights: Any) -> float:
    """The greatest singular value; where the slopes of φ are unbounded, ten standard deviations of the squared ones."""
    from theodolite.theory import meanfield

    edge = meanfield.s_max(ACTIVATIONS[activation], q, depth, weights)
    if not math.isfinite(edge):
        spread = meanfield.jacobian_moments(ACTIVATIONS[activation], q, 1.0, depth, weights)
        edge = 1.0 + 10.0 * math.sqrt(spread.variance) / spread.mean
    return math.sqrt(edge)


def _plane_code(activation: str, w_max: float, b_max: float, columns: int, rows: int) -> str:
    return (
        "import numpy as np\nimport theodolite as td\n\n"
        f"sigma_w2 = np.linspace({w_max / columns / 2:.6g}, {w_max * (1 - 0.5 / columns):.6g}, {columns})\n"
        f"sigma_b2 = np.linspace({b_max / rows / 2:.6g}, {b_max * (1 - 0.5 / rows):.6g}, {rows})\n"
        f'plane = td.meanfield.phase_diagram("{activation}", sigma_w2, sigma_b2)\n'
        "print(plane)\n"
    )


def _point_code(activation: str, w: float, b: float, depth: int, critical: dict[str, Any]) -> str:
    head = (
        "import torch\nfrom torch import nn\n\nimport theodolite as td\n\n"
        f'activation, sigma_w2, sigma_b2 = td.nets.activation("{activation}"), {w!r}, {b!r}\n'
        "plane = td.meanfield.phase_diagram(activation, [sigma_w2], [sigma_b2])\n"
        "print(plane.phase[0, 0], plane.q_star[0, 0], plane.chi_1[0, 0], plane.xi_c[0, 0])\n"
    )
    if not critical["exists"]:
        return head + f"# no critical point has this sigma_b2: {critical['reason'].split(';')[0]}\n"
    return head + (
        "point = td.meanfield.critical_line(activation, sigma_b2)  "
        f"# σ_w² = {critical['sigma_w2']:.6g}, q* = {critical['q_star']:.6g}\n\n"
        "# a deep network, initialised there\n"
        "layers = []\n"
        f"for _ in range({min(depth, 64)}):\n"
        f'    layers += [nn.Linear(100, 100), td.nets.Elementwise("{activation}")]\n'
        "model = nn.Sequential(*layers, nn.Linear(100, 10))\n"
        'report = td.meanfield.critical_init_(model, sigma_b2=sigma_b2, weights="orthogonal", activation=activation)\n'
        "print(report)\n"
    )
