"""Convolutional networks at initialisation: the covariance of pixels, mode by mode (Xiao et al. 2018).

In the limit of many channels, Σ^{l+1}_{α,α'} = σ_b² + σ_w² Σ_β v_β E φ(h_{α+β}) φ(h_{α'+β}), where v_β is the share of the weight
variance at kernel position β. Near its fixed point the Fourier modes of a deviation decouple on a circle: mode f shrinks by
χ_{c*} λ_f per layer, λ_f the Fourier transform of v.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.errors import ArgumentError
from theodolite.maths.resolution import Array
from theodolite.theory.meanfield.predict.arguments import broadcasting
from theodolite.theory.meanfield.predict.depth import length_scale
from theodolite.theory.meanfield.predict.maps import c_star, chi, q_star

__all__ = ["ConvModes", "conv", "kernel_modes"]


@dataclass(frozen=True)
class ConvModes:
    """Fourier modes of the covariance map of a convolutional network at its fixed point.

    Attributes:
        modes: λ_f over frequencies f (one axis per spatial axis), λ_0 = 1.
        rates: χ_{c*} λ_f, the factor per layer.
        depth_scales: −1/ln|χ_{c*} λ_f| in layers; 0 for modes that vanish at once, inf for marginal ones.
        q_star: fixed point of the variance.
        c_star: fixed point of the correlation.
        chi: χ_{c*}, the slope of the correlation map there.
    """

    modes: Array
    rates: Array
    depth_scales: Array
    q_star: Any
    c_star: Any
    chi: Any


def kernel_modes(kernel: int | Sequence[Any] | Array, n: int | Sequence[int]) -> Array:
    """λ_f = Σ_β v_β cos(2π f·β/n), the Fourier transform of a kernel's variance profile on a circle (torus) of n pixels.

    Args:
        kernel: number of taps of a uniform kernel; or the profile v, not negative, of any number of axes, centred at its middle
            (normalised to sum one here).
        n: pixels per axis.

    Returns:
        Array of shape (n, …): the real part, which is all of it for a symmetric kernel; the modulus where it is not symmetric.

    Raises:
        ArgumentError: an even number of taps, a negative profile, or a kernel larger than the circle.

    Example:
        >>> [round(float(v), 12) for v in kernel_modes(3, 8)[:3]]
        [1.0, 0.804737854124, 0.333333333333]
    """
    v = (
        np.full(kernel, 1.0 / kernel)
        if isinstance(kernel, (int, np.integer)) and kernel > 0
        else np.asarray(kernel, dtype=np.float64)
    )
    if v.ndim == 0 or v.size == 0 or (v < 0).any() or not np.isfinite(v).all() or v.sum() <= 0:
        raise ArgumentError(f"kernel must be a number of taps or a profile of variances, not negative, got {kernel!r}")
    sizes = (n,) * v.ndim if isinstance(n, (int, np.integer)) else tuple(n)
    if len(sizes) != v.ndim or any(k % 2 == 0 or k > s for k, s in zip(v.shape, sizes, strict=False)):
        raise ArgumentError(f"kernel must have an odd number of taps per axis, at most n={n}, got shape {v.shape}")
    padded = np.zeros(sizes)
    padded[tuple(slice(0, k) for k in v.shape)] = v / v.sum()
    spectrum = np.fft.fftn(np.roll(padded, [-(k // 2) for k in v.shape], tuple(range(v.ndim))))
    symmetric = np.abs(spectrum.imag).max() < 1e-12
    return spectrum.real if symmetric else np.abs(spectrum)


@broadcasting("sigma_w2", "sigma_b2")
def conv(
    activation: Any, sigma_w2: Any, sigma_b2: Any, kernel: int | Sequence[Any] | Array = 3, n: int | Sequence[int] = 32
) -> ConvModes:
    """Fourier modes of the covariance map of a convolutional network, and how deep each survives.

    Args:
        activation: φ, any elementwise callable.
        sigma_w2: σ_w²: the weights at kernel position β are N(0, σ_w² v_β / channels).
        sigma_b2: σ_b², variance of the biases.
        kernel: number of taps of a uniform kernel, or the profile v_β; a delta (``[0, 1, 0]``) is the delta-orthogonal choice, for
            which every mode survives as long as the uniform one.
        n: pixels per axis, with circular padding. Zero padding breaks the translation symmetry that this rests on.

    Returns:
        `ConvModes`; the variances broadcast, and their axes come first.

    Raises:
        ArgumentError: a kernel that does not fit, or bad variances. NumericalError: the variance has no fixed point.

    Reference:
        xiao2018 §2.

    Example:
        >>> import torch
        >>> found = conv(torch.erf, 1.0, 0.05, kernel=[0, 1, 0], n=8)
        >>> bool(np.allclose(found.depth_scales, 7.0407292352911))
        True
    """
    modes = kernel_modes(kernel, n)
    q, c = float(q_star(activation, sigma_w2, sigma_b2)), float(c_star(activation, sigma_w2, sigma_b2))
    slope = float(chi(c, activation, sigma_w2, sigma_b2))
    rates = slope * modes
    return ConvModes(modes, rates, length_scale(np.abs(rates)), q, c, slope)
