"""Domains much longer along one axis than along another, in coordinates of like sizes.

Errors of points have one size in all directions, which should not be that of the longest one. The factors are powers of two, so that
nothing is rounded on the way there and back.
"""

from __future__ import annotations

from dataclasses import replace
from operator import sub

import numpy as np

from theodolite.theory.piecewise.cells import Cells
from theodolite.theory.piecewise.domains import Chart
from theodolite.theory.piecewise.enumeration import Found, Task
from theodolite.theory.piecewise.program import Program

__all__ = ["in_domain", "task_of"]

#: Greatest ratio of a domain's sides that is cut as it is.
RATIO = 64.0


def task_of(program: Program, chart: Chart, certify: str) -> Task:
    """A job on a chart, in coordinates s = t / factors of like sizes where the chart's own are not."""
    vertices = chart.vertices
    low, high = vertices.tolist() if chart.is_box else (vertices.min(axis=0).tolist(), vertices.max(axis=0).tolist())
    sides = list(map(sub, high, low))
    if max(sides) <= RATIO * min(sides):
        return Task(program, chart, certify)
    factors = np.exp2(np.floor(np.log2(sides)))
    start = chart.start.copy()
    start[0, :-1] *= factors[:, None]
    return Task(program, Chart(start, chart.vertices / factors, chart.is_box), certify, factors)


def in_domain(task: Task, found: Found) -> Found:
    """Finished cells in the coordinates of the domain."""
    factors = task.factors
    if factors is None:
        return found
    cells, one = found.cells, np.ones(1)
    points = cells.points * np.append(factors, factors.max())
    facets = cells.facets / np.concatenate([factors, one, one])
    scaled = Cells(points, cells.starts, facets, cells.labels, cells.facet_starts, cells.masks)
    return replace(found, cells=scaled, maps=found.maps / np.append(factors, 1.0)[:, None])
