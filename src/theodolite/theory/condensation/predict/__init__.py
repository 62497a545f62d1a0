"""What the theory says of condensation: regimes, multiplicity, and the directions before training."""

from theodolite.theory.condensation.predict.coordinates import (
    NAMED_INITIALISATIONS,
    Coordinates,
    boundary_distance,
    named_coordinates,
    regime,
    relative_distance_exponent,
    scaling_exponents,
)
from theodolite.theory.condensation.predict.directions import Directions, predict_directions
from theodolite.theory.condensation.predict.multiplicity import Multiplicity, multiplicity

__all__ = [
    # phase diagram
    "NAMED_INITIALISATIONS",
    "Coordinates",
    "boundary_distance",
    "named_coordinates",
    "regime",
    "relative_distance_exponent",
    "scaling_exponents",
    # initial condensation
    "Directions",
    "Multiplicity",
    "multiplicity",
    "predict_directions",
]
