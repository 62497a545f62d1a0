"""What a network shows of tangent-kernel theory: drift, conditioning, the PL ratio, curvature."""

from theodolite.theory.tangent.measure.conditioning import (
    ConditionNumber,
    ExtremalEigenvalues,
    condition_number,
    extremal_eigenvalues,
)
from theodolite.theory.tangent.measure.drift import (
    kernel_distance,
    kernel_drift,
    kernel_velocity,
    lazy_scale,
    relative_weight_change,
)
from theodolite.theory.tangent.measure.hessian import hessian_density, hessian_extremes, hessian_norm, hessian_trace
from theodolite.theory.tangent.measure.kernel import nngp_features, ntk, ntk_vector_product
from theodolite.theory.tangent.measure.polyak import (
    Hypothesis,
    PLCertificate,
    UniformConditioning,
    pl_certificate,
    pl_ratio,
    uniform_conditioning,
)

__all__ = [
    "ConditionNumber",
    "ExtremalEigenvalues",
    "Hypothesis",
    "PLCertificate",
    "UniformConditioning",
    "condition_number",
    "extremal_eigenvalues",
    "hessian_density",
    "hessian_extremes",
    "hessian_norm",
    "hessian_trace",
    "kernel_distance",
    "kernel_drift",
    "kernel_velocity",
    "lazy_scale",
    "nngp_features",
    "ntk",
    "ntk_vector_product",
    "pl_certificate",
    "pl_ratio",
    "relative_weight_change",
    "uniform_conditioning",
]
