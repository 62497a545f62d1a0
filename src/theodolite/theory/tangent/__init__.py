"""Tangent kernels, lazy training, the PL condition and the Hessian."""
