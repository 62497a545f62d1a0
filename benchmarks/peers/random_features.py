"""The random feature method by pyrfm: u″ − mass·u = f on an interval."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import numpy as np


def helmholtz(
    count: int, cells: int, mass: float, x: np.ndarray, rhs: np.ndarray, ends: np.ndarray, values: np.ndarray, grid: np.ndarray
) -> Callable[[], np.ndarray]:
    """The solution on the grid; arrays are columns."""
    import pyrfm
    import torch

    torch.set_num_threads(1)
    points, right, borders, boundary, wanted = (torch.from_numpy(v) for v in (x, rhs, ends, values, grid))

    def call() -> np.ndarray:
        with contextlib.redirect_stdout(io.StringIO()):
            model = pyrfm.RFMBase(
                dim=1, n_hidden=count, domain=(float(ends[0, 0]), float(ends[1, 0])), n_subdomains=cells, dtype=torch.float64
            )
            curvature = model.features_second_derivative(points, axis1=0, axis2=0).cat(dim=1)
            equation = curvature - mass * model.features(points).cat(dim=1)
            model.compute(torch.cat([equation, model.features(borders).cat(dim=1)]), verbose=False)
            model.solve(torch.cat([right, boundary]))
            return model.forward(wanted)[:, 0].numpy()

    return call
