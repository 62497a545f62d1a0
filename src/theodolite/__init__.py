"""Theodolite: a laboratory for the theory of deep learning.

Everything below loads on first use, so that ``import theodolite`` costs milliseconds and does not import torch.
"""

from __future__ import annotations

from typing import Any

from theodolite.core.face import load as _load

__version__ = "0.1.0"

#: Public name -> where it lives; grouped by what the reader wants.
_FACE = {
    # look at a network
    "diagnose": "theodolite.report.diagnose:diagnose",
    "compare": "theodolite.report.compare:compare",
    "track": "theodolite.train.track:track",
    "adapters": "theodolite.train.adapters",
    "every": "theodolite.core.schedule:every",
    "log_spaced": "theodolite.core.schedule:log_spaced",
    "Lens": "theodolite.lens:Lens",
    # the topics
    "rank": "theodolite.theory.rank",
    "condensation": "theodolite.theory.condensation",
    "meanfield": "theodolite.theory.meanfield",
    "tangent": "theodolite.theory.tangent",
    "piecewise": "theodolite.theory.piecewise",
    "generalization": "theodolite.theory.generalization",
    "pde": "theodolite.theory.pde",
    # experiments, sweeps, training
    "reproduce": "theodolite.report.reproduce:reproduce",
    "Record": "theodolite.core.record:Record",
    "Experiment": "theodolite.core.experiment:Experiment",
    "Sweep": "theodolite.lab:Sweep",
    "train": "theodolite.train",
    # domains of exact enumeration
    "box": "theodolite.theory.piecewise:box",
    "segment": "theodolite.theory.piecewise:segment",
    "polyline": "theodolite.theory.piecewise:polyline",
    "slice2d": "theodolite.theory.piecewise:slice2d",
    "polygon": "theodolite.theory.piecewise:polygon",
    # building blocks
    "nets": "theodolite.nets",
    "data": "theodolite.data",
    "maths": "theodolite.maths",
    "draw": "theodolite.draw",
    "quantity": "theodolite.core.quantity:quantity",
    "cite": "theodolite.core.reference:cite",
    # errors
    "TheodoliteError": "theodolite.core.errors:TheodoliteError",
    "TheodoliteWarning": "theodolite.core.errors:TheodoliteWarning",
    "ArgumentError": "theodolite.core.errors:ArgumentError",
    "UnknownNameError": "theodolite.core.errors:UnknownNameError",
    "UnsupportedError": "theodolite.core.errors:UnsupportedError",
    "ModelError": "theodolite.core.errors:ModelError",
    "NumericalError": "theodolite.core.errors:NumericalError",
    "StoreError": "theodolite.core.errors:StoreError",
    "MissingExtraError": "theodolite.core.errors:MissingExtraError",
}

__all__ = sorted(_FACE)


def __getattr__(name: str) -> Any:
    return _load(__name__, name, _FACE)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
