"""Singular values of the input–output Jacobian: of one network, of all depths in one pass, and the spectrum of large ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from theodolite.core.arrays import check_finite
from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.core.quantity import quantity
from theodolite.core.seed import generator
from theodolite.lens.evaluation import evaluation, recordable
from theodolite.lens.frozen import frozen
from theodolite.lens.substitution import call_with, tensors_of
from theodolite.maths.lanczos import SpectralQuadrature, slq

__all__ = ["JacobianProduct", "jacobian_products", "jacobian_singular_values", "jacobian_spectrum"]

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
        w = torch.as_tensor(weight, device=None if product is None else product.device)
        d = torch.as_tensor(slope, device=w.device)
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


def _points(
    model: nn.Module, x: Any, most_inputs: int
) -> Iterator[tuple[Callable[[torch.Tensor], torch.Tensor], torch.Tensor, int]]:
    """(the model as a function of a flat vector, the point, number of outputs) for each input."""
    inputs = torch.as_tensor(x)
    if inputs.ndim < 2 or not len(inputs):
        raise ArgumentError(f"x must hold inputs, one per row, got shape {tuple(inputs.shape)}")
    if not inputs.is_floating_point():
        raise UnsupportedError(
            f"inputs of type {inputs.dtype} have no derivative, and so no Jacobian; pass the embeddings of tokens to the rest of the "
            "model, or convert numbers with x.float()"
        )
    reference = next((p for p in model.parameters()), inputs)
    inputs = inputs[:most_inputs].detach().to(reference.device, reference.dtype if reference.is_floating_point() else None)
    check_finite(inputs, "x")
    inputs = recordable(inputs)
    values = {name: recordable(tensor) for name, tensor in tensors_of(model).items()}
    for one in inputs.split(1):

        def function(v: torch.Tensor, shape: tuple[int, ...] = tuple(one.shape)) -> torch.Tensor:
            result: torch.Tensor = call_with(model, values, (v.reshape(shape),))
            return result.reshape(-1)

        with torch.no_grad():
            outputs = function(one.reshape(-1)).numel()
        yield function, one.reshape(-1), outputs


@quantity(symbol="σ_i(J)", reference="pennington2017", fill={"x": "inputs"}, per_output=True)
@evaluation()
def jacobian_singular_values(model: nn.Module, x: Any, *, largest: int = 32, most_inputs: int = 8, seed: int = 0) -> torch.Tensor:
    """Singular values of J = ∂ outputs/∂ inputs of a model at each input, in decreasing order.

    Formed and decomposed while J has at most 4·10⁶ entries; beyond, the ``largest`` ones by Lanczos bidiagonalisation with
    Jacobian–vector products, J itself never being formed; for the whole of a large spectrum see `jacobian_spectrum`.

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
        ArgumentError: no inputs, or inputs that are not finite.
        UnsupportedError: tokens or other inputs that are not real numbers, which have no derivative.

    Cost: d or K backward passes (batched) and one SVD per input; large: about 3·``largest`` products with J and Jᵀ.

    Example:
        >>> net = nn.Linear(3, 2, bias=False)
        >>> bool(torch.allclose(jacobian_singular_values(net, torch.zeros(1, 3))[0], torch.linalg.svdvals(net.weight).double()))
        True
    """
    rows = []
    with frozen(model):
        for function, point, outputs in _points(model, x, most_inputs):
            if outputs * point.numel() <= DENSE_ENTRIES:
                rows.append(torch.linalg.svdvals(_dense_jacobian(function, point, outputs).double()))
            else:
                rows.append(_largest(_Products(function, point), largest, seed))
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


class _Products:
    """Products with J (forward mode) and Jᵀ (reverse mode), J itself never being formed."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor) -> None:
        self.function, self.point = function, point.detach()
        self.at = point.detach().requires_grad_()
        self.out = function(self.at)
        self.shape = self.out.numel(), point.numel()

    def forward(self, v: torch.Tensor) -> torch.Tensor:
        """J v."""
        return torch.func.jvp(self.function, (self.point,), (v.to(self.point),))[1].detach().double().cpu()

    def backward(self, v: torch.Tensor) -> torch.Tensor:
        """Jᵀ v."""
        return torch.autograd.grad(self.out, self.at, v.to(self.out), retain_graph=True)[0].double().cpu()

    def gram(self, v: torch.Tensor) -> torch.Tensor:
        """JᵀJ v or JJᵀ v, whichever is smaller."""
        outputs, inputs = self.shape
        return self.backward(self.forward(v)) if inputs <= outputs else self.forward(self.backward(v))


def _largest(products: _Products, count: int, seed: int) -> torch.Tensor:
    """Golub–Kahan–Lanczos by scipy."""
    import numpy as np
    from scipy.sparse.linalg import LinearOperator, svds

    def on_arrays(product: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Any], Any]:
        return lambda v: product(torch.as_tensor(np.asarray(v).ravel())).numpy()

    matvec, rmatvec = on_arrays(products.forward), on_arrays(products.backward)
    operator = LinearOperator(products.shape, matvec=matvec, rmatvec=rmatvec, dtype=np.float64)
    size = min(products.shape)
    start = torch.randn(size, generator=generator(seed, "svds"), dtype=torch.float64).numpy()
    values = svds(operator, k=min(count, size - 1), return_singular_vectors=False, v0=start)
    return torch.from_numpy(np.sort(values)[::-1].copy())


@evaluation()
def jacobian_spectrum(
    model: nn.Module, x: Any, *, probes: int = 8, steps: int = 60, most_inputs: int = 8, seed: int = 0
) -> SpectralQuadrature:
    """Spectral measure of JJᵀ (or JᵀJ, whichever is smaller), averaged over inputs: all of it, for Jacobians of any size.

    Exact while J has at most 4·10⁶ entries. Beyond, stochastic Lanczos quadrature: for a random unit vector the Gauss rule of its
    Krylov space is exact for polynomials of degree 2 · ``steps``, and its mean over vectors is the spectral measure.

    Args:
        model: any module, one output row per input row; left as it was.
        x: inputs (N, …); the first ``most_inputs`` of them are used.
        probes: random vectors per input.
        steps: Lanczos steps per vector.
        most_inputs: number of inputs.
        seed: of the vectors.

    Returns:
        A `SpectralQuadrature`: ``.density(grid, width)`` with its standard error, ``.trace(f)``, or the bare ``nodes`` and ``weights``
        (one row per input and probe). Nodes are squared singular values.

    Raises:
        ArgumentError: no inputs, or inputs that are not finite. UnsupportedError: tokens as inputs.

    Cost: large Jacobians: probes · steps products with J and Jᵀ per input.

    Reference: ghorbani2019 (for Hessians); pennington2017.

    Example:
        >>> net = nn.Linear(3, 2, bias=False)
        >>> spectrum = jacobian_spectrum(net, torch.zeros(1, 3))
        >>> abs(spectrum.trace(lambda v: v).value - float(net.weight.double().square().sum())) < 1e-6
        True
    """
    nodes, weights, size = [], [], 0
    with frozen(model):
        for function, point, outputs in _points(model, x, most_inputs):
            size = min(outputs, point.numel())
            if outputs * point.numel() <= DENSE_ENTRIES:
                exact = torch.linalg.svdvals(_dense_jacobian(function, point, outputs).double())[None].square()
                nodes.append(exact.cpu())
                weights.append(torch.full_like(nodes[-1], 1.0 / size))
            else:
                source = generator(seed, "slq", len(nodes))
                found = slq(
                    _Products(function, point).gram, size, probes=probes, steps=steps, generator=source, device=point.device
                )
                nodes.append(found.nodes)
                weights.append(found.weights)
    return SpectralQuadrature(torch.cat(nodes), torch.cat(weights), torch.empty(0, dtype=torch.float64), size)
