"""The same whole run where the process keeps large buffers, which spares the notebook most of its page faults."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from benchmarks.cases._notebook import run_floor, whole_run
from torch import nn

from theodolite.core.memory import keep_large_buffers

TITLE = "engine: the notebook's whole run, per network, with large buffers kept (tanh)"
TOLERANCE = 1e-4
GOALS = {"notebook loop": 100.0}
#: Contender -> whole runs per call; times are divided by it.
SHARE: dict[str, float] = {}
floor = functools.partial(run_floor, "tanh")


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    keep_large_buffers()
    return whole_run("tanh", nn.Tanh(), SHARE, quick)
