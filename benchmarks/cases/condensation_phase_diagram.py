"""The 7 × 5 phase diagram with widths 256/1024/4096: compiled sweep against a batched eager loop over the same networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from theodolite.theory.condensation.experiments.flow import draw_start
from theodolite.theory.condensation.experiments.phase import PhaseDiagram

TITLE = "condensation: 7 × 5 phase diagram, widths 256/1024/4096, to convergence"
#: Both follow the same steps; rounding differs by the order of sums, and some hundred steps amplify it.
TOLERANCE = 1e-4
GOALS = {"batched eager loop (analytic gradients)": 5.0}


def experiment(quick: bool) -> PhaseDiagram:
    return PhaseDiagram(
        gamma=tuple(np.linspace(0.5, 2, 7)),
        gamma_prime=tuple(np.linspace(-1, 1, 5)),
        widths=(64, 256, 1024) if quick else (256, 1024, 4096),
        seeds=(0,),
    )


def eager(run: PhaseDiagram) -> np.ndarray:
    """Batched analytic gradients in torch, all cells of a width at once, in place; converged networks leave the batch."""
    x = torch.stack([torch.tensor(run.x, dtype=torch.float64), torch.ones(len(run.x), dtype=torch.float64)], 1)  # (n, D)
    y = torch.from_numpy(run._targets())
    n, floor = len(y), run.tolerance * float((y**2).mean())
    square = (x**2).sum(1)
    cells = [(g, p) for g in run.gamma for p in run.gamma_prime]
    distance = np.empty((len(cells), len(run.widths)))
    for column, m in enumerate(run.widths):
        start = draw_start(m, 2, run.seeds[0], run.antisymmetric)
        a0, v0 = torch.from_numpy(start.a), torch.from_numpy(start.v.T.copy())  # (m,), (m, D)
        kappa = torch.tensor([float(m) ** -g for g, _ in cells], dtype=torch.float64)
        prime = torch.tensor([float(m) ** -p for _, p in cells], dtype=torch.float64)
        alive = torch.arange(len(cells))
        da, dv = torch.zeros(len(cells), m, dtype=torch.float64), torch.zeros(len(cells), m, 2, dtype=torch.float64)
        for step in range(run.steps + 1):
            a, v, k, q = a0 + da, v0 + dv, kappa[alive, None], prime[alive, None]
            z = v @ x.T  # (C, m, n)
            h, mask = z.clamp_min(0), (z > 0).double()
            e = k * (a[:, None] @ h)[:, 0] - y  # (C, n)
            error = (e**2).sum(1, keepdim=True)
            done = (error[:, 0] / n <= floor) | (step == run.steps)
            if bool(done.any()):
                size = float((v0**2).sum()) ** 0.5
                distance[alive[done].numpy(), column] = (dv[done].flatten(1).norm(dim=1) / size).numpy()
                keep = ~done
                if not bool(keep.any()):
                    break
                alive, da, dv = alive[keep], da[keep], dv[keep]
                a, v, k, q, h, mask, e, error = (t[keep] for t in (a, v, k, q, h, mask, e, error))
            hidden = (h**2).sum((1, 2))[:, None]
            outer = ((a**2)[:, None] @ mask @ square[:, None])[:, 0]
            eta = n / (k**2 * (hidden / q + q * outer))
            eta = torch.minimum(eta, run.growth * (a.norm(dim=1, keepdim=True) / (hidden * error).sqrt()) * n * q / k)
            eta = torch.minimum(eta, run.growth * (v.flatten(1).norm(dim=1, keepdim=True) / (outer * error).sqrt()) * n / (k * q))
            da.sub_(eta * k / q / n * (h @ e[..., None])[..., 0])
            dv.sub_((eta * k * q / n * a)[..., None] * ((mask * e[:, None]) @ x))
    return run._slopes(distance.reshape(len(run.gamma), len(run.gamma_prime), -1, 1))[..., 0]


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    run = experiment(quick)
    return {
        "theodolite": lambda: run.measure()["S_w"].values,
        "batched eager loop (analytic gradients)": lambda: eager(run),
    }
