"""What mean-field theory says of a network at initialisation: numbers to numbers, float64, no network."""

from theodolite.theory.meanfield.predict.attention import TransformerPropagation, attention
from theodolite.theory.meanfield.predict.conv import ConvModes, conv, kernel_modes
from theodolite.theory.meanfield.predict.criticality import (
    CriticalPoint,
    critical_line,
    critical_point,
    gain,
    half_stable_point,
)
from theodolite.theory.meanfield.predict.depth import (
    CorrelationFlow,
    CriticalLaw,
    DepthScales,
    correlation_flow,
    critical_law,
    depth_scales,
)
from theodolite.theory.meanfield.predict.finite_width import length_variance, relative_length_variance
from theodolite.theory.meanfield.predict.gated import GatedRNN, gru, gru_bias, lstm, lstm_bias
from theodolite.theory.meanfield.predict.isometry import (
    JacobianMoments,
    SpectralEdges,
    fuss_catalan_moment,
    isometry_variance,
    jacobian_density,
    jacobian_moments,
    layers_density,
    layers_moments,
    residual_edges,
    s_max,
    universality,
)
from theodolite.theory.meanfield.predict.maps import (
    c_map,
    c_star,
    chi,
    chi_1,
    chi_parallel,
    covariance_map,
    q_map,
    q_star,
)
from theodolite.theory.meanfield.predict.normalization import batchnorm_gradient_growth, layernorm_chi
from theodolite.theory.meanfield.predict.phase import PhaseDiagram, phase, phase_diagram
from theodolite.theory.meanfield.predict.recurrent import MinimalRNN, VanillaRNN, minimal_rnn, minimal_rnn_bias, vanilla_rnn
from theodolite.theory.meanfield.predict.resnet import ResNetPropagation, optimal_variance, resnet

__all__ = [
    "ConvModes",
    "CorrelationFlow",
    "CriticalLaw",
    "CriticalPoint",
    "DepthScales",
    "GatedRNN",
    "JacobianMoments",
    "MinimalRNN",
    "PhaseDiagram",
    "ResNetPropagation",
    "SpectralEdges",
    "TransformerPropagation",
    "VanillaRNN",
    "attention",
    "batchnorm_gradient_growth",
    "c_map",
    "c_star",
    "chi",
    "chi_1",
    "chi_parallel",
    "conv",
    "correlation_flow",
    "covariance_map",
    "critical_law",
    "critical_line",
    "critical_point",
    "depth_scales",
    "fuss_catalan_moment",
    "gain",
    "gru",
    "gru_bias",
    "half_stable_point",
    "isometry_variance",
    "jacobian_density",
    "jacobian_moments",
    "kernel_modes",
    "layernorm_chi",
    "layers_density",
    "layers_moments",
    "length_variance",
    "lstm",
    "lstm_bias",
    "minimal_rnn",
    "minimal_rnn_bias",
    "optimal_variance",
    "phase",
    "phase_diagram",
    "q_map",
    "q_star",
    "relative_length_variance",
    "residual_edges",
    "resnet",
    "s_max",
    "universality",
    "vanilla_rnn",
]
