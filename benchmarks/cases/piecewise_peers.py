"""The linear regions of a small ReLU network on the whole plane: how many, against relucent, parx and a tree of linear programs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases._layers import layers_of
from benchmarks.cases.piecewise_plane import network
from benchmarks.elsewhere import Elsewhere

TITLE = "number of linear regions of a 2-12-12-1 network on the whole plane"
TOLERANCE = 0.0
GOALS = {"relucent": 1.0}


def tree(layers: list[tuple[np.ndarray, np.ndarray]]) -> int:
    """Neuron by neuron, both signs, one linear program each: the largest ball inside the cell; the obvious method."""
    from scipy.optimize import linprog

    def has_interior(rows: list[np.ndarray]) -> bool:
        a = np.array(rows)  # a·x + c < 0
        norms = np.linalg.norm(a[:, :-1], axis=1, keepdims=True)
        found = linprog([0, 0, -1], A_ub=np.hstack([a[:, :-1], norms]), b_ub=-a[:, -1], bounds=[(None, None)] * 2 + [(0, 1)])
        return found.status == 0 and -found.fun > 1e-9

    def count(layer: int, neuron: int, inside: np.ndarray, below: list[np.ndarray], rows: list[np.ndarray]) -> int:
        # inside: the current layer's input as affine maps of x; below: activations of this layer's neurons so far.
        weight, bias = layers[layer]
        if neuron == len(bias):
            return 1 if layer == len(layers) - 2 else count(layer + 1, 0, np.array(below), [], rows)
        row = weight[neuron] @ inside
        row[-1] += bias[neuron]
        total = 0
        for sign in (1.0, -1.0):
            if has_interior([*rows, -sign * row]):
                total += count(layer, neuron + 1, inside, [*below, row if sign > 0 else 0 * row], [*rows, -sign * row])
        return total

    return count(0, 0, np.eye(3)[:2], [], [])


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Numbers of regions."""
    import theodolite as td

    model = network((2, 6, 6, 1) if quick else (2, 12, 12, 1))
    layers = layers_of(model)
    return {
        "theodolite": lambda: np.array([td.piecewise.regions(model, None).count]),
        "tree of linear programs (scipy)": lambda: np.array([tree(layers)]),
        "relucent": Elsewhere("torch", "benchmarks.peers.regions:relucent", {"layers": layers}),
        "parx": Elsewhere("torch", "benchmarks.peers.regions:parx", {"layers": layers}),
    }
