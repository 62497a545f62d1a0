"""One experiment per figure: double descent, implicit bias, random labels."""

from theodolite.theory.generalization.experiments.double_descent_features import DoubleDescentFeatures
from theodolite.theory.generalization.experiments.double_descent_network import DoubleDescentNetwork, Epochwise
from theodolite.theory.generalization.experiments.implicit_bias import ImplicitBias, ImplicitBiasOptimizers
from theodolite.theory.generalization.experiments.random_labels import Memorization, NormGrowth, RandomLabels

__all__ = [
    "DoubleDescentFeatures",
    "DoubleDescentNetwork",
    "Epochwise",
    "ImplicitBias",
    "ImplicitBiasOptimizers",
    "Memorization",
    "NormGrowth",
    "RandomLabels",
]
