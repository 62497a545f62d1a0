"""Extreme eigenvalues and the condition number of a tangent kernel, never past what the computation resolves.

The Gram matrix K = J Jᵀ in double precision shows eigenvalues down to about N·u·λ_max; the singular values of J go down to about
N·u²·λ_max. A smallest eigenvalue below the resolution makes κ a lower bound, and it is reported as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from theodolite.core.arrays import as_float64
from theodolite.core.errors import ArgumentError
from theodolite.core.measurement import Judgement, Measurement, Observation
from theodolite.core.quantity import quantity
from theodolite.lens.curvature import TangentOperator
from theodolite.lens.evaluation import evaluation
from theodolite.lens.functional import FunctionalModel, as_inputs
from theodolite.lens.kernel import parameter_jacobian, tangent_kernel
from theodolite.maths.lanczos import lanczos
from theodolite.theory.tangent.predict.dynamics import unit_roundoff

__all__ = ["ConditionNumber", "ExtremalEigenvalues", "condition_number", "extremal_eigenvalues", "flat_matrix"]

_UNIT = torch.finfo(torch.float64).eps
#: Safety factor on the rounding model of a symmetric eigen-solve.
_SAFETY = 8.0
#: Largest N · K for which the Gram matrix and its full eigen-solve are cheaper than Lanczos.
_DENSE_UP_TO = 6000


def flat_matrix(kernel: Any, name: str = "kernel") -> torch.Tensor:
    """A kernel ``(..., N, N)`` or ``(N, N, K, K)`` as square matrices ``(..., NK, NK)``.

    A four-dimensional kernel is read as ``(N, N, K, K)`` when its last two dimensions are equal and its first two are equal.
    """
    array = as_float64(kernel, name, at_least=2)
    if array.ndim >= 4 and array.shape[-1] == array.shape[-2] and array.shape[-3] == array.shape[-4]:
        n, k = array.shape[-3], array.shape[-1]
        return array.transpose(-3, -2).reshape(*array.shape[:-4], n * k, n * k)
    if array.shape[-1] != array.shape[-2] or array.shape[-1] == 0:
        raise ArgumentError(f"{name} must be square, (N, N) or (N, N, K, K), got shape {tuple(array.shape)}")
    return array


@dataclass(frozen=True, repr=False)
class ConditionNumber(Measurement):
    """κ = λ_max / λ_min of a tangent kernel, or a lower bound of it.

    Attributes:
        value: κ; when ``censored``, the lower bound λ_max / resolution.
        lambda_min: smallest eigenvalue as computed.
        lambda_max: largest eigenvalue.
        resolution: least eigenvalue that the computation can tell from zero.
    """

    lambda_min: Any = None
    lambda_max: Any = None
    resolution: Any = None

    def __repr__(self) -> str:
        return f"ConditionNumber({self}, lambda_min={self.lambda_min}, lambda_max={self.lambda_max})"


def _condition(low: torch.Tensor, high: torch.Tensor, resolution: torch.Tensor) -> ConditionNumber:
    below = low <= resolution
    value = high / torch.where(below, resolution, low)
    uncertain = torch.where(below, torch.full_like(value, float("inf")), high / (low - resolution).clamp_min(_UNIT * resolution))
    at_least = torch.where(below, value, (high - resolution) / (low + resolution))
    censored = bool(below.any())
    reason = "the smallest eigenvalue is below the resolution" if censored else ""

    def plain(t: torch.Tensor) -> Any:
        return float(t) if t.ndim == 0 else t

    return ConditionNumber(
        plain(value),
        low=plain(at_least),
        high=None if censored else plain(uncertain),
        censored=censored,
        reason=reason,
        lambda_min=plain(low),
        lambda_max=plain(high),
        resolution=plain(resolution),
    )


def judge_condition_number(seen: Observation) -> Judgement:
    """How many steps of gradient descent the slowest direction takes."""
    kappa = seen.value
    if kappa <= 1e3 and not seen.measured.censored:
        return Judgement("well conditioned", "", "good")
    steps = f"{'at least ' if seen.measured.censored else ''}κ = {kappa:.1e}"
    advice = (
        f"the slowest direction of these targets takes of the order of κ steps of gradient descent, {steps}; a wider network, "
        "distinct inputs, or a preconditioned optimiser shorten it"
    )
    return Judgement("ill conditioned", advice, "note", severity=float(np.log10(kappa)) / 16)


@quantity(symbol="κ", reference="liu2022 Def. 3", fill={"kernel": "tangent_kernel"}, judge=judge_condition_number)
def condition_number(kernel: Any, x: Any = None, *, memory: int | None = None) -> ConditionNumber:
    """Condition number κ = λ_max(K) / λ_min(K) of a tangent kernel, with its resolution.

    Given a model and inputs, λ_min is taken from the singular values of the Jacobian where the Gram matrix cannot resolve it.

    Args:
        kernel: ``(N, N)``, ``(N, N, K, K)``, a stack ``(..., N, N, K, K)`` of such, or a module. The resolution is that of the
            precision in which the kernel is given.
        x: inputs, when ``kernel`` is a module.
        memory: bytes that the Jacobian may take, when it is needed.

    Returns:
        `ConditionNumber` with ``.value, .lambda_min, .lambda_max, .censored, .resolution``; when ``censored`` the value is a lower
        bound.

    Raises:
        ArgumentError: a kernel that is empty, not square, not symmetric or not positive semidefinite.

    Cost: O((NK)³); with the Jacobian O((NK)² P).

    Reference: liu2022.

    Example:
        >>> condition_number(np.diag([4.0, 1.0])).value, condition_number(np.diag([1.0, 0.0])).censored
        (4.0, True)
    """
    if isinstance(kernel, nn.Module):
        if x is None:
            raise ArgumentError("x must be given with a model: condition_number(model, x)")
        return _of_model(kernel, x, memory)
    matrix = flat_matrix(kernel)
    unit = unit_roundoff(kernel)
    gap = (matrix - matrix.mT).abs().amax((-2, -1))
    if bool((gap > max(1e-8, 16 * unit) * matrix.abs().amax((-2, -1))).any()):
        raise ArgumentError(f"kernel must be symmetric, got an asymmetry of {float(gap.max()):.2e}")
    values = torch.linalg.eigvalsh(0.5 * (matrix + matrix.mT))
    low, high = values[..., 0], values[..., -1]
    if bool((low < -max(1e-6, _SAFETY * matrix.shape[-1] * unit) * values.abs().amax(-1)).any()):
        raise ArgumentError(f"kernel must be positive semidefinite, got an eigenvalue {float(low.min()):.3g}")
    # A negative eigenvalue shows how large the noise of the kernel's entries is.
    return _condition(low, high, torch.maximum(_SAFETY * unit * matrix.shape[-1] * high.abs(), -low))


def _of_model(model: nn.Module, x: Any, memory: int | None) -> ConditionNumber:
    by_gram = condition_number(tangent_kernel(model, _tensor(x), memory=memory))
    if not by_gram.censored:
        return by_gram
    jacobian = parameter_jacobian(model, _tensor(x), memory=memory).flatten(0, 1)  # (NK, P)
    size = jacobian.shape[0]
    if size > jacobian.shape[1]:  # fewer parameters than equations: the kernel is singular
        sigma = torch.linalg.svdvals(jacobian)
        zero = sigma.new_zeros(())
        return _condition(zero, sigma[0] ** 2, (_SAFETY * _UNIT * size**0.5 * sigma[0]) ** 2)
    triangular = torch.linalg.qr(jacobian.T, mode="r").R  # (NK, NK): a QR keeps relative accuracy and makes the SVD small
    sigma = torch.linalg.svdvals(triangular)
    return _condition(sigma[-1] ** 2, sigma[0] ** 2, (_SAFETY * _UNIT * size**0.5 * sigma[0]) ** 2)


def _tensor(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(_tensor(part) for part in x)
    return x if isinstance(x, torch.Tensor) else torch.as_tensor(np.asarray(x))


@dataclass(frozen=True)
class ExtremalEigenvalues:
    """Extreme eigenvalues of a tangent kernel.

    Attributes:
        smallest: ``(k,)``, ascending.
        largest: ``(k,)``, ascending.
        smallest_residuals: ``(k,)``; an eigenvalue lies within this distance of each.
        largest_residuals: ``(k,)``.
        converged: whether all residuals reached the tolerance; if not, the values are estimates and not more.
        method: ``"gram"`` or ``"lanczos"``.
        products: number of kernel-vector products spent.
        size: N · K.
    """

    smallest: torch.Tensor
    largest: torch.Tensor
    smallest_residuals: torch.Tensor
    largest_residuals: torch.Tensor
    converged: bool
    method: str
    products: int
    size: int

    @property
    def lambda_min(self) -> float:
        """Smallest eigenvalue."""
        return float(self.smallest[0])

    @property
    def lambda_max(self) -> float:
        """Largest eigenvalue."""
        return float(self.largest[-1])

    @property
    def residuals(self) -> torch.Tensor:
        """Residuals of ``smallest``, then of ``largest``."""
        return torch.cat([self.smallest_residuals, self.largest_residuals])

    def __repr__(self) -> str:
        state = "" if self.converged else ", NOT CONVERGED"
        low, high = float(self.smallest_residuals[0]), float(self.largest_residuals[-1])
        return (
            f"ExtremalEigenvalues(lambda_min={self.lambda_min:.6g} ± {low:.1e}, lambda_max={self.lambda_max:.6g} ± {high:.1e}, "
            f"{self.method}{state})"
        )


def _outputs(model: nn.Module, x: Any) -> int:
    """N · K."""
    net = FunctionalModel(model)
    with torch.no_grad():
        return net(as_inputs(_tensor(x), "x", net.dtype, net.device)).numel()


@evaluation()
def extremal_eigenvalues(
    model: Any,
    x: Any = None,
    *,
    k: int = 1,
    method: Literal["auto", "gram", "lanczos"] = "auto",
    tol: float = 1e-8,
    max_products: int = 2000,
    seed: int = 0,
    memory: int | None = None,
) -> ExtremalEigenvalues:
    """The k smallest and k largest eigenvalues of the tangent kernel, with residuals.

    Args:
        model: a module, or a kernel ``(N, N)`` or ``(N, N, K, K)``.
        x: inputs, with a module.
        k: number of eigenvalues at each end.
        method: ``"gram"`` builds the kernel, ``"lanczos"`` only multiplies with it; ``"auto"`` takes the first up to N·K = 6000.
        tol: residual relative to λ_max at which Lanczos stops.
        max_products: products after which Lanczos gives up and says so.
        seed: of Lanczos' starting vector.
        memory: bytes for the kernel, as in `ntk`.

    Returns:
        `ExtremalEigenvalues`; check ``.converged``. Note that ``tol`` bounds the error relative to λ_max, so a λ_min below
        tol · λ_max is not determined: its residual says so.

    Raises:
        ArgumentError: k beyond the size of the kernel.

    Cost: O((NK)³) by Gram; about √κ products by Lanczos, each two backward passes.

    Reference: wu2000.

    Example:
        >>> extremal_eigenvalues(np.diag([1.0, 2.0, 5.0])).lambda_max
        5.0
    """
    if method not in ("auto", "gram", "lanczos"):
        raise ArgumentError(f"method must be 'auto', 'gram' or 'lanczos', got {method!r}")
    operator: Any
    if isinstance(model, nn.Module):
        if x is None:
            raise ArgumentError("x must be given with a model: extremal_eigenvalues(model, x)")
        dense = method == "gram" or (method == "auto" and _outputs(model, x) <= _DENSE_UP_TO)
        operator = None if dense else TangentOperator(model, _tensor(x))
        size = 0 if operator is None else operator.size
        matrix = flat_matrix(tangent_kernel(model, _tensor(x), memory=memory)) if dense else None
    else:
        matrix = flat_matrix(model)
        if matrix.ndim != 2:
            raise ArgumentError(f"one kernel at a time, got shape {tuple(matrix.shape)}")
        dense = method != "lanczos"
        operator = matrix.__matmul__
    if matrix is not None:
        size = matrix.shape[0]
    if not 1 <= k <= size:
        raise ArgumentError(f"k must be in 1..{size}, got {k}")
    if dense and matrix is not None:
        values, vectors = torch.linalg.eigh(matrix)
        residuals = (matrix @ vectors - vectors * values).norm(dim=0).cpu()
        values = values.cpu()
        return ExtremalEigenvalues(values[:k], values[-k:], residuals[:k], residuals[-k:], True, "gram", 0, size)
    generator = torch.Generator().manual_seed(seed)
    device = operator.device if matrix is None else matrix.device
    pairs = lanczos(operator, size, k=k, which="both", tol=tol, max_products=max_products, generator=generator, device=device)
    fine = bool(pairs.converged.all())
    v, r = pairs.values, pairs.residuals
    return ExtremalEigenvalues(v[:k], v[-k:], r[:k], r[-k:], fine, "lanczos", pairs.products, size)
