"""Dimensionality of a layer's features by ndtracker."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def stable_rank(layers: list[np.ndarray]) -> Callable[[], np.ndarray]:
    """‖Φ‖_F² / ‖Φ‖² of every layer."""
    import torch
    from ndt.core.estimators import stable_rank as of

    torch.set_num_threads(1)
    features = [torch.from_numpy(h) for h in layers]
    return lambda: np.array([of(h) for h in features])
