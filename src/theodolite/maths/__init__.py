"""Numerics below the theory: Gaussian expectations, spectra, quadrature, least squares, polyhedra.

Submodules load on first use: ``td.maths.quadrature.trapezoid(-1, 1, 101)``.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
