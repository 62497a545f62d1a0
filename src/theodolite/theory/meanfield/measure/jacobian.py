"""Singular values of the input–output Jacobian, of all depths in one pass, and Lyapunov exponents of very deep networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.core.quantity import quantity
from theodolite.core.seed import generator
from theodolite.lens.frozen import frozen

__all__ = ["JacobianProduct", "jacobian_products", "jacobian_singular_values", "lyapunov_spectrum"]

#: Entries of one Jacobian up to which it is formed and decomposed.
DENSE_ENTRIES = 4_000_000


class JacobianProduct(NamedTuple):
    """The Jacobian of the first ``depth`` layers, exp(log_scale) · matrix, with ‖matrix‖_F = √n."""

    depth: int
    matrix: torch.Tensor
    log_scale: float


def jacobian_products(layers: Iterable[tuple[Any, Any]], at: Sequence[int] | None = None) -> Iterator[JacobianProduct]:
    """Jacobians D_l W_l … D_1 W_1 of all depths in one pass, rescaled at every layer against over- and underflow.

    Args:
        layers: pairs (weight (n_l, n_{l−1}), slopes (n_l,)): W_l and the diagonal of D_l = φ′(z_l) for one input.
        at: depths at which to yield; all by default.

    Yields:
        `JacobianProduct` for each depth asked for. Its matrix is reused: take what you need before going on.

    Raises:
        ArgumentError: shapes that do not fit together.

    Cost: one matrix product per layer; nothing else of that order.

    Example:
        >>> two = [(torch.eye(2) * 3, torch.ones(2)), (torch.eye(2), torch.tensor([1.0, 0.0]))]
        >>> [round(math.exp(j.log_scale), 4) for j in jacobian_products(two)]
        [3.0, 2.1213]
    """
    wanted = None if at is None else set(at)
    product: torch.Tensor | None = None
    log_scale = 0.0
    for depth, (weight, slope) in enumerate(layers, start=1):
        w, d = torch.as_tensor(weight), torch.as_tensor(slope)
        if w.ndim != 2 or d.shape != w.shape[:1] or (product is not None and w.shape[1] != product.shape[0]):
            raise ArgumentError(
                f"layer {depth} must be a weight (n, m) that fits the layer before, and n slopes, "
                f"got {tuple(w.shape)} and {tuple(d.shape)}"
            )
        product = (w if product is None else w @ product) * d[:, None]
        size = float(product.norm()) / math.sqrt(min(product.shape))
        if size > 0 and math.isfinite(size):
            product /= size
            log_scale += math.log(size)
        if wanted is None or depth in wanted:
            yield JacobianProduct(depth, product, log_scale)


def _single(model: nn.Module, x: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda v: model(v.reshape(1, *x.shape[1:])).reshape(-1)


@quantity(symbol="σ_i(J)", reference="pennington2017", fill={"x": "inputs"})
def jacobian_singular_values(model: nn.Module, x: Any, *, largest: int = 32, most_inputs: int = 8, seed: int = 0) -> torch.Tensor:
    """Singular values of J = ∂ outputs/∂ inputs of a model at each input, in decreasing order.

    Formed and decomposed while J has at most 4·10⁶ entries; beyond, the ``largest`` ones by Lanczos bidiagonalisation with
    Jacobian–vector products, J itself never being formed.

    Args:
        model: any module, one output row per input row; left as it was.
        x: inputs (N, …); the first ``most_inputs`` of them are used.
        largest: how many singular values to compute for a large Jacobian.
        most_inputs: number of inputs.
        seed: of the start vector of the iteration.

    Returns:
        (inputs, k), float64: k = min(K, d), or ``largest`` for a large Jacobian. Values under 1e-15 of the largest (float64 models) are
        rounding noise.

    Raises:
        ArgumentError: no inputs.

    Cost: d or K backward passes (batched) and one SVD per input; large: about 3·``largest`` products with J and Jᵀ.

    Example:
        >>> net = nn.Linear(3, 2, bias=False)
        >>> bool(torch.allclose(jacobian_singular_values(net, torch.zeros(1, 3))[0], torch.linalg.svdvals(net.weight).double()))
        True
    """
    inputs = torch.as_tensor(x)
    if inputs.ndim < 2 or not len(inputs):
        raise ArgumentError(f"x must hold inputs, one per row, got shape {tuple(inputs.shape)}")
    reference = next((p for p in model.parameters()), inputs)
    inputs = inputs[:most_inputs].to(reference.device, reference.dtype if reference.is_floating_point() else None)
    rows = []
    with frozen(model):
        for one in inputs.split(1):
            function = _single(model, one)
            point = one.reshape(-1)
            with torch.no_grad():
                outputs = function(point).numel()
            if outputs * point.numel() <= DENSE_ENTRIES:
                jacobian = _dense_jacobian(function, point, outputs)
                rows.append(torch.linalg.svdvals(jacobian.double()))
            else:
                rows.append(_largest(function, point, outputs, largest, seed))
    return torch.stack(rows)


def _dense_jacobian(function: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor, outputs: int) -> torch.Tensor:
    """J (K, d) by batched backward passes; one after the other where vmap does not know an operation."""
    point = point.detach().requires_grad_()
    out = function(point)
    basis = torch.eye(outputs, dtype=out.dtype, device=out.device)
    try:
        (jacobian,) = torch.autograd.grad(out, point, basis, is_grads_batched=True, retain_graph=True)
    except RuntimeError:
        rows = [torch.autograd.grad(out, point, b, retain_graph=True)[0] for b in basis]
        jacobian = torch.stack(rows)
    return jacobian.detach()


def _largest(
    function: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor, outputs: int, count: int, seed: int
) -> torch.Tensor:
    """Golub–Kahan–Lanczos by scipy on products with J (forward mode) and Jᵀ (reverse mode)."""
    import numpy as np
    from scipy.sparse.linalg import LinearOperator, svds

    at = point.detach().requires_grad_()
    out = function(at)

    def as_tensor(v: Any) -> torch.Tensor:
        return torch.as_tensor(np.asarray(v).ravel(), dtype=point.dtype, device=point.device)

    def forward(v: Any) -> Any:
        return torch.func.jvp(function, (point.detach(),), (as_tensor(v),))[1].detach().double().cpu().numpy()

    def backward(v: Any) -> Any:
        return torch.autograd.grad(out, at, as_tensor(v), retain_graph=True)[0].double().cpu().numpy()

    operator = LinearOperator((outputs, point.numel()), matvec=forward, rmatvec=backward, dtype=np.float64)
    size = min(outputs, point.numel())
    start = torch.randn(size, generator=generator(seed, "svds"), dtype=torch.float64).numpy()
    values = svds(operator, k=min(count, size - 1), return_singular_vectors=False, v0=start)
    return torch.from_numpy(np.sort(values)[::-1].copy())


def lyapunov_spectrum(model: Any, x: Any, k: int | None = None, *, every: int = 10, seed: int = 0) -> torch.Tensor:
    """Lyapunov exponents of a deep network at one input: growth rates ln σ_i(J)/L of the k leading directions, in decreasing order.

    k tangent vectors are carried through the layers and orthogonalised by QR every ``every`` layers, or sooner where their condition
    number asks for it, so that rates down to
    e^−700 per direction stay visible where the singular values of the plain product drown in rounding. R-diagonals are estimates of
    log singular values that become exact as depth grows; for the bulk of a shallow network use `jacobian_singular_values`.

    Args:
        model: an ``nn.Sequential`` (children are the layers), or a sequence of callables.
        x: one input, shape (1, …) or (…).
        k: number of exponents; all by default.
        every: children between two orthogonalisations, at most 10.
        seed: of the tangent vectors.

    Returns:
        (k,), per child of the sequence that changes the tangent space (elementwise and affine layers both count as one child).

    Raises:
        UnsupportedError: a model that is not a sequence of layers.
        ArgumentError: ``every`` beyond 10, or k out of range.

    Cost: k tangent vectors through every layer, and a QR of (width, k) every ``every`` layers.

    Reference: benettin1980.

    Example:
        >>> net = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(50))).double()
        >>> for layer in net: _ = layer.weight.data.copy_(torch.diag(torch.tensor([2.0, 0.5])))
        >>> lyapunov_spectrum(net, torch.zeros(1, 2)).exp().round(decimals=6).tolist()
        [2.0, 0.5]
    """
    if not 1 <= every <= 10:
        raise ArgumentError(f"every must lie in 1..10: beyond, small directions are lost to rounding; got {every}")
    layers = list(model) if isinstance(model, (nn.Sequential, list, tuple)) else None
    if not layers:
        raise UnsupportedError(
            f"a Lyapunov spectrum needs a sequence of layers, got {type(model).__name__}; "
            "pass nn.Sequential(...) or a list of callables"
        )
    point = torch.as_tensor(x).detach()
    parameters = [p for layer in layers if isinstance(layer, nn.Module) for p in layer.parameters()]
    point = point.to(parameters[0].dtype if parameters else torch.float64)
    size = point.numel()
    count = size if k is None else k
    if not 1 <= count <= size:
        raise ArgumentError(f"k must lie in 1..{size}, got {k}")
    if count == size:
        tangents = torch.eye(size, dtype=point.dtype)
    else:
        tangents = torch.randn(size, count, generator=generator(seed, "lyapunov"), dtype=torch.float64).to(point.dtype)
        tangents = torch.linalg.qr(tangents)[0]
    logs = torch.zeros(count, dtype=torch.float64)
    waited, interval = 0, 1
    for index, layer in enumerate(layers, start=1):
        point, tangents = _push(layer, point, tangents)
        waited += 1
        if waited < interval and index < len(layers) and tangents.shape[0] >= count:
            continue
        tangents, r = torch.linalg.qr(tangents)
        count = min(count, r.shape[0])
        steps = r.diagonal().abs().double().log()[:count]
        logs, tangents = logs[:count] + steps, tangents[:, :count]
        # The least diagonal loses as many digits as the block's condition number has: wait only while that is below 10⁶.
        spread = float(steps.max() - steps.min())
        interval = every if not spread > 0 else max(1, min(every, int(waited * math.log(1e6) / spread)))
        waited = 0
    return (logs / len(layers)).sort(descending=True).values


def _push(layer: Callable[..., Any], point: torch.Tensor, tangents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(layer(x), J_layer · tangents), tangents as columns."""
    directions = tangents.T.reshape(-1, *point.shape)
    moved = torch.func.vmap(lambda v: torch.func.jvp(layer, (point,), (v,))[1])(directions)
    return layer(point).detach(), moved.detach().reshape(len(directions), -1).T
