"""Numerics below the theory: Gaussian expectations, spectra, quadrature, least squares, polyhedra."""
