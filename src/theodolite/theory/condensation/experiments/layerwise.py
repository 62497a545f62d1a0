"""Deeper networks: the slope of log RD over log m, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from theodolite.core.errors import ArgumentError
from theodolite.core.experiment import Experiment
from theodolite.core.seed import generator
from theodolite.data.functions import two_kinks
from theodolite.draw.progress import progress

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["LayerwisePhase"]


@dataclass(frozen=True)
class LayerwisePhase(Experiment):
    """S_w of every layer of a deeper ReLU network, over the sizes m^−t of its inner and its outer layers. No boundary is claimed.

    All hidden layers have width m. The layers up to the last hidden one start at standard deviation m^−t_hidden, the output
    layer at m^−t_output. Gradient descent on ½·mean (f − y)² takes the step 1/tr K of the current tangent kernel, and at most
    what moves some layer by a share ``growth`` of its norm.

    Attributes:
        t_hidden: exponents of the hidden layers.
        t_output: exponents of the output layer.
        widths: at least two widths m.
        seeds: seeds; slopes are averaged.
        depth: number of hidden layers.
        training_size: points on [−1, 1] of the target with two kinks.
        tolerance: mean e² at the end, as a share of mean y².
        steps: most steps.
        growth: largest relative movement of a layer in one step.
    """

    t_hidden: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    t_output: tuple[float, ...] = (0.0, 0.5, 1.0)
    widths: tuple[int, ...] = (32, 64, 128)
    seeds: tuple[int, ...] = (0, 1, 2)
    depth: int = 2
    training_size: int = 4
    tolerance: float = 1e-3
    steps: int = 4000
    growth: float = 0.2

    reference: ClassVar[str] = "zhou2022threelayer"
    small: ClassVar[Mapping[str, Any]] = {
        "t_hidden": (0.25, 0.75),
        "t_output": (0.5,),
        "widths": (8, 16),
        "seeds": (0,),
        "steps": 300,
        "tolerance": 1e-2,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.widths)) < 2 or min(self.widths) < 2:
            raise ArgumentError(f"widths must be at least two different numbers ≥ 2 (a slope needs two), got {self.widths!r}")
        if self.depth < 1:
            raise ArgumentError(f"depth must be at least 1 hidden layer, got {self.depth}")

    def measure(self) -> xr.Dataset:
        """Train every network, all cells of a width and seed at once."""
        import xarray as xr

        cells = [(th, to) for th in self.t_hidden for to in self.t_output]
        shape = (len(self.t_hidden), len(self.t_output))
        layers = [f"hidden{k + 1}" for k in range(self.depth)] + ["output"]
        distance = np.empty((*shape, len(self.widths), len(self.seeds), len(layers)))
        loss = np.empty(distance.shape[:-1])
        pairs = [(i, j) for i in range(len(self.widths)) for j in range(len(self.seeds))]
        for i, j in progress(pairs, "deeper networks"):
            found, left = self._train(self.widths[i], self.seeds[j], cells)
            distance[:, :, i, j] = found.reshape(*shape, len(layers))
            loss[:, :, i, j] = left.reshape(shape)
        log_m = np.log(np.asarray(self.widths, dtype=np.float64))
        centred = log_m - log_m.mean()
        slopes = np.einsum("abwsl,w->abl", np.log(np.maximum(distance, 1e-300)), centred) / (centred**2).sum() / len(self.seeds)
        plane, run = ("t_hidden", "t_output"), ("t_hidden", "t_output", "width", "seed")
        return xr.Dataset(
            {
                "S_w": ((*plane, "layer"), slopes, {"description": "slope of log RD of the layer over log m, mean over seeds"}),
                "relative_distance": ((*run, "layer"), distance, {"description": "of the layer's weights and biases"}),
                "loss": (run, loss, {"description": "mean e² / mean y² at the end"}),
            },
            {
                "t_hidden": list(self.t_hidden),
                "t_output": list(self.t_output),
                "width": list(self.widths),
                "seed": list(self.seeds),
                "layer": layers,
            },
        )

    def _train(self, width: int, seed: int, cells: list[tuple[float, float]]) -> tuple[Any, Any]:
        """Relative distances (cell, layer) and final losses (cell,) of one width and seed."""
        x = torch.linspace(-1, 1, self.training_size, dtype=torch.float64)[:, None]
        y = two_kinks(x)
        starts = self._draw(width, seed, cells)
        moves = [torch.zeros_like(w) for w in starts]
        scale = y.square().mean()
        alive = torch.arange(len(cells))
        loss = torch.full((len(cells),), float("nan"), dtype=torch.float64)
        for step in range(self.steps + 1):
            weights = [w[alive] + m[alive] for w, m in zip(starts, moves, strict=True)]
            f, backward = _forward(weights, x)
            e = f - y  # (C, N)
            loss[alive] = e.square().mean(1) / scale
            going = (loss[alive] > self.tolerance) & torch.isfinite(loss[alive])
            if step == self.steps or not bool(going.any()):
                break
            gradients, trace = backward(e)
            eta = 1.0 / trace.clamp_min(1e-300)
            for w, g in zip(weights, gradients, strict=True):
                size = g.flatten(1).norm(dim=1).clamp_min(1e-300)
                eta = torch.minimum(eta, self.growth * w.flatten(1).norm(dim=1) / size)
            for move, g in zip(moves, gradients, strict=True):
                move[alive[going]] -= (eta[:, None, None] * g)[going]
            alive = alive[going]
        ratio = [m.flatten(1).norm(dim=1) / w.flatten(1).norm(dim=1) for w, m in zip(starts, moves, strict=True)]
        return torch.stack(ratio, 1).numpy(), loss.numpy()

    def _draw(self, width: int, seed: int, cells: list[tuple[float, float]]) -> list[Tensor]:
        """Initial weights (C, out, in + 1), the bias as last column; the output layer (C, 1, m) has none."""
        stream = generator(seed, "condensation.layerwise_phase", width)
        shapes = [(width, 2)] + [(width, width + 1)] * (self.depth - 1) + [(1, width)]
        drawn = []
        for k, shape in enumerate(shapes):
            normal = torch.randn(shape, generator=stream, dtype=torch.float64)
            exponent = torch.tensor([to if k == self.depth else th for th, to in cells], dtype=torch.float64)
            drawn.append(normal * (float(width) ** -exponent)[:, None, None])
        return drawn


def _forward(weights: list[Tensor], x: Tensor) -> tuple[Tensor, Any]:
    """Outputs (C, N), and a function of the residuals that gives the gradients of ½·mean e² and tr K of the mean loss."""
    count, cells = len(x), len(weights[0])
    h = x.expand(cells, -1, -1)
    inputs, masks = [], []
    for w in weights[:-1]:
        h = torch.cat([h, torch.ones(cells, count, 1, dtype=x.dtype)], 2)
        inputs.append(h)
        z = h @ w.mT
        masks.append((z > 0).to(x.dtype))
        h = z * masks[-1]
    inputs.append(h)
    f = (h @ weights[-1].mT)[..., 0]

    def backward(e: Tensor) -> tuple[list[Tensor], Tensor]:
        """Back-propagation of ∂f_i with unit error; sample i's gradient of a layer is the outer product of two vectors."""
        delta = torch.ones(cells, count, 1, dtype=x.dtype)
        gradients: list[Tensor] = []
        trace = torch.zeros(cells, dtype=x.dtype)
        for k in reversed(range(len(weights))):
            gradients.insert(0, (delta * e[..., None]).mT @ inputs[k] / count)
            trace = trace + (delta.square().sum(2) * inputs[k].square().sum(2)).sum(1) / count
            if k:
                back = delta @ weights[k][..., : masks[k - 1].shape[2]]
                delta = back * masks[k - 1]
        return gradients, trace

    return f, backward
