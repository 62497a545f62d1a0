"""The two-layer training loop of the condensation notebook, statement by statement, and the same run on the engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.machine import Work
from torch import nn

from theodolite.train import Ensemble, Gaussian, MLPSpec, log_spaced
from theodolite.train.loop import Run, Task
from theodolite.train.options import Options

WIDTH, TRAINING, TEST, LR = 1000, 4, 10_000, 0.05
#: Networks that the engine trains in one call, and epochs that the notebook runs in one.
NETWORKS, NOTEBOOK_EPOCHS = 16, 20


def target(x: torch.Tensor) -> torch.Tensor:
    return 0.2 * torch.relu(x - 1 / 3) + 0.2 * torch.relu(-x - 1 / 3)


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.linspace(-1, 1, TRAINING)[:, None], torch.linspace(-1.5, 1.5, TEST)[:, None]


class Linear(nn.Module):
    def __init__(self, width: int, activation: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(1, width), activation, nn.Linear(width, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.view(x.size(0), -1)
        return self.features(x)

    def assign(self, values: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters(), values.values(), strict=True):
                parameter.copy_(value)


def train_one_step(model, optimizer, loss_fn, data, goal) -> float:
    model.train()
    data, goal = data.to("cpu"), goal.to("cpu").to(torch.float)
    optimizer.zero_grad()
    outputs = model(data)
    loss = loss_fn(outputs, goal)
    loss.backward()
    optimizer.step()
    return loss.item()


def test(model, loss_fn, data, goal) -> tuple[float, torch.Tensor]:
    model.eval()
    with torch.no_grad():
        data, goal = data.to("cpu"), goal.to("cpu").to(torch.float)
        outputs = model(data)
        loss = loss_fn(outputs, goal)
    return loss.item(), outputs


def notebook_epochs(activation: nn.Module, start: dict[str, torch.Tensor], epochs: int) -> tuple[list[float], list[float]]:
    x, points = inputs()
    goal, wanted = target(x), target(points)
    model = Linear(WIDTH, activation)
    model.assign(start)
    optimizer, loss_fn = torch.optim.SGD(model.parameters(), lr=LR), nn.MSELoss(reduction="mean")
    train, tested = [], []
    for _epoch in range(epochs):
        model.train()
        loss = train_one_step(model, optimizer, loss_fn, x, goal)
        loss_test, _output = test(model, loss_fn, points, wanted)
        train.append(loss)
        tested.append(loss_test)
    return train, tested


def whole_run(
    activation: str, module: nn.Module, share: dict[str, float], quick: bool = False
) -> dict[str, Callable[[], np.ndarray]]:
    """Contenders of one whole run per network; how many whole runs each of their calls amounts to is written to ``share``."""
    epochs, networks = (1001, 2) if quick else (10_001, NETWORKS)
    x, points = inputs()
    spec = MLPSpec((1, WIDTH, 1), activation, bias="hidden", init=Gaussian(t=1.0))
    first = Ensemble(spec, 1, dtype=torch.float32)
    start = {name: value[0] for name, value in first.parameters.items()}
    schedule = log_spaced(21)
    seen = [look for look in schedule.looks(epochs) if 1 <= look <= NOTEBOOK_EPOCHS]

    def engine() -> np.ndarray:
        data = (
            Ensemble(spec, networks, dtype=torch.float32)
            .train(x, target(x), steps=epochs, lr=LR, schedule=schedule, test=(points, target(points)))
            .data
        )
        return np.concatenate([data["loss"].values[0, :NOTEBOOK_EPOCHS], data["test_loss"].sel(look=seen).values[0]])

    def notebook() -> np.ndarray:
        train, tested = notebook_epochs(module, start, NOTEBOOK_EPOCHS)
        return np.array([*train, *(tested[look - 1] for look in seen)])

    share |= {"theodolite": float(networks), "notebook loop": NOTEBOOK_EPOCHS / epochs}
    return {"theodolite": engine, "notebook loop": notebook}


def run_floor(activation: str, quick: bool) -> Work:
    """One network's steps, 11 n m operations each, and its looks, a multiplication and an addition for every test point and neuron.

    Where it is piecewise linear, outputs on a line of sorted points need no product with all neurons, and the looks cost next to nothing.
    """
    epochs = 1001 if quick else 10_001
    looks = 0 if activation == "relu" else len(list(log_spaced(21).looks(epochs)))
    return Work(flops=11.0 * TRAINING * WIDTH * epochs + 2.0 * TEST * WIDTH * looks, dtype="float32")


def first_losses(
    spec: MLPSpec, start: dict[str, torch.Tensor], data: tuple[torch.Tensor, torch.Tensor], backend: str, steps: int, keep: int
) -> Callable[[], np.ndarray]:
    """A call that carries networks ``steps`` steps from ``start``: the first ``keep`` losses of the first of them."""
    first = next(iter(start.values()))
    ensemble = Ensemble(spec, len(first), dtype=first.dtype, device=first.device)
    run = Run(ensemble, Task(*data, steps, lr=LR, schedule=[steps]), Options(backend=backend))

    def call() -> np.ndarray:
        run.step = 0
        for name, value in ensemble.parameters.items():
            value.copy_(start[name])
        return run._segment(steps).cpu().numpy()[0, :keep]

    return call
