"""What the theory says: limits of gradient descent on separable data, errors of random features."""

from theodolite.theory.generalization.predict.flow import GradientFlow, gradient_flow
from theodolite.theory.generalization.predict.implicit_bias import ImplicitBias, implicit_bias_constants
from theodolite.theory.generalization.predict.max_margin import MaxMargin, NotSeparableError, max_margin
from theodolite.theory.generalization.predict.random_features_risk import (
    FeatureRisk,
    gaussian_features_risk,
    random_features_risk,
)
from theodolite.theory.generalization.predict.sup_margin import sup_margin

__all__ = [
    "FeatureRisk",
    "GradientFlow",
    "ImplicitBias",
    "MaxMargin",
    "NotSeparableError",
    "gaussian_features_risk",
    "gradient_flow",
    "implicit_bias_constants",
    "max_margin",
    "random_features_risk",
    "sup_margin",
]
