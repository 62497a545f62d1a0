"""Figures of this topic: one function per experiment, and drawings of partitions."""

from theodolite.theory.piecewise.figures.attribution import local_linear_models
from theodolite.theory.piecewise.figures.equivalence import blow_up, boundary_pitfalls, shallow_equivalence
from theodolite.theory.piecewise.figures.growth import region_growth, tent_map
from theodolite.theory.piecewise.figures.partition import draw_regions
from theodolite.theory.piecewise.figures.training import animate_training, regions_during_training

__all__ = [
    "animate_training",
    "blow_up",
    "boundary_pitfalls",
    "draw_regions",
    "local_linear_models",
    "region_growth",
    "regions_during_training",
    "shallow_equivalence",
    "tent_map",
]
