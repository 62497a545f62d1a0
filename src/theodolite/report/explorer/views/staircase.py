"""A training run to play through: features, eigenvalues, ε-rank and loss in step."""

from __future__ import annotations

from typing import Any

import numpy as np

from theodolite.report.explorer.parameters import Choice, Field, Number, Whole
from theodolite.report.explorer.payload import rounded

__all__ = ["RUN", "run"]

#: Parameters of `run`; the largest run takes some seconds.
RUN: dict[str, Field] = {
    "activation": Choice(("tanh", "relu", "elu", "cos", "sin"), "tanh"),
    "target": Choice(("three_cosines", "three_sines", "two_kinks"), "three_cosines"),
    "optimizer": Choice(("adam", "sgd"), "adam"),
    "init": Choice(("torch", "deterministic"), "torch"),
    "depth": Whole(1, 3, 2),
    "width": Whole(4, 50, 30),
    "steps": Whole(100, 4000, 2000),
    "seed": Whole(0, 99, 0),
    "eps": Number(1e-9, 1.0, 1e-3),
}

#: Training points, of which every other one is shown, and neurons shown.
SAMPLES, SHOWN = 96, 24
#: Learning rates, by optimiser.
RATES = {"adam": 3e-3, "sgd": 0.05}


def run(
    activation: str, target: str, optimizer: str, init: str, depth: int, width: int, steps: int, seed: int, eps: float
) -> dict[str, Any]:
    """Train a network on a target on [−1, 1] and look at its last hidden layer at about forty steps.

    Args:
        activation: name.
        target: name of the target function.
        optimizer: ``adam`` (rate 3e-3) or ``sgd`` (full batch, rate 0.05).
        init: torch's default, or the deterministic first layer.
        depth: hidden layers.
        width: neurons per hidden layer.
        steps: optimiser steps.
        seed: of the weights.
        eps: threshold of the ε-rank.
    """
    import torch

    from theodolite.data import TARGETS
    from theodolite.maths.quadrature import trapezoid
    from theodolite.theory.rank import epsilon_rank, spectrum
    from theodolite.train import SGD, Adam, Deterministic, Ensemble, MLPSpec

    x, weights = trapezoid(-1.0, 1.0, SAMPLES)
    y = TARGETS[target](x)[:, None]
    first: Any = Deterministic(gamma=width / 2) if init == "deterministic" else init
    ensemble = Ensemble(MLPSpec((1, *[width] * depth, 1), activation, init=first), [seed], dtype=torch.float64)

    def ranks(features: Any) -> Any:
        return epsilon_rank(features, weights, eps=eps)

    def eigenvalues(features: Any) -> Any:
        return spectrum(features, weights)

    record = ensemble.train(
        x,
        y,
        steps=steps,
        optimizer=Adam() if optimizer == "adam" else SGD(),
        lr=RATES[optimizer],
        schedule=_looks(steps),
        probes={
            "rank": ranks,
            "eigenvalues": eigenvalues,
            "phi": lambda view: view.features[-1],
            "output": lambda view: view.outputs,
        },
        curve=False,
    )
    data = record.data.isel(member=0)
    phi = data["phi"].values[:, ::2, :]  # (looks, points, neurons)
    shown = np.linspace(0, width - 1, min(width, SHOWN)).round().astype(int)
    return {
        "step": data["look"].values,
        "loss": rounded(data["train_loss"].values),
        "rank": data["rank"].isel(layer=-1).values,
        "ranks": data["rank"].values,  # (looks, layers)
        "eigenvalues": rounded(data["eigenvalues"].isel(layer=-1).values, 4),
        "x": rounded(x[::2, 0].numpy()),
        "target": rounded(y[::2, 0].numpy(), 4),
        "output": rounded(data["output"].values[:, ::2, 0], 4),
        "features": rounded(phi[:, :, shown].transpose(0, 2, 1), 3),
        "width": width,
        "eps": eps,
        "python": _code(activation, target, optimizer, init, depth, width, steps, eps),
    }


def _looks(steps: int) -> list[int]:
    """About forty steps: early ones closer together, where the features turn."""
    return sorted({0, steps, *np.unique(np.round(steps * np.linspace(0, 1, 40) ** 2).astype(int)).tolist()})


def _code(activation: str, target: str, optimizer: str, init: str, depth: int, width: int, steps: int, eps: float) -> str:
    if init == "deterministic":
        return (
            "import theodolite as td\n\n"
            f'record = td.reproduce("rank.deterministic_init", cases=(({depth}, {width}),), activation="{activation}",\n'
            f'                      target="{target}", steps={steps}, seeds=2, samples={SAMPLES}, eps={eps!r})\n'
            'record.figure().savefig("deterministic_init.pdf")\n'
        )
    return (
        "import theodolite as td\n\n"
        f'record = td.reproduce("rank.staircase", depths=({depth},), widths=({width},), optimizers=("{optimizer}",),\n'
        f'                      activation="{activation}", target="{target}", steps={steps}, seeds=2, samples={SAMPLES}, eps={eps!r})\n'
        'print(record.data["rank"].median("seed").values)\nrecord.figure().savefig("staircase.pdf")\n'
    )
