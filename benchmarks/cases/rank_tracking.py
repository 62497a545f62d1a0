"""Looking at the ε-rank of both layers of a 1-50-50-1 network on 64 Gauss–Legendre nodes, beside one Adam step on 256 points."""

from __future__ import annotations

from collections.abc import Callable

import torch
from benchmarks.machine import Work

from theodolite.core.schedule import every
from theodolite.maths.quadrature import gauss_legendre
from theodolite.nets import mlp
from theodolite.train.track import track

TITLE = "Tracking ε-rank of two layers (64 nodes) beside a training step (256 points, Adam)"
TOLERANCE = 0.0
#: Looks, and steps, of one call.
REPEATS = 20


def contenders(quick: bool = False) -> dict[str, Callable[[], None]]:
    """One look, and one step; they compute different things, so there are no results to compare."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = mlp([1, 50, 50, 1], "tanh", dtype=torch.float64)
    nodes, weights = gauss_legendre(-1.0, 1.0, 64)
    run = track(net, nodes, quantities=["rank.epsilon_rank"], sample_weights=weights, when=every(1))
    x = torch.linspace(-1, 1, 256, dtype=torch.float64)[:, None]
    y = torch.cos(3 * x)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def look() -> None:
        for _ in range(REPEATS):
            run.step()

    def step() -> None:
        for _ in range(REPEATS):
            loss = ((net(x) - y) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return {"theodolite": look, "training step": step}


def floor(quick: bool) -> Work:
    """One forward pass of the nodes, and half of both Gram matrices."""
    return Work(flops=REPEATS * 64 * (2.0 * (50 + 50 * 50) + 2 * 50**2), elements={"tanh": REPEATS * 64 * 100.0})
