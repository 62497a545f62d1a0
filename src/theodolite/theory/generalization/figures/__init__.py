"""Figures of this topic, named as its experiments; they read records and compute nothing."""

from theodolite.theory.generalization.figures.double_descent import double_descent_features, double_descent_network, epochwise
from theodolite.theory.generalization.figures.implicit_bias import animate_separator, implicit_bias, implicit_bias_optimizers
from theodolite.theory.generalization.figures.random_labels import memorization, norm_growth, random_labels

__all__ = [
    "animate_separator",
    "double_descent_features",
    "double_descent_network",
    "epochwise",
    "implicit_bias",
    "implicit_bias_optimizers",
    "memorization",
    "norm_growth",
    "random_labels",
]
