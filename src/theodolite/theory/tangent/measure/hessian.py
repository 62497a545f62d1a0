"""Curvature: the Hessian of the output, which decides constancy of the kernel, and the spectrum of the loss's Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from theodolite.core.arrays import as_float64, as_given
from theodolite.core.errors import ArgumentError
from theodolite.lens.curvature import LossHessian, OutputHessian
from theodolite.lens.evaluation import evaluation
from theodolite.lens.functional import FunctionalModel, as_inputs
from theodolite.maths.lanczos import Eigenpairs, TraceEstimate, lanczos, slq, trace_estimate

__all__ = ["HessianDensity", "hessian_density", "hessian_extremes", "hessian_norm", "hessian_trace"]

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@evaluation()
def hessian_norm(model: nn.Module, x: Any, *, each: bool = False, tol: float = 1e-6, seed: int = 0) -> Any:
    """Spectral norm of the Hessian of the output with respect to the parameters, ‖H_f‖ = max_i ‖∇²f_i‖ over inputs and outputs.

    The kernel of a network is constant in the ball B(θ₀, R) up to 2 ‖Df‖ √N ‖H_f‖ R. With a linear output ‖H_f‖ = Õ(1/√m); the
    maximum of m Gaussians adds √log m, so that slopes of −0.41 to −0.45 are seen up to m = 1024.

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x: inputs ``(N, ...)``.
        each: return the norm of every output at every input instead of the largest.
        tol: residual of the eigenvalues relative to their size.
        seed: of Lanczos' starting vectors.

    Returns:
        A float, or ``(N, K)`` with ``each``.

    Raises:
        NumericalError: non-finite second derivatives.

    Cost: N · K Lanczos runs of about 30 double backward passes on one sample.

    Reference: liu2020; liu2022.

    Example:
        >>> hessian_norm(nn.Linear(3, 1), torch.ones(1, 3))
        0.0
    """
    net = FunctionalModel(model)
    inputs = as_inputs(x, "x", net.dtype, net.device)
    samples = inputs[0].shape[0]
    with torch.no_grad():
        width = net(inputs).shape[1]
    norms = torch.zeros(samples, width, dtype=torch.float64)
    for n in range(samples):
        for k in range(width):
            hessian = OutputHessian(net, tuple(part[n : n + 1] for part in inputs), k)
            generator = torch.Generator().manual_seed(seed)
            pairs = lanczos(hessian, hessian.size, which="both", tol=tol, generator=generator, device=net.device)
            norms[n, k] = pairs.values.abs().max()
    return as_given(norms, *(x if isinstance(x, tuple) else (x,))) if each else float(norms.max())


@evaluation()
def hessian_extremes(
    model: nn.Module,
    x: Any,
    y: Any,
    *,
    loss: Loss | None = None,
    k: int = 1,
    tol: float = 1e-6,
    max_products: int = 1000,
    seed: int = 0,
) -> Eigenpairs:
    """The k smallest and the k largest eigenvalues of the loss's Hessian ∇²L, with residuals.

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x: inputs.
        y: targets.
        loss: ``loss(outputs, y) -> scalar``, e.g. ``nn.CrossEntropyLoss()``; None for ½‖f − y‖² summed.
        k: number of eigenvalues at each end.
        tol: residual relative to the largest |λ| at which iteration stops.
        max_products: products after which the values are returned as not converged.
        seed: of Lanczos' starting vector.

    Returns:
        `theodolite.maths.lanczos.Eigenpairs`: ``.values`` (the k smallest, then the k largest), ``.residuals``, ``.converged``.

    Raises:
        ArgumentError: a loss that is not a scalar, or not finite.

    Cost: about 50 to some hundred double backward passes.

    Reference: wu2000.

    Example:
        >>> hessian_extremes(nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.zeros(1, 1)).values.tolist()
        [4.0]
    """
    hessian = LossHessian(model, x, y, loss=loss)
    generator = torch.Generator().manual_seed(seed)
    return lanczos(
        hessian, hessian.size, k=k, which="both", tol=tol, max_products=max_products, generator=generator, device=hessian.device
    )


@evaluation()
def hessian_trace(
    model: nn.Module, x: Any, y: Any, *, loss: Loss | None = None, products: int = 90, seed: int = 0
) -> TraceEstimate:
    """Trace of the loss's Hessian, by Hutch++, with its standard error.

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x: inputs.
        y: targets.
        loss: as in `hessian_extremes`.
        products: budget of Hessian products; exact when it reaches the number of parameters.
        seed: of the probes.

    Returns:
        `theodolite.maths.lanczos.TraceEstimate`: ``.value``, ``.standard_error``.

    Raises:
        ArgumentError: a loss that is not a scalar, or not finite.

    Cost: ``products`` double backward passes.

    Reference: meyer2021.

    Example:
        >>> hessian_trace(nn.Linear(2, 1, bias=False), torch.ones(1, 2), torch.zeros(1, 1)).value
        2.0
    """
    hessian = LossHessian(model, x, y, loss=loss)
    return trace_estimate(
        hessian, hessian.size, products=products, generator=torch.Generator().manual_seed(seed), device=hessian.device
    )


@dataclass(frozen=True)
class HessianDensity:
    """Spectral density of a Hessian.

    Attributes:
        grid: eigenvalues at which the density is given.
        density: number of eigenvalues per unit, over their total number; integrates to 1.
        standard_error: of the density, over the random probes.
        deflated: eigenvalues that are counted exactly.
        width: standard deviation of the Gaussians by which the density is smoothed.
    """

    grid: Any
    density: Any
    standard_error: Any
    deflated: Any
    width: float

    def __repr__(self) -> str:
        low, high = float(self.grid[0]), float(self.grid[-1])
        return f"HessianDensity({len(self.grid)} points on [{low:.3g}, {high:.3g}], width={self.width:.2g})"


@evaluation()
def hessian_density(
    model: nn.Module,
    x: Any,
    y: Any,
    *,
    loss: Loss | None = None,
    grid: Any = None,
    width: float | None = None,
    probes: int = 8,
    steps: int = 60,
    deflate: int = 5,
    seed: int = 0,
) -> HessianDensity:
    """Spectral density of the loss's Hessian by stochastic Lanczos quadrature with the outlying eigenvalues deflated.

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x: inputs.
        y: targets.
        loss: as in `hessian_extremes`.
        grid: eigenvalues at which to give the density; default 501 points over the spectrum.
        width: smoothing; default 1 % of the spectrum's extent.
        probes: random vectors; the standard error is taken over them.
        steps: Lanczos steps per probe.
        deflate: number of eigenvalues at each end that are counted exactly.
        seed: of the probes.

    Returns:
        `HessianDensity`; torch if ``x`` is torch, else numpy.

    Raises:
        ArgumentError: a loss that is not a scalar, or not finite; fewer than two probes.

    Cost: probes · steps double backward passes.

    Reference: ghorbani2019; ubaru2017.

    Example:
        >>> found = hessian_density(nn.Linear(3, 1), torch.eye(3), torch.zeros(3, 1), deflate=0)
        >>> bool(abs(torch.trapezoid(found.density, found.grid) - 1) < 0.01)
        True
    """
    if probes < 2:
        raise ArgumentError(f"probes must be at least 2, so that there is an error bar, got {probes}")
    hessian = LossHessian(model, x, y, loss=loss)
    generator = torch.Generator().manual_seed(seed)
    ends = lanczos(hessian, hessian.size, k=max(1, deflate), which="both", tol=1e-8, generator=generator, device=hessian.device)
    known = ends if deflate and 2 * deflate < hessian.size else None
    measure = slq(hessian, hessian.size, probes=probes, steps=steps, deflate=known, generator=generator, device=hessian.device)
    low, high = float(ends.values[0]), float(ends.values[-1])
    extent = max(high - low, 1e-12 * max(abs(high), abs(low), 1e-300))
    width = 0.01 * extent if width is None else float(width)
    if not width > 0:
        raise ArgumentError(f"width must be positive, got {width}")
    points = (
        torch.linspace(low - 5 * width, high + 5 * width, 501, dtype=torch.float64)
        if grid is None
        else as_float64(grid, "grid", ndim=1, device="cpu")
    )
    density, error = measure.density(points, width)
    deflated = measure.deflated
    back = x if isinstance(x, tuple) else (x,)
    points, density, error, deflated = (as_given(v, *back) for v in (points, density, error, deflated))
    return HessianDensity(points, density, error, deflated, width)
