"""All linear regions of many small ReLU networks on a square: what a job costs before its first region."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases.piecewise_plane import network, numpy_cutter
from torch import nn

TITLE = "linear regions of a thousand 2-8-1 networks on a square (sorted volumes)"
TOLERANCE = 1e-9
GOALS = {"vectorised numpy": 10.0}


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    import theodolite as td

    models = [network((2, 8, 1), seed) for seed in range(10 if quick else 1000)]
    layers = [
        [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in model if isinstance(m, nn.Linear)] for model in models
    ]
    square = td.box(-1, 1, dim=2)

    def ours() -> np.ndarray:
        return np.concatenate([np.sort(td.piecewise.regions(model, square).volumes) for model in models])

    return {
        "theodolite": ours,
        "vectorised numpy": lambda: np.concatenate([np.sort(numpy_cutter(each)[0]) for each in layers]),
    }
