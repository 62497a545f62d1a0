"""Mean-field theory: signal propagation, criticality, dynamical isometry."""

from __future__ import annotations

from typing import Any

from theodolite.theory.meanfield.construct import (
    InitReport,
    critical_init_,
    delta_orthogonal_,
    minimal_rnn_init_,
    orthogonal_,
    residual_scale,
    scale_residual_branches_,
)
from theodolite.theory.meanfield.measure import (
    correlation,
    gradient_norms,
    jacobian_products,
    jacobian_singular_values,
    jacobian_spectrum,
    lyapunov_spectrum,
    q_length,
)
from theodolite.theory.meanfield.predict import (
    c_map,
    c_star,
    chi,
    chi_1,
    chi_parallel,
    correlation_flow,
    covariance_map,
    critical_law,
    critical_line,
    critical_point,
    depth_scales,
    fuss_catalan_moment,
    gain,
    half_stable_point,
    isometry_variance,
    jacobian_density,
    jacobian_moments,
    layers_density,
    layers_moments,
    length_variance,
    phase,
    phase_diagram,
    q_map,
    q_star,
    relative_length_variance,
    residual_edges,
    s_max,
    universality,
)
from theodolite.theory.meanfield.propagate import Propagation, PropagationRow, propagate

#: Predictions of architectures, found when first asked for.
_ARCHITECTURES = {
    "resnet": "resnet",
    "optimal_variance": "resnet",
    "conv": "conv",
    "vanilla_rnn": "recurrent",
    "minimal_rnn": "recurrent",
    "minimal_rnn_bias": "recurrent",
    "lstm": "gated",
    "lstm_bias": "gated",
    "gru": "gated",
    "gru_bias": "gated",
    "batchnorm_gradient_growth": "normalization",
    "layernorm_chi": "normalization",
    "attention": "attention",
}

__all__ = [
    # maps and fixed points
    "q_map",
    "q_star",
    "c_map",
    "c_star",
    "covariance_map",
    "chi",
    "chi_1",
    "chi_parallel",
    # phases and depth
    "phase",
    "phase_diagram",
    "depth_scales",
    "correlation_flow",
    "critical_law",
    # criticality
    "critical_point",
    "critical_line",
    "half_stable_point",
    "gain",
    # isometry
    "jacobian_moments",
    "jacobian_density",
    "s_max",
    "universality",
    "isometry_variance",
    "residual_edges",
    "fuss_catalan_moment",
    "layers_density",
    "layers_moments",
    # finite width
    "length_variance",
    "relative_length_variance",
    # what a network shows
    "q_length",
    "correlation",
    "gradient_norms",
    "jacobian_products",
    "jacobian_singular_values",
    "jacobian_spectrum",
    "lyapunov_spectrum",
    "propagate",
    "Propagation",
    "PropagationRow",
    # what one can build
    "critical_init_",
    "InitReport",
    "delta_orthogonal_",
    "orthogonal_",
    "minimal_rnn_init_",
    "residual_scale",
    "scale_residual_branches_",
    # architectures
    *_ARCHITECTURES,
]


def __getattr__(name: str) -> Any:
    if name not in _ARCHITECTURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.predict.{_ARCHITECTURES[name]}"), name)
    globals()[name] = value
    return value
