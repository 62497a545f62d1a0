"""The same CPU-bound sweep on two workers and on one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases._busy import sweeping

TITLE = "A CPU-bound sweep of 32 tiles (about 100 ms each): two workers beside one"
TOLERANCE = 0.0
CLOCK = "wall"


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Two workers, one worker."""
    tiles = 12 if quick else 32
    return {"theodolite": sweeping(tiles * 4, 4, 250_000, 2), "one worker": sweeping(tiles * 4, 4, 250_000, 1)}
