"""The empirical tangent kernel as users call it, its product with vectors, and the features of the readout's kernel."""

from __future__ import annotations

import copy
from concurrent.futures import Executor
from typing import Any

import numpy as np
import torch
from torch import nn

from theodolite.core.arrays import as_given
from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.lens.curvature import TangentOperator
from theodolite.lens.evaluation import evaluation
from theodolite.lens.functional import FunctionalModel, ParameterChoice, as_inputs
from theodolite.lens.kernel import tangent_kernel
from theodolite.lens.sensitivity import Plan, cotangents
from theodolite.lens.uses import Broadcast, Factored
from theodolite.theory.tangent.tiles import fingerprint, tile_arguments

__all__ = ["nngp_features", "ntk", "ntk_vector_product"]

#: Bytes of one tile that is handed to an executor or written to disk.
_TILE_BYTES = 2**23


@evaluation()
def ntk(
    model: nn.Module,
    x1: Any,
    x2: Any = None,
    *,
    outputs: str | int = "full",
    parameters: ParameterChoice = None,
    dtype: torch.dtype = torch.float64,
    memory: int | None = None,
    executor: Executor | None = None,
    out: Any = None,
) -> Any:
    """Empirical neural tangent kernel Θ_ab(x, x′) = Σ_p ∂_p f_a(x) ∂_p f_b(x′) over the trainable parameters.

    Exact for any module and without its Jacobian: a linear layer with inputs A and output gradients G contributes
    (A A′ᵀ) ∘ (G G′ᵀ). Linear maps, convolutions, norms with fixed statistics, embeddings, attention, biases, scales and shifts are
    treated by their structure, shared weights summed over their uses, every other parameter by its per-sample Jacobian.

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x1: inputs ``(N1, ...)``, or a tuple of such for a module of several inputs.
        x2: inputs ``(N2, ...)``; None means ``x1``, and only half of the symmetric kernel is computed.
        outputs: ``"full"`` for all pairs of the K outputs; ``"trace"`` for Σ_a Θ_aa; ``"sum"`` for Σ_ab Θ_ab, the kernel of the
            summed outputs; an int for one output.
        parameters: names (or prefixes of names), parameters, or a predicate on names; None for all trainable ones.
        dtype: precision of the computation, whatever the model's.
        memory: bytes that result and working set may take together; None for what the machine has free.
        executor: any ``concurrent.futures.Executor`` that carries tiles out; a pool of processes needs a picklable model.
        out: folder or URL of a zarr group to write the kernel to, tile by tile; an interrupted run is resumed.

    Returns:
        ``(N1, N2, K, K)`` for ``"full"``, else ``(N1, N2)``; numpy if ``x1`` is numpy, a zarr array when ``out`` is given.

    Raises:
        ArgumentError: no trainable parameter, NaN, several devices, or a result beyond the memory (says what would fit).
        UnsupportedError: samples coupled within the batch (batch normalisation in training mode or without running statistics),
            random outputs, operations in place that autograd cannot follow.
        StoreError: ``out`` holds the kernel of something else.

    Cost: one forward and K backward passes per tile, and Σ_layers 2 N² (i + K² o) operations.

    Reference: jacot2018; novak2022.

    Example:
        >>> ntk(nn.Linear(2, 3), torch.tensor([[1.0, 2.0]]), outputs="trace")  # 3 (x·x + 1)
        tensor([[18.]], dtype=torch.float64)
    """
    if executor is None and out is None:
        return tangent_kernel(model, x1, x2, outputs=outputs, parameters=parameters, dtype=dtype, memory=memory)
    from theodolite.lab import Grid, fill_grid

    net = FunctionalModel(model, dtype, parameters)
    first = as_inputs(x1, "x1", dtype, net.device)
    symmetric = x2 is None or x2 is x1
    second = None if symmetric else as_inputs(x2, "x2", dtype, net.device)
    width = Plan.probe(net, first).width if outputs == "full" else 1
    tail = (width, width) if outputs == "full" else ()
    tile = max(1, int((_TILE_BYTES / (width**2 * torch.finfo(dtype).bits // 8)) ** 0.5))
    rows, columns = first[0].shape[0], (first if second is None else second)[0].shape[0]
    # Calling a module with other parameters swaps them inside it: every task works on its own copy of a copy that none calls.
    settings = (net.model if executor is None else copy.deepcopy(net.model), outputs, tuple(net.variables), dtype, memory)
    values = [v.detach().cpu().numpy() for v in net.variables.values()]
    inputs = [part.cpu().numpy() for part in (*first, *(second or ()))]
    spec = fingerprint({"outputs": str(outputs), "parameters": list(net.variables), "dtype": str(dtype)}, *values, *inputs)
    (result,) = fill_grid(
        _tile,
        Grid(
            (rows, columns, *tail),
            (tile, tile),
            symmetric,
            dtype="<f8" if dtype == torch.float64 else "<f4",
            names=("ntk",),
            swapped=((2, 3),) if tail else (),
        ),
        arguments=tile_arguments(settings, first, second),
        executor=executor,
        out=out,
        spec=spec,
    )
    if out is not None:
        return result
    return as_given(torch.from_numpy(result), *(x1 if isinstance(x1, tuple) else (x1,)))


def _tile(
    model: nn.Module, outputs: str | int, parameters: tuple[str, ...], dtype: torch.dtype, memory: int | None, x1: Any, x2: Any
) -> tuple[Any]:
    """One tile of the kernel; runs in a worker."""
    tile = tangent_kernel(copy.deepcopy(model), x1, x2, outputs=outputs, parameters=parameters, dtype=dtype, memory=memory)
    return (tile.cpu().numpy(),)


@evaluation()
def ntk_vector_product(
    model: nn.Module, x: Any, vector: Any, *, parameters: ParameterChoice = None, dtype: torch.dtype = torch.float64
) -> Any:
    """Θ v = J (Jᵀ v) without forming Θ.

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x: inputs ``(N, ...)``.
        vector: ``(N, K)``, or ``(N,)`` or flat ``(N · K,)``; one vector.
        parameters: as in `ntk`.
        dtype: precision of the computation.

    Returns:
        Θ v in the shape of ``vector``; numpy if ``x`` is numpy.

    Raises:
        ArgumentError: a vector of the wrong size.

    Cost: one forward and three backward passes; for many products build `theodolite.lens.curvature.TangentOperator` once.

    Reference: novak2022.

    Example:
        >>> ntk_vector_product(nn.Linear(2, 1), torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0], [1.0]]))
        tensor([[7.],
                [2.]], dtype=torch.float64)
    """
    operator = TangentOperator(model, x, parameters=parameters, dtype=dtype)
    given = vector if isinstance(vector, torch.Tensor) else torch.as_tensor(np.asarray(vector))
    result = operator(given).reshape(given.shape).detach()
    return as_given(result, *(x if isinstance(x, tuple) else (x,)))


@evaluation()
def nngp_features(
    model: nn.Module, x: Any, *, sigma_w2: float | None = None, sigma_b2: float | None = None, dtype: torch.dtype = torch.float64
) -> Any:
    """Random features of the empirical NNGP kernel: Φ(x) = (σ_w a(x)/√n, σ_b), with a(x) the n inputs of the readout.

    Φ Φᵀ is the covariance of the outputs over a fresh Gaussian readout with the hidden layers as they are; training the readout
    alone is linear regression on these features.

    Args:
        model: a module that ends in a linear layer.
        x: inputs ``(N, ...)``.
        sigma_w2: variance of the readout's weights times fan-in; None measures it as n · mean W².
        sigma_b2: variance of its biases; None measures it as mean b² (0 without biases).
        dtype: precision of the computation.

    Returns:
        ``(N, n)``, or ``(N, n + 1)`` with a readout bias; numpy if ``x`` is numpy.

    Raises:
        UnsupportedError: the outputs are not those of a linear layer applied once per sample.

    Cost: one forward pass.

    Reference: lee2018.

    Example:
        >>> layer = nn.Linear(4, 1, bias=False)
        >>> nngp_features(layer, torch.ones(1, 4), sigma_w2=1.0)
        tensor([[0.5000, 0.5000, 0.5000, 0.5000]], dtype=torch.float64)
    """
    net = FunctionalModel(model, dtype)
    inputs = as_inputs(x, "x", dtype, net.device)
    plan = Plan.probe(net, inputs)
    uses = plan.uses(inputs, cotangents("full", plan.width, net.dtype, net.device))
    for use, gradient in reversed(uses):
        if isinstance(use, Factored) and _is_readout(use, gradient, plan.width):
            break
    else:
        raise UnsupportedError(
            "the model does not end in a linear layer, so that it has no readout whose inputs are NNGP features"
        )
    features = use.layout.split(use.inputs, inputs[0].shape[0])[:, 0, 0, 0]  # (N, n)
    fan_in = features.shape[1]
    weight = net.variables[use.piece.parameter].detach() * use.scale
    bias = next((u for u, _ in uses if isinstance(u, Broadcast) and u.edge == use.edge), None)
    if sigma_w2 is None:
        sigma_w2 = float(fan_in * weight.square().mean())
    if sigma_b2 is None:
        sigma_b2 = 0.0 if bias is None else float((net.variables[bias.piece.parameter].detach() * bias.scale).square().mean())
    if sigma_w2 < 0 or sigma_b2 < 0:
        raise ArgumentError(f"sigma_w2 and sigma_b2 must not be negative, got {sigma_w2} and {sigma_b2}")
    scaled = features * (sigma_w2 / fan_in) ** 0.5
    if bias is not None:
        scaled = torch.cat([scaled, scaled.new_full((len(scaled), 1), sigma_b2**0.5)], 1)
    return as_given(scaled.detach(), *(x if isinstance(x, tuple) else (x,)))


def _is_readout(use: Factored, gradient: torch.Tensor, width: int) -> bool:
    """Whether z is the output itself: ∂ f_k / ∂ z_j = δ_kj at every sample."""
    once = use.layout.outer * use.layout.inner * use.inputs.shape[1] == 1
    if not once or gradient.shape[-1] != width:
        return False
    eye = torch.eye(width, dtype=gradient.dtype, device=gradient.device)
    return bool((gradient.reshape(width, -1, width) == eye.unsqueeze(1)).all())
