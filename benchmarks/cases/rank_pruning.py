"""Pruning both hidden layers of a trained 64-100-100-10 tanh network to 40 neurons: the error on the data, and the time."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from benchmarks.cases._layers import layers_of
from benchmarks.elsewhere import Elsewhere
from benchmarks.machine import Work
from torch import nn

from theodolite.data import digits
from theodolite.theory.rank import prune

TITLE = "pruning a trained 64-100-100-10 tanh network on digits to 40 neurons a layer (difference: relative error of the outputs)"
#: Every pruned network differs from the network; how far is what is compared.
APPROXIMATE = True
KEEP = 40


def trained(quick: bool) -> tuple[nn.Sequential, torch.Tensor]:
    """The network, trained by full-batch Adam on one-hot targets, and its data."""
    split = digits(400 if quick else 1200, dtype=torch.float64)
    x, y = split.x.flatten(1), torch.nn.functional.one_hot(split.y, 10).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(64, 100, dtype=torch.float64), nn.Tanh(), nn.Linear(100, 100, dtype=torch.float64), nn.Tanh(),
            nn.Linear(100, 10, dtype=torch.float64),
        )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(100 if quick else 300):
        optimizer.zero_grad()
        ((model(x) - y) ** 2).mean().backward()
        optimizer.step()
    return model, x


def outputs(model: nn.Module, x: torch.Tensor) -> np.ndarray:
    """Outputs without gradients."""
    with torch.no_grad():
        return model(x).numpy()


def reference(quick: bool) -> np.ndarray:
    return outputs(*trained(quick))


def magnitude(model: nn.Sequential, x: torch.Tensor, refit: bool) -> np.ndarray:
    """torch.nn.utils.prune by the norm of the incoming weights; then, if wanted, the next layer by least squares, layer by layer."""
    from torch.nn.utils import prune as standard

    small = copy.deepcopy(model)
    with torch.no_grad():
        for k in (0, 2):
            kept = small[k].weight.norm(dim=1).topk(KEEP).indices
            standard.ln_structured(small[k], "weight", amount=100 - KEEP, n=2, dim=0)
            standard.remove(small[k], "weight")
            small[k].bias.mul_(small[k].weight.any(1))
            if refit:
                ones = torch.ones(len(x), 1, dtype=x.dtype)
                h = torch.cat([small[: k + 2](x)[:, kept], ones], 1)
                wanted = model[: k + 3](x)
                solution = torch.linalg.lstsq(h, wanted, driver="gelsd").solution
                small[k + 2].weight.zero_()[:, kept] = solution[:-1].T
                small[k + 2].bias.copy_(solution[-1])
        return small(x).numpy()


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """The pruned networks' outputs."""
    model, x = trained(quick)
    arguments = {"layers": layers_of(model), "x": x.numpy(), "keep": KEEP}
    return {
        "theodolite": lambda: outputs(prune(model, x, width=KEEP)[0], x),
        "torch.nn.utils.prune": lambda: magnitude(model, x, refit=False),
        "torch.nn.utils.prune + refit": lambda: magnitude(model, x, refit=True),
        "Torch-Pruning": Elsewhere("torch", "benchmarks.peers.pruning:torch_pruning", arguments),
    }


def floor(quick: bool) -> Work:
    """Features of the data, and a triangular factor of each hidden layer's."""
    samples = 400 if quick else 1200
    forward = 2.0 * samples * (64 * 100 + 100 * 100 + 100 * 10)
    return Work(flops=forward + 2 * 2.0 * samples * 100**2, elements={"tanh": 2.0 * samples * 100})
