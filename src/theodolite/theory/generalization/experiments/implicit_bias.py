"""Gradient descent on separable data, followed to astronomic times, and other algorithms beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from theodolite.core.errors import unknown
from theodolite.core.experiment import Experiment
from theodolite.core.schedule import log_spaced
from theodolite.core.seed import generator
from theodolite.theory.generalization.construct.descent import Optimizer, gradient_descent
from theodolite.theory.generalization.measure.margins import angle_to, margin
from theodolite.theory.generalization.predict.flow import gradient_flow
from theodolite.theory.generalization.predict.implicit_bias import implicit_bias_constants
from theodolite.theory.generalization.predict.max_margin import MaxMargin, max_margin
from theodolite.theory.generalization.predict.sup_margin import sup_margin

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ImplicitBias", "ImplicitBiasOptimizers", "separable_set"]

#: Support vectors (labels folded in) of the two data sets.
_SUPPORT = {
    "mirror": np.array([[0.5, 1.5], [1.5, 0.5]]),
    "asymmetric": np.array([[1.0, 0.3], [0.2, 1.5]]),
}


def separable_set(name: str, others: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Separable points in the plane with labels ±1.

    ``mirror`` is the set of Figure 1 of Soudry et al.: support vectors (½, 3/2), (3/2, ½) with label +1 and their negatives with
    label −1, mirror images about the separator. ``asymmetric`` has the two support vectors (1, 0.3), (0.2, 1.5), folded, that
    are not. The other points are normal around twice the margin along the separator, those beyond
    1.5 times the margin, half of either label.

    Raises:
        UnknownNameError: another name.
    """
    import torch

    if name not in _SUPPORT:
        raise unknown("separable set", name, _SUPPORT)
    support = _SUPPORT[name]
    w_hat = np.linalg.solve(support, np.ones(2))
    drawn = torch.randn(100 * others + 100, 2, generator=generator(seed, "separable", name), dtype=torch.float64).numpy()
    points = (0.7 * drawn + 2.0 * w_hat / np.linalg.norm(w_hat)) / np.linalg.norm(w_hat)
    beyond = points[points @ w_hat > 1.5][:others]
    signs = np.where(np.arange(len(beyond)) % 2, -1, 1)
    both = name == "mirror"
    x = np.vstack([support, -support] if both else [support[:1], -support[1:]])
    y = np.array([1, 1, -1, -1] if both else [1, -1])
    return np.vstack([x, signs[:, None] * beyond]), np.concatenate([y, signs])


def _rate(name: str, x: np.ndarray) -> float:
    """1/σ_max(x), the step of Soudry et al.; for momentum (1 − β) times that, so that its effective rate is the same.

    With the full step momentum overshoots at the start and then needs of the order of e^‖w‖ steps to turn back.
    """
    step = 1 / float(np.linalg.norm(x, 2))
    return step * (1 - Optimizer(name).momentum) if name == "momentum" else step


@dataclass(frozen=True)
class ImplicitBias(Experiment):
    """Gradient descent on two separable sets: real steps first, then the flow to the last decade.

    Attributes:
        sets: ``"mirror"`` (Soudry's Figure 1) and ``"asymmetric"``.
        optimizers: algorithms whose real steps are recorded.
        steps: number of real steps.
        decades: the flow is followed to t = 10^decades.
        loss: ``"logistic"`` or ``"exponential"``.
        per_decade: looks per decade of real steps.
        seed: of the points off the margin.
    """

    sets: tuple[str, ...] = ("mirror", "asymmetric")
    optimizers: tuple[str, ...] = ("gd", "momentum")
    steps: int = 1_000_000
    decades: int = 100
    loss: str = "logistic"
    per_decade: int = 10
    seed: int = 0

    reference: ClassVar[str] = "soudry2018 Fig. 1"
    small: ClassVar[Mapping[str, Any]] = {"steps": 10_000}

    def measure(self) -> xr.Dataset:
        """Norm, loss, angle and margin gap of real steps (set, optimizer, step) and of the flow (set, log10_t), with constants."""
        import xarray as xr

        looks = log_spaced(self.per_decade).looks(self.steps)
        exponents = np.concatenate([np.arange(0, 12, 0.25), np.arange(12, self.decades + 1, 1.0)])
        parts = [self._one(name, looks, exponents) for name in self.sets]
        data = xr.concat(parts, dim="set", join="outer")
        data = data.assign_coords(set=list(self.sets), optimizer=list(self.optimizers), step=looks, log10_t=exponents)
        data["log10_t"].attrs["description"] = "log10 of the time (number of steps) of the flow"
        return data.assign_attrs(loss=self.loss, seed=self.seed)

    def _one(self, name: str, looks: list[int], exponents: np.ndarray) -> xr.Dataset:
        import xarray as xr

        x, y = separable_set(name, seed=self.seed)
        eta = 1 / float(np.linalg.norm(x, 2))
        svm, bias = max_margin(x, y), implicit_bias_constants(x, y, eta)
        runs = [gradient_descent(x, y, looks, rule, learning_rate=_rate(rule, x), loss=self.loss) for rule in self.optimizers]
        # The flow takes over from real gradient descent: what differs in the first steps is then not the flow's but the
        # algorithm's own.
        hand_over = min(1000, self.steps)
        start = gradient_descent(x, y, [hand_over], "gd", learning_rate=eta, loss=self.loss).w[0]
        later = exponents > np.log10(hand_over)
        flow = gradient_flow(x, y, 10.0 ** exponents[later] - hand_over, loss=self.loss, rate=eta, w0=start)
        w = np.full((len(exponents), 2), np.nan)
        w[later] = flow.w
        logs = np.full(len(exponents), np.nan)
        logs[later] = flow.log_loss

        def angle(rows: np.ndarray) -> Any:
            return angle_to(rows, svm.w)

        def gap(rows: np.ndarray) -> Any:
            return svm.margin - margin(rows, x, y)

        step_dims, flow_dims = ("optimizer", "step"), ("log10_t",)
        gd_w = np.stack([run.w for run in runs])
        data: dict[str, Any] = {
            "w": ((*step_dims, "axis"), gd_w, {"description": "weights"}),
            "log_loss": (step_dims, np.stack([run.log_loss for run in runs]), {"description": "log of the summed loss"}),
            "norm": (step_dims, np.linalg.norm(gd_w, axis=-1), {"description": "‖w‖"}),
            "angle": (step_dims, _rowwise(angle, gd_w), {"description": "angle to the maximum-margin separator", "units": "rad"}),
            "margin_gap": (step_dims, _rowwise(gap, gd_w), {"description": "maximum margin − margin"}),
            "flow_w": ((*flow_dims, "axis"), w, {"description": "weights of the flow"}),
            "flow_log_loss": (flow_dims, logs, {"description": "log of the summed loss of the flow"}),
            "flow_angle": (flow_dims, _rowwise(angle, w), {"units": "rad"}),
            "flow_margin_gap": (flow_dims, _rowwise(gap, w)),
            "x": (("point", "axis"), _padded(x), {"description": "points"}),
            "y": (("point",), _padded(y[:, None].astype(float))[:, 0], {"description": "labels"}),
            "w_hat": (("axis",), svm.w, {"description": "maximum-margin separator ŵ"}),
            "w_tilde": (("axis",), bias.w_tilde, {"description": "limit of w − ŵ log t"}),
        }
        constants = ("loss_times_t", "angle_times_log_t", "margin_gap_times_log_t", "transverse_rate", "next_margin_rate")
        data |= {f"predicted_{c}": ((), getattr(bias, c)) for c in constants}
        return xr.Dataset(data)


def _rowwise(measure: Callable[[np.ndarray], Any], w: np.ndarray) -> np.ndarray:
    """``measure`` (…, rows) of the rows of ``w`` (…, d) that have a direction; NaN at w = 0, where every run starts, and at NaN."""
    rows = w.reshape(-1, w.shape[-1])
    known = np.isfinite(rows).all(axis=1) & rows.any(axis=1)
    values = np.asarray(measure(rows[known]))
    found = np.full((*values.shape[:-1], len(rows)), np.nan)
    found[..., known] = values
    return found.reshape(*values.shape[:-1], *w.shape[:-1])


def _against(w: np.ndarray, x: np.ndarray, y: np.ndarray, svm: MaxMargin, sup: np.ndarray) -> list[Any]:
    """Angles of separators ``w`` (T, d) to the ℓ2 and the ℓ∞ separator, and their ℓ2 and ℓ∞ margins relative to the best."""
    sup_margins = (w @ (x * y[:, None]).T).min(axis=1) / np.abs(w).max(axis=1)
    return [angle_to(w, svm.w), angle_to(w, sup), margin(w, x, y) / svm.margin, sup_margins * np.abs(sup).max()]


def _padded(rows: np.ndarray, count: int = 16) -> np.ndarray:
    """Rows filled up with NaN to a common number, so that both data sets fit one array."""
    return np.vstack([rows, np.full((count - len(rows), rows.shape[1]), np.nan)])


@dataclass(frozen=True)
class ImplicitBiasOptimizers(Experiment):
    """Where other algorithms go on the same separable data: SGD and momentum as gradient descent, normalised steps faster, Adam
    elsewhere.

    Attributes:
        optimizers: algorithms.
        steps: number of steps.
        seeds: random separable sets.
        samples: points per set; few, so that the ℓ2 and the ℓ∞ separator do not share a vertex of the feasible set.
        dimension: of the points.
        gap: least margin of the sets before labelling, in units of a coordinate's deviation.
        loss: ``"logistic"``, or ``"exponential"``, on which momentum at this step size overshoots and stalls far out.
        learning_rate_adam: of Adam. The others use 1/σ_max(x), momentum (1 − β)/σ_max(x), which is the same rate in effect.
        per_decade: looks per decade of steps.
    """

    optimizers: tuple[str, ...] = ("gd", "sgd", "momentum", "normalized", "adam")
    steps: int = 1_000_000
    seeds: int = 5
    samples: int = 12
    dimension: int = 8
    gap: float = 0.5
    loss: str = "logistic"
    learning_rate_adam: float = 1e-3
    per_decade: int = 8

    reference: ClassVar[str] = "soudry2018 Fig. 2"
    small: ClassVar[Mapping[str, Any]] = {"steps": 20_000, "seeds": 2}

    def measure(self) -> xr.Dataset:
        """Angles to the ℓ2 and the ℓ∞ separator over (seed, optimizer, step), and both margins relative to the best."""
        import xarray as xr

        looks = log_spaced(self.per_decade).looks(self.steps)
        names = ("angle_l2", "angle_sup", "margin_l2", "margin_sup")
        found = np.full((len(names), self.seeds, len(self.optimizers), len(looks)), np.nan)
        between = np.full(self.seeds, np.nan)
        for s in range(self.seeds):
            x, y = self._data(s)
            svm, sup = max_margin(x, y), sup_margin(x, y)
            between[s] = angle_to(sup, svm.w)
            for o, name in enumerate(self.optimizers):
                # With ε = 0 Adam never stalls: the loss's gradient falls below any fixed ε.
                rule = Optimizer(name, eps=0.0, seed=s)
                rate = self.learning_rate_adam if name == "adam" else _rate(name, x)
                w = gradient_descent(x, y, looks, rule, learning_rate=rate, loss=self.loss).w
                found[:, s, o] = _rowwise(functools.partial(_against, x=x, y=y, svm=svm, sup=sup), w)
        abouts = ("angle to the ℓ2 separator", "angle to the ℓ∞ separator", "ℓ2 margin / maximum", "ℓ∞ margin / maximum")
        data: dict[str, Any] = {
            name: (("seed", "optimizer", "step"), found[i], {"description": abouts[i]} | ({"units": "rad"} if i < 2 else {}))
            for i, name in enumerate(names)
        }
        data["angle_between"] = (("seed",), between, {"description": "angle between the two separators", "units": "rad"})
        coords = {"seed": range(self.seeds), "optimizer": list(self.optimizers), "step": looks}
        return xr.Dataset(data, coords=coords, attrs={"loss": self.loss, "samples": self.samples})

    def _data(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Normal points, pushed off a random hyperplane by the gap, labelled by it."""
        import torch

        source = generator(seed, "separable", "random")
        x = torch.randn(self.samples, self.dimension, generator=source, dtype=torch.float64).numpy()
        direction = torch.randn(self.dimension, generator=source, dtype=torch.float64).numpy()
        direction = direction / np.linalg.norm(direction)
        y = np.where(x @ direction > 0, 1, -1)
        return x + self.gap * y[:, None] * direction, y
