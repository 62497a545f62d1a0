"""What a network shows of signal propagation: lengths, correlations, local slopes, Jacobian spectra, gradients."""

from theodolite.theory.meanfield.measure.gradients import gradient_norms
from theodolite.theory.meanfield.measure.jacobian import (
    jacobian_products,
    jacobian_singular_values,
    jacobian_spectrum,
)
from theodolite.theory.meanfield.measure.lengths import chi, chi_1, correlation, q_length
from theodolite.theory.meanfield.measure.lyapunov import lyapunov_spectrum

__all__ = [
    "chi",
    "chi_1",
    "correlation",
    "gradient_norms",
    "jacobian_products",
    "jacobian_singular_values",
    "jacobian_spectrum",
    "lyapunov_spectrum",
    "q_length",
]
