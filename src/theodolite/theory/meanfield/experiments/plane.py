"""`meanfield.phase_diagram`: the ordered and the chaotic phase in the plane of the variances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from theodolite.core.errors import NumericalError
from theodolite.core.experiment import Experiment
from theodolite.core.seed import generator
from theodolite.maths.activation import identify
from theodolite.theory.meanfield.experiments.simulation import layers, two_inputs
from theodolite.theory.meanfield.predict import critical_line, phase_diagram

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["PhaseDiagram"]


@dataclass(frozen=True)
class PhaseDiagram(Experiment):
    """q*, χ₁, c* and the depth scales over (σ_w², σ_b²), the critical line, and random networks at some points of the plane.

    Attributes:
        activation: name of φ.
        sigma_w2: (least, largest) variance of the weights times fan-in.
        sigma_b2: (least, largest) variance of the biases.
        points: grid points on both axes.
        probes: points (σ_w², σ_b²) at which random networks are measured.
        width: of these networks.
        depth: of these networks.
        seed: of these networks.
    """

    reference = "poole2016 Fig. 1"
    small: ClassVar = {"points": (24, 20), "width": 300, "depth": 40}

    activation: str = "tanh"
    sigma_w2: tuple[float, float] = (0.05, 4.0)
    sigma_b2: tuple[float, float] = (0.0, 0.4)
    points: tuple[int, int] = (300, 250)
    probes: tuple[tuple[float, float], ...] = ((1.0, 0.1), (1.3, 0.05), (2.5, 0.05), (3.5, 0.2))
    width: int = 1000
    depth: int = 100
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Theory on the grid, simulation at the probes."""
        import xarray as xr

        w = np.linspace(*self.sigma_w2, self.points[0])
        b = np.linspace(*self.sigma_b2, self.points[1])
        plane = phase_diagram(self.activation, w, b)
        columns = ("q_star", "chi_1", "c_star", "xi_q", "xi_c", "xi_grad")
        about = ("fixed variance", "χ₁", "fixed correlation", "ξ_q in layers", "ξ_c in layers", "ξ_∇ in layers")
        data: dict[str, Any] = {
            name: (("sigma_w2", "sigma_b2"), getattr(plane, name), {"description": text})
            for name, text in zip(columns, about, strict=True)
        }
        line = [self._critical(float(v)) for v in b]
        data["critical_sigma_w2"] = ("sigma_b2", [p[0] for p in line], {"description": "σ_w² of the critical line"})
        data["critical_stable"] = ("sigma_b2", [p[1] for p in line], {"description": "whether q* is stable there"})
        data |= self._simulated()
        return xr.Dataset(data, coords={"sigma_w2": w, "sigma_b2": b, "probe": range(len(self.probes))})

    def _critical(self, sigma_b2: float) -> tuple[float, bool]:
        try:
            point = critical_line(self.activation, sigma_b2)
        except NumericalError:
            return float("nan"), False
        return point.sigma_w2, point.stable

    def _simulated(self) -> dict[str, tuple[str, list[float], dict[str, str]]]:
        phi = identify(self.activation)
        rows = []
        for i, (w, b) in enumerate(self.probes):
            g = generator(self.seed, "plane", i)
            here = phase_diagram(self.activation, [w], [b])
            theory = [float(getattr(here, name)[0, 0]) for name in ("q_star", "c_star", "chi_1")]
            z = two_inputs(self.width, theory[0] if np.isfinite(theory[0]) else 1.0, 0.5, g)
            *_, (_, z) = layers(z, phi, w, b, self.depth, "gaussian", g)
            q = z.square().mean(1)
            c = float((z[0] @ z[1]) / (z[0].norm() * z[1].norm()))
            rows.append((w, b, float(q.mean()), c, *theory))
        names = ("probe_sigma_w2", "probe_sigma_b2", "measured_q", "measured_c", "probe_q_star", "probe_c_star", "probe_chi_1")
        return {
            name: ("probe", list(column), {"description": f"{name} at the probes"})
            for name, column in zip(names, zip(*rows, strict=True), strict=True)
        }
