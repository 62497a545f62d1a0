"""Looking at the ε-rank of both layers of a 1-50-50-1 network on 64 Gauss–Legendre nodes, beside one Adam step on 256 points."""

from __future__ import annotations

from collections.abc import Callable

import torch

from theodolite.core.registry import quantity_named
from theodolite.lens import Lens
from theodolite.maths.quadrature import gauss_legendre
from theodolite.nets import mlp

TITLE = "Tracking ε-rank of two layers (64 nodes) beside a training step (256 points, Adam)"
TOLERANCE = 0.0


def contenders(quick: bool = False) -> dict[str, Callable[[], None]]:
    """One look, and one step; they compute different things, so there are no results to compare."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = mlp([1, 50, 50, 1], "tanh", dtype=torch.float64)
    nodes, weights = gauss_legendre(-1.0, 1.0, 64)
    lens = Lens(net, nodes, sample_weights=weights)
    quantity = quantity_named("rank.epsilon_rank")
    x = torch.linspace(-1, 1, 256, dtype=torch.float64)[:, None]
    y = torch.cos(3 * x)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    repeats = 20

    def look() -> None:
        for _ in range(repeats):
            fresh = lens.again()
            for layer in fresh.layers:
                quantity.value(lambda need, fresh=fresh, layer=layer: fresh.show(need, layer))

    def step() -> None:
        for _ in range(repeats):
            loss = ((net(x) - y) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return {"theodolite": look, "training step": step}
