"""The three largest eigenvalues of the Hessian of a tanh network's loss, with the error against the exact spectrum."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.cases._layers import random_layers
from benchmarks.elsewhere import Elsewhere
from benchmarks.peers.networks import sequential
from benchmarks.scaling import Curve
from torch import nn

from theodolite.theory.tangent import hessian_extremes

TITLE = "three largest Hessian eigenvalues, 20-30-30-5 tanh, mean squared error, 128 samples (difference: error against the exact ones)"
#: Iterations end at their own tolerances; ours and curvlinops' at residuals of 1e-6, whose eigenvalues are right to their square.
TOLERANCE = 1e-6
COUNT = 3
APPROXIMATE = ("PyHessian", "hessian-eigenthings, default steps", "hessian-eigenthings, 60 steps")


def problem(sizes: tuple[int, ...] = (20, 30, 30, 5)) -> tuple[list, np.ndarray, np.ndarray]:
    """Layers, inputs, targets."""
    rng = np.random.default_rng(1)
    return random_layers(sizes, sigma_w2=1.5), rng.standard_normal((128, sizes[0])), rng.standard_normal((128, sizes[-1]))


def reference(quick: bool) -> np.ndarray:
    """From the dense Hessian, by torch.func."""
    from torch.func import functional_call, hessian
    from torch.nn.utils import parameters_to_vector

    layers, x, y = problem()
    model = sequential(layers, "Tanh")
    names, shapes = zip(*((n, p.shape) for n, p in model.named_parameters()), strict=True)

    def loss(vector: torch.Tensor) -> torch.Tensor:
        parts = vector.split([s.numel() for s in shapes])
        values = {n: part.reshape(s) for n, part, s in zip(names, parts, shapes, strict=True)}
        return nn.functional.mse_loss(functional_call(model, values, (torch.from_numpy(x),)), torch.from_numpy(y))

    dense = hessian(loss)(parameters_to_vector(model.parameters()).detach())
    return torch.linalg.eigvalsh(dense).flip(0)[:COUNT].numpy()


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Eigenvalues, largest first."""
    layers, x, y = problem()
    model, inputs, targets = sequential(layers, "Tanh"), torch.from_numpy(x), torch.from_numpy(y)
    arguments = {"layers": layers, "x": x, "y": y, "k": COUNT}

    def ours() -> np.ndarray:
        found = hessian_extremes(model, inputs, targets, loss=nn.MSELoss(), k=COUNT)
        return np.sort(np.asarray(found.values))[::-1][:COUNT].copy()

    def peer(name: str, **more: object) -> Elsewhere:
        return Elsewhere("torch", f"benchmarks.peers.curvature:{name}", {**arguments, **more})

    return {
        "theodolite": ours,
        "curvlinops + eigsh": peer("curvlinops"),
        "PyHessian": peer("pyhessian"),
        "hessian-eigenthings, default steps": peer("hessian_eigenthings", steps=None),
        "hessian-eigenthings, 60 steps": peer("hessian_eigenthings", steps=60),
    }


def curves(quick: bool) -> list[Curve]:
    def extremes(width: int) -> tuple[Callable[[], object], int]:
        layers, x, y = problem((20, width, width, 5))
        model, inputs, targets = sequential(layers, "Tanh"), torch.from_numpy(x), torch.from_numpy(y)
        size = sum(p.numel() for p in model.parameters())
        return (lambda: hessian_extremes(model, inputs, targets, loss=nn.MSELoss(), max_products=100)), size

    return [Curve("Hessian's extremes", "parameters", (20, 40, 80) if quick else (50, 100, 200, 400), 1, extremes)]
