"""Figures of the mean-field experiments: record -> Figure, named as the experiments; nothing is computed here."""

from theodolite.theory.meanfield.figures.architectures import (
    batchnorm_gradients,
    recurrent_memory,
    resnet_gradients,
    resnet_optimal_variance,
)
from theodolite.theory.meanfield.figures.flows import correlation_flow, gradient_flow, phase_diagram
from theodolite.theory.meanfield.figures.spectra import jacobian_spectrum
from theodolite.theory.meanfield.figures.training import (
    critical_init,
    delta_orthogonal,
    dynamical_isometry_training,
    trainability,
)

__all__ = [
    "batchnorm_gradients",
    "correlation_flow",
    "critical_init",
    "delta_orthogonal",
    "dynamical_isometry_training",
    "gradient_flow",
    "jacobian_spectrum",
    "phase_diagram",
    "recurrent_memory",
    "resnet_gradients",
    "resnet_optimal_variance",
    "trainability",
]
