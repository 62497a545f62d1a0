"""What a network shows: margins, angles, norms."""

from theodolite.theory.generalization.measure.margins import angle_to, margin, output_margin
from theodolite.theory.generalization.measure.norms import (
    LayerNorms,
    Norms,
    distance_from_init,
    frobenius_norm,
    norms,
    parameter_distance,
    parameter_norm,
    spectral_norm,
)
from theodolite.theory.generalization.measure.path_norm import path_norm

__all__ = [
    "LayerNorms",
    "Norms",
    "angle_to",
    "distance_from_init",
    "frobenius_norm",
    "margin",
    "norms",
    "output_margin",
    "parameter_distance",
    "parameter_norm",
    "path_norm",
    "spectral_norm",
]
