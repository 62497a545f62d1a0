"""What mean-field theory lets one build: critical initialisation, orthogonal kernels, scaled residual branches."""

from theodolite.theory.meanfield.construct.critical import InitReport, InitRow, critical_init_
from theodolite.theory.meanfield.construct.gated import minimal_rnn_init_
from theodolite.theory.meanfield.construct.orthogonal import delta_orthogonal_, haar_columns, orthogonal_
from theodolite.theory.meanfield.construct.residual import residual_scale, scale_residual_branches_

__all__ = [
    "InitReport",
    "InitRow",
    "critical_init_",
    "delta_orthogonal_",
    "haar_columns",
    "minimal_rnn_init_",
    "orthogonal_",
    "residual_scale",
    "scale_residual_branches_",
]
