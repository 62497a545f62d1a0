"""Condensation, the phase diagram of two-layer networks, and multiplicity."""

from theodolite.theory.condensation.construct import MergeCertificate, merge_neurons
from theodolite.theory.condensation.measure import (
    DirectionCount,
    amplitude,
    coordinates,
    cosine_similarity_matrix,
    count_directions,
    orientation,
    orientation_entropy,
    relative_distance,
    similarity_order,
)
from theodolite.theory.condensation.predict import (
    Coordinates,
    Directions,
    Multiplicity,
    boundary_distance,
    multiplicity,
    predict_directions,
    regime,
    relative_distance_exponent,
)

__all__ = [
    # phase diagram
    "Coordinates",
    "boundary_distance",
    "coordinates",
    "regime",
    "relative_distance_exponent",
    # initial condensation
    "Directions",
    "Multiplicity",
    "multiplicity",
    "predict_directions",
    # measure
    "DirectionCount",
    "amplitude",
    "cosine_similarity_matrix",
    "count_directions",
    "orientation",
    "orientation_entropy",
    "relative_distance",
    "similarity_order",
    # construct
    "MergeCertificate",
    "merge_neurons",
]
