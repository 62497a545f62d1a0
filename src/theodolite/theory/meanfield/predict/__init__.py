"""What mean-field theory says of a network at initialisation: numbers to numbers, float64, no network."""

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
from theodolite.theory.meanfield.predict.phase import PhaseDiagram, phase, phase_diagram

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
    "PhaseDiagram",
    "depth_scales",
    "DepthScales",
    "correlation_flow",
    "CorrelationFlow",
    "critical_law",
    "CriticalLaw",
    # criticality
    "critical_point",
    "critical_line",
    "half_stable_point",
    "CriticalPoint",
    "gain",
    # isometry
    "jacobian_moments",
    "JacobianMoments",
    "jacobian_density",
    "s_max",
    "universality",
    "SpectralEdges",
    "isometry_variance",
    "residual_edges",
    "fuss_catalan_moment",
    "layers_density",
    "layers_moments",
    # finite width
    "length_variance",
    "relative_length_variance",
]
