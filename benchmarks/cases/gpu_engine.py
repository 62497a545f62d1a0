"""Training steps of 1,024 two-layer networks on a GPU: a captured graph of steps against eager steps and vmap(grad)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.cases._notebook import LR, TRAINING, WIDTH, first_losses, inputs, target
from benchmarks.machine import Work
from torch.func import grad, vmap

from theodolite.train import Ensemble, Gaussian, MLPSpec

TITLE = "GPU engine: SGD steps of 1,024 two-layer ReLU networks, width 1000, float32"
TOLERANCE = 1e-3
REQUIRES = "cuda"
CLOCK = "wall"
SHARE: dict[str, float] = {}
MEMBERS, STEPS, FEW = 1024, 2000, 20


def floor(quick: bool) -> Work:
    """The arithmetic, 11 n m a step, or one pass over the 3 m parameters of each network, read and written, whichever takes longer."""
    networks = MEMBERS * (STEPS // 20 if quick else STEPS)
    return Work(flops=11.0 * TRAINING * WIDTH * networks, traffic=24.0 * WIDTH * networks, dtype="float32")


def contenders(quick: bool = False, device: str = "cuda") -> dict[str, Callable[[], np.ndarray]]:
    """The first losses of the first network."""
    steps = STEPS // 20 if quick else STEPS
    x, y = inputs()[0].to(device), target(inputs()[0]).to(device)
    spec = MLPSpec((1, WIDTH, 1), "relu", bias="hidden", init=Gaussian(t=0.5))
    start = {
        name: value.clone() for name, value in Ensemble(spec, MEMBERS, dtype=torch.float32, device=device).parameters.items()
    }

    def engine(backend: str, count: int) -> Callable[[], np.ndarray]:
        SHARE["theodolite" if backend == "auto" else f"theodolite, {backend}"] = count / steps
        return first_losses(spec, start, (x, y), backend, count, FEW)

    def stacked() -> np.ndarray:
        w, b, a = (value.clone() for value in start.values())

        def loss(w: torch.Tensor, b: torch.Tensor, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            value = ((torch.relu(x @ w.reshape(WIDTH, 1).T + b.reshape(-1)) @ a.reshape(1, WIDTH).T - y) ** 2).mean()
            return value, value

        gradient, losses = vmap(grad(loss, argnums=(0, 1, 2), has_aux=True)), []
        for _ in range(FEW):
            (gw, gb, ga), value = gradient(w, b, a)
            losses.append(value[0])
            w, b, a = w - LR * gw, b - LR * gb, a - LR * ga
        return torch.stack(losses).cpu().numpy()

    SHARE["vmap(grad)"] = FEW / steps
    graphed = {"theodolite, cudagraph": engine("cudagraph", steps)} if device == "cuda" else {}
    return {"theodolite": engine("auto", steps), **graphed, "theodolite, eager": engine("eager", 40), "vmap(grad)": stacked}
