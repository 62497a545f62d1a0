"""Structured pruning by Torch-Pruning, without and with a least-squares refit of the layer after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.networks import sequential


def torch_pruning(layers: list[Any], x: np.ndarray, keep: int) -> Callable[[], np.ndarray]:
    """Magnitude importance, one shot, every hidden layer to ``keep`` neurons: the outputs."""
    import torch
    import torch_pruning as tp

    torch.set_num_threads(1)
    model, inputs = sequential(layers, "Tanh"), torch.from_numpy(x)

    def call() -> np.ndarray:
        import copy

        small = copy.deepcopy(model)
        hidden = layers[0][0].shape[0]
        pruner = tp.pruner.MagnitudePruner(
            small,
            inputs[:2],
            importance=tp.importance.MagnitudeImportance(p=2),
            pruning_ratio=1 - keep / hidden,
            ignored_layers=[small[-1]],
        )
        pruner.step()
        with torch.no_grad():
            return small(inputs).numpy()

    return call
