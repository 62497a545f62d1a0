"""One experiment per figure of the mean-field papers."""

from theodolite.theory.meanfield.experiments.architectures import (
    BatchnormGradients,
    RecurrentMemory,
    ResnetGradients,
    ResnetOptimalVariance,
)
from theodolite.theory.meanfield.experiments.flow import CorrelationFlow, GradientFlow
from theodolite.theory.meanfield.experiments.isometry import DynamicalIsometryTraining, JacobianSpectrum
from theodolite.theory.meanfield.experiments.plane import PhaseDiagram
from theodolite.theory.meanfield.experiments.training import CriticalInit, Trainability
from theodolite.theory.meanfield.experiments.vanilla_cnn import DeltaOrthogonal

__all__ = [
    "BatchnormGradients",
    "CorrelationFlow",
    "CriticalInit",
    "DeltaOrthogonal",
    "DynamicalIsometryTraining",
    "GradientFlow",
    "JacobianSpectrum",
    "PhaseDiagram",
    "RecurrentMemory",
    "ResnetGradients",
    "ResnetOptimalVariance",
    "Trainability",
]
