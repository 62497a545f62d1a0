"""Seed-to-result time of one network of the condensation notebook, tanh."""

from __future__ import annotations

import functools

from benchmarks.cases._notebook import run_floor, whole_run
from torch import nn

TITLE = "engine: the notebook's whole run, 10,001 epochs with 10,000 test points, per network (tanh)"
TOLERANCE = 1e-4
GOALS = {"notebook loop": 300.0}
#: Contender -> whole runs per call; times are divided by it.
SHARE: dict[str, float] = {}
floor = functools.partial(run_floor, "tanh")
contenders = functools.partial(whole_run, "tanh", nn.Tanh(), SHARE)
