"""Tangent kernels, lazy training, the PL condition and the Hessian."""

from __future__ import annotations

from typing import Any

from theodolite.theory.tangent.construct.infinite_of import infinite_kernels_of
from theodolite.theory.tangent.construct.linearized import LinearizedModel, linearize
from theodolite.theory.tangent.infinite import InfiniteKernels, infinite_kernels
from theodolite.theory.tangent.measure import (
    ConditionNumber,
    ExtremalEigenvalues,
    Hypothesis,
    PLCertificate,
    UniformConditioning,
    condition_number,
    extremal_eigenvalues,
    hessian_density,
    hessian_extremes,
    hessian_norm,
    hessian_trace,
    kernel_distance,
    kernel_drift,
    kernel_velocity,
    lazy_scale,
    nngp_features,
    ntk,
    ntk_vector_product,
    pl_certificate,
    pl_ratio,
    relative_weight_change,
    uniform_conditioning,
)
from theodolite.theory.tangent.predict import Dynamics, critical_learning_rate, training_dynamics

__all__ = [
    # the empirical kernel
    "ntk",
    "ntk_vector_product",
    "nngp_features",
    "extremal_eigenvalues",
    "ExtremalEigenvalues",
    "condition_number",
    "ConditionNumber",
    # infinite width
    "infinite_kernels",
    "infinite_kernels_of",
    "InfiniteKernels",
    # training with a constant kernel
    "linearize",
    "LinearizedModel",
    "training_dynamics",
    "Dynamics",
    "critical_learning_rate",
    "kernel_regressor",
    # how lazy
    "relative_weight_change",
    "kernel_drift",
    "kernel_distance",
    "kernel_velocity",
    "lazy_scale",
    # the PL condition
    "pl_ratio",
    "uniform_conditioning",
    "UniformConditioning",
    "pl_certificate",
    "PLCertificate",
    "Hypothesis",
    # curvature
    "hessian_norm",
    "hessian_extremes",
    "hessian_trace",
    "hessian_density",
]


def kernel_regressor(kernel: Any = "ntk", **settings: Any) -> Any:
    """Kernel regression with a tangent kernel, as a scikit-learn estimator.

    It predicts f_t(x) = Θ(x, X)(Θ + ridge)⁻¹(I − E) y with E = e^{−ηΘt}: for t = ∞ and no ridge the minimum-norm interpolant, which
    an infinitely wide network with zero initial output converges to.

    Args:
        kernel: ``"ntk"`` or ``"nngp"`` of an infinitely wide network, ``"precomputed"``, a module (its empirical kernel, summed over
            outputs), or a callable ``(x1, x2) -> (N1, N2)``.
        **settings: ``depth=1, activation="relu", sigma_w2=2.0, sigma_b2=0.1`` of the infinite network;
            ``learning_rate=1.0, t=inf, method="flow"`` of the training; ``ridge=0.0`` added to the diagonal.

    Returns:
        A `sklearn` regressor with ``fit`` and ``predict``.

    Cost: O(N³) per prediction call, O(N²) memory.

    Reference: jacot2018; lee2019.

    Example:
        >>> import numpy as np
        >>> x, y = np.array([[0.0], [1.0]]), np.array([1.0, -1.0])
        >>> kernel_regressor(depth=2).fit(x, y).predict(x).round(6).tolist()
        [1.0, -1.0]
    """
    from theodolite.theory.tangent.construct.regressor import KernelRegressor

    return KernelRegressor(kernel, **settings)
