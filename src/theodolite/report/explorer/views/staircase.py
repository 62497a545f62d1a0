"""A training run to play through: features, eigenvalues, ε-rank and loss in step."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.report.explorer.parameters import Choice, Field, Number, Whole
from theodolite.report.explorer.payload import rounded, strict_json

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["RUN", "STANDARD", "Training", "record", "recorded", "run", "trained"]

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
SAMPLES, SHOWN = 96, 14
#: Learning rates, by optimiser.
RATES = {"adam": 3e-3, "sgd": 0.05}


@dataclass(frozen=True)
class Training:
    """What is trained: settings as in `RUN`.

    Attributes:
        activation: name.
        target: name of the target function on [−1, 1].
        optimizer: ``adam`` (rate 3e-3) or ``sgd`` (full batch, rate 0.05).
        init: torch's default, or the deterministic first layer.
        depth: hidden layers.
        width: neurons per hidden layer.
        steps: optimiser steps.
        seed: of the weights.
        eps: threshold of the ε-rank.
    """

    activation: str
    target: str
    optimizer: str
    init: str
    depth: int
    width: int
    steps: int
    seed: int
    eps: float


#: What the page asks for when it is opened. This run ships with the package, so that there is something to play at once.
STANDARD = Training(**{name: field.default for name, field in RUN.items()})


def run(**settings: Any) -> dict[str, Any]:
    """A training run with looks at its last hidden layer at about forty steps; the standard one as it was recorded.

    Args:
        settings: the fields of `Training`.
    """
    asked = Training(**settings)
    return recorded() if asked == STANDARD else trained(asked)


def recorded() -> dict[str, Any]:
    """The standard run, as `record` wrote it."""
    answer: dict[str, Any] = json.loads(_file().read_text(encoding="utf-8"))
    return answer


def record() -> None:
    """Compute the standard run and write it into the package: to be called when `trained` changes what it answers."""
    with resources.as_file(_file()) as path:
        path.write_text(strict_json(trained(STANDARD)) + "\n", encoding="utf-8")


def _file() -> Traversable:
    return resources.files("theodolite.report.explorer").joinpath("recorded", "staircase.json")


def trained(asked: Training) -> dict[str, Any]:
    """Train, and look."""
    import torch

    from theodolite.data import TARGETS
    from theodolite.maths.quadrature import trapezoid
    from theodolite.theory.rank import epsilon_rank, spectrum
    from theodolite.train import SGD, Adam, Deterministic, Ensemble, MLPSpec

    x, weights = trapezoid(-1.0, 1.0, SAMPLES)
    y = TARGETS[asked.target](x)[:, None]
    first: Any = Deterministic(gamma=asked.width / 2) if asked.init == "deterministic" else asked.init
    spec = MLPSpec((1, *[asked.width] * asked.depth, 1), asked.activation, init=first)
    record = Ensemble(spec, [asked.seed], dtype=torch.float64).train(
        x,
        y,
        steps=asked.steps,
        optimizer=Adam() if asked.optimizer == "adam" else SGD(),
        lr=RATES[asked.optimizer],
        schedule=_looks(asked.steps),
        probes={
            "rank": lambda features: epsilon_rank(features, weights, eps=asked.eps),
            "eigenvalues": lambda features: spectrum(features, weights),
            "phi": lambda view: view.features[-1],
            "output": lambda view: view.outputs,
        },
        curve=False,
    )
    data = record.data.isel(member=0)
    phi = data["phi"].values[:, ::2, :]  # (looks, points, neurons)
    shown = np.linspace(0, asked.width - 1, min(asked.width, SHOWN)).round().astype(int)
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
        "width": asked.width,
        "eps": asked.eps,
        "python": _code(asked),
    }


def _looks(steps: int) -> list[int]:
    """About forty steps: early ones closer together, where the features turn."""
    return sorted({0, steps, *np.unique(np.round(steps * np.linspace(0, 1, 40) ** 2).astype(int)).tolist()})


def _code(asked: Training) -> str:
    shared = (
        f'activation="{asked.activation}", target="{asked.target}", steps={asked.steps}, seeds=2, samples={SAMPLES},\n'
        f"                      eps={asked.eps!r})\n"
    )
    if asked.init == "deterministic":
        return (
            "import theodolite as td\n\n"
            f'record = td.reproduce("rank.deterministic_init", cases=(({asked.depth}, {asked.width}),),\n'
            f"                      {shared}"
            'record.figure().savefig("deterministic_init.pdf")\n'
        )
    return (
        "import theodolite as td\n\n"
        f'record = td.reproduce("rank.staircase", depths=({asked.depth},), widths=({asked.width},),\n'
        f'                      optimizers=("{asked.optimizer}",),\n'
        f"                      {shared}"
        'print(record.data["rank"].median("seed").values)\nrecord.figure().savefig("staircase.pdf")\n'
    )
