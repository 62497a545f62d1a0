"""The experiments of this topic, one module each."""

from theodolite.theory.piecewise.experiments.attribution import LocalLinearModels
from theodolite.theory.piecewise.experiments.equivalence import BlowUp, BoundaryPitfalls, ShallowEquivalence
from theodolite.theory.piecewise.experiments.growth import RegionGrowth, TentMap
from theodolite.theory.piecewise.experiments.training import RegionsDuringTraining

__all__ = [
    "BlowUp",
    "BoundaryPitfalls",
    "LocalLinearModels",
    "RegionGrowth",
    "RegionsDuringTraining",
    "ShallowEquivalence",
    "TentMap",
]
