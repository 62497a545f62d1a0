"""The full tangent kernel on a GPU, against Jacobian contraction there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases.tangent_kernel_wide import kernel_work, mlp, samples
from benchmarks.machine import Work

from theodolite.theory.tangent import ntk

TITLE = "GPU: NTK of an MLP 784-1024³-10, all 100 pairs of outputs, N = 500 (Jacobian contraction: 50 of them), float64"
TOLERANCE = 1e-9
REQUIRES = "cuda"
CLOCK = "wall"
SHARE: dict[str, float] = {}
PART = 50


def _size(quick: bool) -> tuple[int, int]:
    return (32, 60) if quick else (1024, 500)


def floor(quick: bool) -> Work:
    width, count = _size(quick)
    return kernel_work((784, width, width, width, 10), count)


def contenders(quick: bool = False, device: str = "cuda") -> dict[str, Callable[[], np.ndarray]]:
    """The block of the first samples."""
    from torch.func import functional_call, jacrev, vmap

    width, count = _size(quick)
    SHARE["torch.func Jacobian contraction"] = (PART / count) ** 2
    model, x = mlp(width, 10).to(device), samples(count).to(device)
    parameters = {n: p.detach() for n, p in model.named_parameters()}

    def contraction() -> np.ndarray:
        def single(values: dict, sample: object) -> object:
            return functional_call(model, values, (sample[None],))[0]

        rows = vmap(jacrev(single), (None, 0))(parameters, x[:PART])
        total = 0.0
        for part in rows.values():
            flat = part.flatten(2).flatten(0, 1)
            total = total + flat @ flat.T
        return total.reshape(PART, 10, PART, 10).permute(0, 2, 1, 3).cpu().numpy()

    return {
        "theodolite": lambda: ntk(model, x)[:PART, :PART].cpu().numpy(),
        "torch.func Jacobian contraction": contraction,
    }
