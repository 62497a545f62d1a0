"""Spectra of mass (Gram) matrices with their resolution: float64 Gram where it is enough, SVD where it is not.

For weighted features A = diag(√w) Φ the mass matrix is M = AᵀA, so λ_i(M) = σ_i(A)². Two ways to the eigenvalues:

* Gram: one matrix product and a symmetric eigen-solve. Eigenvalues are off by up to about n·u·λ_1 (u = 1.1e-16).
* SVD of A after a QR: singular values are off by up to about √n·u·σ_1, so eigenvalues resolve down to about n·u²·λ_1.

Rounding that the features carry from their own dtype (float32 activations) perturbs singular values by up to u_dtype·‖A‖_F and is
part of the resolution of both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from theodolite.core.errors import ArgumentError, NumericalError

__all__ = ["Spectrum", "gram", "gram_spectrum", "mass_matrix", "mass_spectrum", "singular_spectrum", "weighted"]

#: Safety factor on the rounding model u·n·λ_1 of a symmetric eigen-solve.
SAFETY = 8.0
EPS = torch.finfo(torch.float64).eps
#: Rows that are weighted at a time: the copy is still in the cache when it is multiplied.
BLOCK = 1024


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of a mass matrix with their resolution.

    Attributes:
        eigenvalues: (…, n), descending, not negative.
        sigma_error: (…,) bound on the error of a singular value from the features' own rounding and, for SVD, from the solve.
        floor: (…,) bound on the error of an eigenvalue from the Gram matrix's rounding (0 for SVD).
    """

    eigenvalues: torch.Tensor
    sigma_error: torch.Tensor
    floor: torch.Tensor

    def resolution(self) -> torch.Tensor:
        """Least eigenvalue that can be told from zero, (…,)."""
        return self.floor + self.sigma_error**2

    def count_above(self, threshold: torch.Tensor) -> torch.Tensor:
        """Number of eigenvalues strictly greater than ``threshold`` (…,)."""
        return (self.eigenvalues > threshold[..., None]).sum(-1)

    def count_interval(self, threshold: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Least and greatest number of true eigenvalues above ``threshold`` that the resolution allows."""
        root = threshold.clamp_min(0).sqrt()
        high_bar = (root + self.sigma_error) ** 2 + self.floor
        low_bar = (root - self.sigma_error).clamp_min(0) ** 2 - self.floor
        return self.count_above(high_bar), (self.eigenvalues > low_bar[..., None]).sum(-1)


def weighted(features: torch.Tensor, weights: torch.Tensor | None, center: bool = False) -> torch.Tensor:
    """A = diag(√w) Φ, (…, N, n); w = 1/N when ``weights`` is None; ``center`` subtracts the weighted mean first."""
    samples = features.shape[-2]
    if center:
        if weights is None:
            features = features - features.mean(-2, keepdim=True)
        else:
            share = (weights / weights.sum(-1, keepdim=True))[..., None]
            features = features - (share * features).sum(-2, keepdim=True)
    if weights is None:
        return features / samples**0.5
    return features * weights.sqrt()[..., None]


def gram(scaled: torch.Tensor) -> torch.Tensor:
    """M = AᵀA for A of shape (…, N, n)."""
    if scaled.ndim == 2 and scaled.device.type == "cpu":
        # numpy hands X.T @ X to a symmetric rank-k update: half the work of a general product.
        array = scaled.detach().numpy()
        with np.errstate(over="ignore", invalid="ignore"):  # the eigen-solve reports overflow
            return torch.from_numpy(array.T @ array)
    return scaled.mT @ scaled


def mass_matrix(features: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """M = Φᵀ diag(w) Φ for Φ of shape (…, N, n), in one pass over Φ and without a weighted copy of it; w = 1/N when None."""
    if features.ndim > 2 or features.device.type != "cpu" or (weights is not None and weights.ndim > 1):
        return gram(weighted(features, weights))
    if weights is None:
        return gram(features) / features.shape[0]
    array, root = features.detach().numpy(), weights.detach().sqrt().numpy()[:, None]
    samples, n = array.shape
    total, rows = np.zeros((n, n)), np.empty((min(BLOCK, samples), n))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, samples, BLOCK):
            piece = array[start : start + BLOCK]
            scaled = np.multiply(piece, root[start : start + BLOCK], out=rows[: len(piece)])
            total += scaled.T @ scaled
    return torch.from_numpy(total)


def gram_spectrum(matrix: torch.Tensor, feature_dtype: torch.dtype = torch.float64) -> Spectrum:
    """Spectrum of float64 mass matrices (…, n, n) by a symmetric eigen-solve, negative rounding clamped to zero."""
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.dtype != torch.float64:
        raise ArgumentError(f"matrix must be square and float64, got shape {tuple(matrix.shape)} of {matrix.dtype}")
    try:
        eigenvalues = torch.linalg.eigvalsh(matrix).clamp_min_(0).flip(-1)
    except torch.linalg.LinAlgError as error:
        raise NumericalError(
            f"the eigen-solve of the mass matrix failed, with a greatest entry of {float(matrix.abs().max()):.1e}; "
            "rescale the features if their squares overflow"
        ) from error
    floor = eigenvalues[..., 0] * (SAFETY * EPS * matrix.shape[-1])
    return Spectrum(eigenvalues, _feature_error(eigenvalues, feature_dtype), floor)


def mass_spectrum(scaled: torch.Tensor, feature_dtype: torch.dtype = torch.float64) -> Spectrum:
    """Spectrum of AᵀA for A of shape (…, N, n) by the smaller of its two Gram matrices; zeros complete it when N < n."""
    samples, n = scaled.shape[-2:]
    if samples >= n:
        return gram_spectrum(gram(scaled), feature_dtype)
    found = gram_spectrum(gram(scaled.mT), feature_dtype)
    zeros = scaled.new_zeros((*scaled.shape[:-2], n - samples))
    return replace(found, eigenvalues=torch.cat([found.eigenvalues, zeros], -1))


def singular_spectrum(scaled: torch.Tensor, feature_dtype: torch.dtype = torch.float64) -> Spectrum:
    """Spectrum of AᵀA from the singular values of A (…, N, n), after a QR when A is tall; zeros complete it when N < n."""
    samples, n = scaled.shape[-2:]
    square = torch.linalg.qr(scaled, mode="r").R if samples > n else scaled
    sigma = torch.linalg.svdvals(square)
    error = _feature_error(sigma**2, feature_dtype) + SAFETY * EPS * n**0.5 * sigma[..., 0]
    if samples < n:
        sigma = torch.cat([sigma, sigma.new_zeros((*sigma.shape[:-1], n - samples))], -1)
    return Spectrum(sigma**2, error, torch.zeros_like(error))


def _feature_error(eigenvalues: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Bound on the error of singular values from rounding the features to ``dtype``: u ‖A‖_F."""
    if dtype == torch.float64:
        return torch.zeros_like(eigenvalues[..., 0])
    return torch.finfo(dtype).eps / 2 * eigenvalues.sum(-1).sqrt()
