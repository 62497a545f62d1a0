"""`meanfield.delta_orthogonal`: a vanilla tanh CNN of thousands of layers propagates signals and takes training steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from theodolite.core.experiment import Experiment
from theodolite.core.seed import generator
from theodolite.data.digits import digits
from theodolite.theory.meanfield import predict
from theodolite.theory.meanfield.construct.orthogonal import delta_orthogonal_

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["DeltaOrthogonal"]


@dataclass(frozen=True)
class DeltaOrthogonal(Experiment):
    """Forward lengths, backward gradients and first training steps of a plain tanh CNN: delta-orthogonal against Gaussian kernels.

    The papers' network has 10,000 layers; the small scale says how deep it went in ``depth``.

    Attributes:
        depth: number of 3 × 3 convolutions.
        channels: of each.
        images: number of digits (8 × 8).
        steps: training steps, plain SGD.
        lr: learning rate of each weight matrix, divided by the depth.
        looks: number of depths at which lengths and gradients are kept.
        seed: of the weights.
    """

    reference = "xiao2018 Fig. 1"
    small: ClassVar = {"depth": 200, "channels": 8, "images": 12, "steps": 5, "looks": 21}

    depth: int = 10_000
    channels: int = 16
    images: int = 16
    steps: int = 10
    lr: float = 0.5
    looks: int = 101
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Lengths, gradients and losses for both initialisations."""
        import xarray as xr

        kinds = ("gaussian", "delta-orthogonal")
        at = np.unique(np.linspace(0, self.depth - 1, self.looks).astype(int))
        rows = [self._run(kind, at) for kind in kinds]
        return xr.Dataset(
            {
                "length": (("kernel", "layer"), [r[0] for r in rows], {"description": "mean squared pre-activation"}),
                "gradient": (("kernel", "layer"), [r[1] for r in rows], {"description": "‖∂loss/∂W_l‖_F at initialisation"}),
                "modes": (
                    ("kernel", "layer"),
                    [r[2] for r in rows],
                    {"description": "share of the length that varies over positions"},
                ),
                "loss": (("kernel", "step"), [r[3] for r in rows], {"description": "cross-entropy on the images"}),
            },
            coords={"kernel": list(kinds), "layer": at, "step": np.arange(self.steps + 1)},
            attrs={"depth": self.depth, "paper_depth": 10_000},
        )

    def _run(self, kind: str, at: np.ndarray) -> tuple[list[float], list[float], list[float], list[float]]:
        g = generator(self.seed, "cnn", kind)
        # float64: with Gaussian kernels gradients leave the range of float32 within some hundred layers
        split = digits(self.images, images=True, dtype=torch.float64)
        images = (split.x - split.x.mean()) / split.x.std()
        point = predict.critical_point("tanh", 1.0 / self.depth)
        stem = torch.randn(self.channels, 1, 1, 1, generator=g, dtype=torch.float64) * math.sqrt(point.q_star)
        kernels = [self._kernel(kind, point.sigma_w2, g).requires_grad_() for _ in range(self.depth)]
        biases = [
            torch.randn(self.channels, generator=g, dtype=torch.float64) * math.sqrt(point.sigma_b2) for _ in range(self.depth)
        ]
        # Features have second moment q*, so that the readout's inputs are brought back to order one.
        draw = torch.randn(10, self.channels * 64, generator=g, dtype=torch.float64)
        readout = (draw / math.sqrt(self.channels * 64 * point.q_star)).requires_grad_()
        losses: list[float] = []
        lengths: list[float] = []
        modes: list[float] = []
        gradients: list[float] = []
        for step in range(self.steps + 1):
            h = F.conv2d(images, stem)
            for layer, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
                h = F.conv2d(F.pad(torch.tanh(h), (1, 1, 1, 1), mode="circular"), kernel, bias)
                if step == 0 and layer in at:
                    lengths.append(float(h.detach().square().mean()))
                    modes.append(float(h.detach().var((2, 3), correction=0).mean()) / max(lengths[-1], 1e-30))
            loss = F.cross_entropy(torch.tanh(h).flatten(1) @ readout.T, split.y)
            losses.append(float(loss.detach()))
            if step == self.steps:
                break
            found = torch.autograd.grad(loss, [*kernels, readout])
            if step == 0:
                gradients = [float(found[layer].norm()) for layer in at]
            with torch.no_grad():
                for parameter, gradient in zip([*kernels, readout], found, strict=True):
                    parameter -= self.lr / self.depth * gradient * (point.q_star if parameter is not readout else 1.0)
        return lengths, gradients, modes, losses

    def _kernel(self, kind: str, sigma_w2: float, g: torch.Generator) -> torch.Tensor:
        kernel = torch.empty(self.channels, self.channels, 3, 3, dtype=torch.float64)
        if kind == "gaussian":
            return kernel.normal_(0.0, math.sqrt(sigma_w2 / (9 * self.channels)), generator=g)
        return delta_orthogonal_(kernel, math.sqrt(sigma_w2), g)
