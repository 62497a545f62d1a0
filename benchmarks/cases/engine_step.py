"""Training steps of 128 networks of the condensation notebook (width 1000, 4 points): backends against two obvious loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.cases._notebook import LR, TRAINING, WIDTH, Linear, first_losses, inputs, target, train_one_step
from benchmarks.elsewhere import Elsewhere
from benchmarks.machine import Work
from benchmarks.scaling import Curve
from torch import nn
from torch.func import functional_call, grad, vmap

from theodolite.train import Ensemble, Gaussian, MLPSpec
from theodolite.train.loop import Run, Task
from theodolite.train.options import Options

TITLE = "engine: SGD steps of 128 two-layer ReLU networks, width 1000"
TOLERANCE = 1e-3
GOALS = {
    "notebook step": 300.0,
    "vmap(grad)": 30.0,
    "JAX vmap + scan (jit)": 5.0,
    ("theodolite, compile", "notebook step"): 60.0,
    ("theodolite, compile", "vmap(grad)"): 10.0,
    ("theodolite, eager", "notebook step"): 15.0,
}
#: Contender -> share of the work (all networks, all steps) that a call does; times are divided by it.
SHARE: dict[str, float] = {}


def floor(quick: bool) -> Work:
    """11 n m operations per network and step; the parameters stay in cache."""
    members, steps = (16, 50) if quick else (128, 2000)
    return Work(flops=11.0 * TRAINING * WIDTH * members * steps, dtype="float32")


def curves(quick: bool) -> list[Curve]:
    steps = 50 if quick else 500

    def engine(width: int, members: int, points: int) -> Callable[[], object]:
        x = torch.linspace(-1, 1, points)[:, None]
        spec = MLPSpec((1, width, 1), "relu", bias="hidden", init=Gaussian(t=0.5))
        run = Run(
            Ensemble(spec, members, dtype=torch.float32),
            Task(x, target(x), steps, lr=LR, schedule=[steps]),
            Options(backend="numba"),
        )

        def call() -> object:
            run.step = 0
            return run._segment(steps)

        return call

    return [
        Curve("SGD steps, 16 networks, n = 4", "width", (250, 1000, 4000, 16_000), 1, lambda m: engine(m, 16, TRAINING)),
        Curve("SGD steps, width 1000, n = 4", "networks E", (4, 16, 64, 256), 1, lambda e: engine(WIDTH, e, TRAINING)),
    ]


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    members, steps = (16, 50) if quick else (128, 2000)
    few = 20
    x, y = inputs()[0], target(inputs()[0])
    spec = MLPSpec((1, WIDTH, 1), "relu", bias="hidden", init=Gaussian(t=0.5))
    start = Ensemble(spec, members, dtype=torch.float32).parameters

    def engine(backend: str, count: int) -> Callable[[], np.ndarray]:
        SHARE["theodolite" if backend == "numba" else f"theodolite, {backend}"] = count / steps
        return first_losses(spec, start, (x, y), backend, count, few)

    def stacked() -> np.ndarray:
        module = Linear(WIDTH, nn.ReLU())
        names = [name for name, _ in module.named_parameters()]
        params = dict(zip(names, (value.clone() for value in start.values()), strict=True))

        def loss(p: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            value = nn.functional.mse_loss(functional_call(module, p, (x,)), y)
            return value, value

        gradient = vmap(grad(loss, has_aux=True))
        losses = []
        for _step in range(few):
            slopes, value = gradient(params)
            losses.append(float(value[0]))
            params = {name: p - LR * slopes[name] for name, p in params.items()}
        return np.array(losses)

    def notebook() -> np.ndarray:
        model = Linear(WIDTH, nn.ReLU())
        model.assign({name: value[0] for name, value in start.items()})
        optimizer, loss_fn = torch.optim.SGD(model.parameters(), lr=LR), nn.MSELoss(reduction="mean")
        return np.array([train_one_step(model, optimizer, loss_fn, x, y) for _ in range(few)])

    jax_steps = 20 if quick else 200
    SHARE["JAX vmap + scan (jit)"] = jax_steps / steps
    arguments = {"start": [value.numpy() for value in start.values()]}
    arguments |= {"x": x.numpy(), "y": y.numpy(), "rate": LR, "count": jax_steps, "keep": few}
    SHARE["vmap(grad)"] = few / steps
    SHARE["notebook step"] = few / steps / members
    return {
        "theodolite": engine("numba", steps),
        "theodolite, compile": engine("compile", 100),
        "theodolite, eager": engine("eager", 40),
        "JAX vmap + scan (jit)": Elsewhere("jax", "benchmarks.peers.engine:steps", arguments),
        "vmap(grad)": stacked,
        "notebook step": notebook,
    }
