"""What a network shows of condensation: orientations, amplitudes, distances, entropies and counts."""

from theodolite.theory.condensation.measure.coordinates import coordinates
from theodolite.theory.condensation.measure.count import DirectionCount, count_directions
from theodolite.theory.condensation.measure.neurons import (
    amplitude,
    cosine_similarity_matrix,
    orientation,
    orientation_entropy,
    relative_distance,
    similarity_order,
)

__all__ = [
    # neurons
    "amplitude",
    "cosine_similarity_matrix",
    "orientation",
    "orientation_entropy",
    "relative_distance",
    "similarity_order",
    # directions
    "DirectionCount",
    "count_directions",
    # initialisation
    "coordinates",
]
