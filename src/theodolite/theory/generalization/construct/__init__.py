"""What the theory lets one build: descents, random features, double-descent curves, memorising networks."""

from theodolite.theory.generalization.construct.descent import OPTIMIZERS, Descent, Optimizer, gradient_descent
from theodolite.theory.generalization.construct.double_descent import DoubleDescent, double_descent
from theodolite.theory.generalization.construct.memorize import Memorizer, memorize
from theodolite.theory.generalization.construct.random_features import FEATURE_KINDS, random_features

__all__ = [
    "FEATURE_KINDS",
    "OPTIMIZERS",
    "Descent",
    "DoubleDescent",
    "Memorizer",
    "Optimizer",
    "double_descent",
    "gradient_descent",
    "memorize",
    "random_features",
]
