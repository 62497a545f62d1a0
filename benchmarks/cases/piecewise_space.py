"""All linear regions of a ReLU network on a cube."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases.piecewise_plane import network
from benchmarks.scaling import Curve

TITLE = "linear regions of a 3-8-8-1 network on a cube (sorted constants of the affine maps)"
TOLERANCE = 1e-9


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    import theodolite as td
    from theodolite.theory.piecewise.lowering import lower
    from theodolite.theory.piecewise.measure import _by_search

    model = network((3, 6, 6, 1) if quick else (3, 8, 8, 1))

    def ours() -> np.ndarray:
        return np.sort(td.piecewise.regions(model, td.box(-1, 1, dim=3)).affine[1][:, 0])

    def programs() -> np.ndarray:
        return np.sort(_by_search(lower(model, (3,)), td.box(-1, 1, dim=3), None).affine[1][:, 0])

    return {"theodolite": ours, "linear programs (warm-started HiGHS)": programs}


def curves(quick: bool) -> list[Curve]:
    import theodolite as td

    def search(width: int) -> tuple[Callable[[], object], int]:
        model = network((3, width, width, 1))
        return (lambda: td.piecewise.regions(model, td.box(-1, 1, dim=3))), td.piecewise.regions(
            model, td.box(-1, 1, dim=3)
        ).count

    return [Curve("regions of 3-w-w-1 on a cube", "regions", (6, 8, 12) if quick else (8, 12, 16, 24), 1, search)]
