"""How far a network has moved from its linearisation: weights, kernel, and the scale that decides beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from theodolite.core.arrays import as_float64, as_given
from theodolite.core.errors import ArgumentError
from theodolite.core.quantity import quantity
from theodolite.lens.curvature import LossHessian, TangentOperator
from theodolite.lens.evaluation import evaluation
from theodolite.lens.functional import FunctionalModel, as_inputs
from theodolite.maths.lanczos import lanczos

__all__ = ["kernel_distance", "kernel_drift", "kernel_velocity", "lazy_scale", "relative_weight_change"]


def _pair(kernel: Any, initial: Any, names: tuple[str, str]) -> tuple[torch.Tensor, torch.Tensor]:
    a = as_float64(kernel, names[0], at_least=1)
    b = as_float64(initial, names[1], at_least=1, device=a.device)
    if a.shape != b.shape:
        raise ArgumentError(f"{names[0]} and {names[1]} must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    return a, b


def _flat(kernel: torch.Tensor) -> torch.Tensor:
    """``(..., N, N, K, K)`` or ``(N, N)`` with the kernel's own dimensions flattened."""
    own = 4 if kernel.ndim >= 4 and kernel.shape[-1] == kernel.shape[-2] and kernel.shape[-3] == kernel.shape[-4] else 2
    if kernel.ndim < own:
        raise ArgumentError(f"a kernel must be (N, N) or (N, N, K, K), got shape {tuple(kernel.shape)}")
    return kernel.flatten(-own)


def _vector(parameters: Any, name: str) -> Any:
    """Parameters of a module, of a state dict, or a plain vector, as one vector."""
    if isinstance(parameters, nn.Module):
        parameters = dict(parameters.named_parameters())
    if isinstance(parameters, Mapping):
        parts = [as_float64(v, f"{name}[{k!r}]").detach().reshape(-1) for k, v in parameters.items()]
        if not parts:
            raise ArgumentError(f"{name} holds no parameter")
        return torch.cat(parts)
    return parameters


@quantity(symbol="‖θ−θ₀‖/‖θ₀‖", reference="chizat2019")
def relative_weight_change(parameters: Any, initial_parameters: Any) -> Any:
    """Relative weight change ‖θ − θ₀‖ / ‖θ₀‖.

    In the lazy regime it vanishes with width: as 1/√m for one hidden layer (‖θ₀‖ ~ √m), as 1/m for two or more (‖θ₀‖ ~ m), in the
    NTK parameterisation.

    Args:
        parameters: ``(..., P)``; also a module or a mapping of names to tensors (of equal order).
        initial_parameters: the same at the start.

    Returns:
        ``(...)``.

    Raises:
        ArgumentError: shapes that differ, or θ₀ = 0.

    Cost: O(P).

    Reference: lee2019 Thm 2.1; chizat2019.

    Example:
        >>> import numpy as np
        >>> float(relative_weight_change(np.array([3.0, 4.0]), np.array([3.0, 0.0])))
        1.3333333333333333
    """
    names = ("parameters", "initial_parameters")
    theta, start = _pair(_vector(parameters, names[0]), _vector(initial_parameters, names[1]), names)
    scale = start.norm(dim=-1)
    if bool((scale == 0).any()):
        raise ArgumentError("initial_parameters must not be all zero: the relative change is undefined there")
    return as_given((theta - start).norm(dim=-1) / scale, parameters, initial_parameters)


@quantity(
    symbol="‖K−K₀‖/‖K₀‖",
    reference="lee2019",
    fill={"kernel": "tangent_kernel", "initial_kernel": "initial_tangent_kernel"},
    alias="drift",
)
def kernel_drift(kernel: Any, initial_kernel: Any) -> Any:
    """Relative drift of the tangent kernel, ‖K − K₀‖_F / ‖K₀‖_F.

    During training it falls as 1/m with the width m (the bound m^{-1/2} of lee2019 is not attained).

    Args:
        kernel: ``(..., N, N, K, K)``, or ``(..., N, N)`` with fewer than four dimensions.
        initial_kernel: the same at the start.

    Returns:
        ``(...)``.

    Raises:
        ArgumentError: shapes that differ.

    Cost: O((NK)²).

    Reference: lee2019; jacot2018 Thm 2.

    Example:
        >>> import numpy as np
        >>> float(kernel_drift(2 * np.eye(3), np.eye(3)))
        1.0
    """
    a, b = _pair(kernel, initial_kernel, ("kernel", "initial_kernel"))
    return as_given(_flat(a - b).norm(dim=-1) / _flat(b).norm(dim=-1), kernel, initial_kernel)


@quantity(symbol="S(K, K₀)", reference="fort2020", fill={"kernel": "tangent_kernel", "initial_kernel": "initial_tangent_kernel"})
def kernel_distance(kernel: Any, initial_kernel: Any) -> Any:
    """Kernel distance S = 1 − ⟨K, K₀⟩_F / (‖K‖_F ‖K₀‖_F): 0 for proportional kernels, blind to a change of scale.

    Args:
        kernel: ``(..., N, N, K, K)``, or ``(..., N, N)`` with fewer than four dimensions.
        initial_kernel: the same at another time.

    Returns:
        ``(...)``, in [0, 1] for positive semidefinite kernels.

    Raises:
        ArgumentError: shapes that differ.

    Cost: O((NK)²).

    Reference: fort2020.

    Example:
        >>> import numpy as np
        >>> abs(float(kernel_distance(2 * np.eye(3), np.eye(3)))) < 1e-15
        True
    """
    a, b = (_flat(k) for k in _pair(kernel, initial_kernel, ("kernel", "initial_kernel")))
    # ½ ‖â − b̂‖² is 1 − cos without cancellation for nearly parallel kernels
    difference = a / a.norm(dim=-1, keepdim=True) - b / b.norm(dim=-1, keepdim=True)
    return as_given(0.5 * difference.square().sum(-1), kernel, initial_kernel)


def kernel_velocity(kernel: Any, later_kernel: Any, dt: float) -> Any:
    """Kernel velocity S(K_t, K_{t+dt}) / dt, with S the `kernel_distance`.

    Args:
        kernel: K at time t.
        later_kernel: K at time t + dt.
        dt: time between them (steps, epochs or flow time).

    Returns:
        As `kernel_distance`, per unit of time.

    Raises:
        ArgumentError: dt ≤ 0 or shapes that differ.

    Cost: O((NK)²).

    Reference: fort2020.

    Example:
        >>> import numpy as np
        >>> float(kernel_velocity(np.diag([1.0, 0.0]), np.diag([0.0, 1.0]), 2.0))
        0.5
    """
    if not dt > 0:
        raise ArgumentError(f"dt must be positive, got {dt}")
    return as_given(kernel_distance(later_kernel, kernel) / dt, kernel, later_kernel)


@evaluation()
def lazy_scale(model: nn.Module, x: Any, y: Any, *, starts: int = 3, tol: float = 1e-4, seed: int = 0) -> float:
    """Chizat–Bach scale κ = ‖f(θ₀) − y‖ ‖D²f‖ / ‖Df‖²: training is lazy where κ ≪ 1.

    ‖Df‖² = λ_max(K). ‖D²f‖ = sup_r ‖Σ_i r_i ∇²f_i‖ over unit vectors r of N·K outputs; it is climbed by alternating r and the
    extreme eigenvector u (r ∝ uᵀ∇²f u), which ascends, from several r; the result is the best found (a lower bound of the supremum,
    exact for one output at one input).

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x: inputs.
        y: targets, as many entries as outputs.
        starts: starting directions r (the residual first, then random ones).
        tol: relative accuracy of the ascent.
        seed: of the random directions.

    Returns:
        κ; multiplying the centred output by α divides it by α.

    Raises:
        ArgumentError: targets that do not fit.

    Cost: some ten Lanczos runs of about 30 Hessian products.

    Reference: chizat2019 eq. (2).

    Example:
        >>> lazy_scale(nn.Linear(2, 1), torch.ones(1, 2), torch.zeros(1, 1))  # linear: D²f = 0
        0.0
    """
    net = FunctionalModel(model)
    inputs = as_inputs(x, "x", net.dtype, net.device)
    (targets,) = as_inputs(y, "y", net.dtype, net.device)
    with torch.no_grad():
        outputs = net(inputs)
    if outputs.numel() != targets.numel():
        raise ArgumentError(f"y must have {outputs.numel()} entries as the outputs, got shape {tuple(targets.shape)}")
    residual = (outputs - targets.reshape(outputs.shape)).reshape(-1)
    operator = TangentOperator(model, x)
    largest = float(lanczos(operator, operator.size, tol=1e-8, device=net.device).values[-1])
    generator = torch.Generator().manual_seed(seed)
    best = 0.0
    for start in range(max(1, starts if len(residual) > 1 else 1)):
        r = (
            residual
            if start == 0 and float(residual.norm()) > 0
            else torch.randn(len(residual), dtype=net.dtype, generator=generator).to(net.device)
        )
        best = max(best, _ascend(model, x, r / r.norm(), tol))
    return float(residual.norm()) * best / largest


def _ascend(model: nn.Module, x: Any, r: torch.Tensor, tol: float) -> float:
    """Local maximum of ‖Σ_i r_i ∇²f_i‖ over unit r."""
    value = 0.0
    for _ in range(30):
        weight = r
        hessian = LossHessian(model, x, r.new_zeros(()).expand(_rows(x)), loss=lambda f, _: (f.reshape(-1) * weight).sum())  # noqa: B023
        pairs = lanczos(hessian, hessian.size, which="both", tol=0.1 * tol, device=r.device)
        top = int(pairs.values.abs().argmax())
        found = float(pairs.values[top].abs())
        if found <= value * (1 + tol) or len(r) == 1:
            return max(value, found)
        value = found
        bent = _second_derivative(model, x, pairs.vectors[:, top])
        r = bent / bent.norm()
    return value


def _rows(x: Any) -> int:
    return (x[0] if isinstance(x, tuple) else x).shape[0]


def _second_derivative(model: nn.Module, x: Any, u: torch.Tensor) -> torch.Tensor:
    """uᵀ ∇²f_i u for every output i, flat."""
    net = FunctionalModel(model)
    inputs = as_inputs(x, "x", net.dtype, net.device)
    direction = dict(zip(net.variables, net.unflatten(u), strict=True))
    base = {n: v.detach() for n, v in net.variables.items()}

    def along(s: torch.Tensor) -> torch.Tensor:
        return net(inputs, {n: v + s * direction[n] for n, v in base.items()}).reshape(-1)

    zero = torch.zeros((), dtype=net.dtype, device=net.device, requires_grad=True)
    values = along(zero)
    # the double-backward trick twice: derivatives along s of all outputs at once
    dummy = torch.zeros_like(values, requires_grad=True)
    (pull,) = torch.autograd.grad(values, zero, dummy, create_graph=True)
    (first,) = torch.autograd.grad(pull, dummy, create_graph=True)
    again = torch.zeros_like(first, requires_grad=True)
    (pull,) = torch.autograd.grad(first, zero, again, create_graph=True)
    (second,) = torch.autograd.grad(pull, again)
    return second.detach()
