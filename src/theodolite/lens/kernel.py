"""The empirical neural tangent kernel of any module, exactly and fast.

Θ_ab(x, x′) = Σ_p ∂_p f_a(x) ∂_p f_b(x′) over the trainable parameters p. The Jacobian is never formed where it need not be: the
gradient of a linear layer's weight at one sample is an outer product G ⊗ A of output gradients and inputs, so its kernel is
(A A′ᵀ) ∘ (G G′ᵀ), which costs 2N²(i + K²o) instead of 2(NK)² i o operations and N K o instead of N K i o numbers.
"""

from __future__ import annotations

import contextlib
import operator
import os
from typing import Any

import torch
from torch import nn

from theodolite.core.arrays import as_given
from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.lens.evaluation import evaluation
from theodolite.lens.functional import FunctionalModel, Inputs, ParameterChoice, as_inputs
from theodolite.lens.sensitivity import Plan, cotangents
from theodolite.lens.terms import Term

__all__ = ["parameter_jacobian", "tangent_kernel"]

#: Working memory when no budget is given.
_DEFAULT_WORK = 2**29
#: Rows (samples · outputs · positions) of one block: two operands and the product stay in the cache.
_BLOCK_ROWS = 512


@evaluation()
def tangent_kernel(
    model: nn.Module,
    x1: Any,
    x2: Any = None,
    *,
    outputs: str | int = "full",
    parameters: ParameterChoice = None,
    dtype: torch.dtype = torch.float64,
    memory: int | None = None,
) -> Any:
    """Empirical tangent kernel Θ_ab(x, x′) = Σ_p ∂_p f_a(x) ∂_p f_b(x′).

    Exact for any module: linear maps, convolutions, norms with fixed statistics, embeddings, attention, biases, scales and shifts
    by their structure (shared weights summed over their uses), every other parameter by its per-sample Jacobian.

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x1: inputs ``(N1, ...)``, or a tuple of such for a module of several inputs.
        x2: inputs ``(N2, ...)``; None means ``x1``, and only half of the symmetric kernel is computed.
        outputs: ``"full"`` for all pairs of the K outputs, ``"trace"`` for Σ_a Θ_aa, ``"sum"`` for Σ_ab Θ_ab, or one output's index.
        parameters: names (or prefixes of names), parameters, or a predicate on names; None for all trainable ones.
        dtype: precision of the computation, whatever the model's.
        memory: bytes that result and working set may take together; None for what the machine has free.

    Returns:
        ``(N1, N2, K, K)`` for ``"full"``, else ``(N1, N2)``; numpy if ``x1`` is numpy.

    Raises:
        ArgumentError: no trainable parameter, NaN, several devices, or a result beyond the memory.
        UnsupportedError: samples coupled within the batch (batch normalisation in training mode), a random output, or an operation
            in place that autograd cannot follow.

    Cost: one forward and K backward passes, and Σ_layers 2N²(i + K²o) operations.

    Reference: jacot2018; novak2022 for the structured contraction.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> tangent_kernel(layer, torch.tensor([[1.0, 2.0]]))  # x·x + 1
        tensor([[[[6.]]]], dtype=torch.float64)
    """
    outputs = _chosen_outputs(outputs)
    net = FunctionalModel(model, dtype, parameters)
    first = as_inputs(x1, "x1", dtype, net.device)
    second = first if x2 is None else as_inputs(x2, "x2", dtype, net.device)
    symmetric = x2 is None or x2 is x1
    plan = Plan.probe(net, first if first[0].shape[0] > 1 else second)
    if not isinstance(outputs, str) and not 0 <= outputs < plan.width:
        raise ArgumentError(f"outputs must be an index in 0..{plan.width - 1} of the model's outputs, got {outputs}")
    job = _Job(plan, first, second, symmetric, outputs)
    result = job.run(job.tile_size(memory))
    if not bool(torch.isfinite(result.sum())) and not bool(torch.isfinite(result).all()):
        raise NumericalError(
            "the tangent kernel has non-finite entries: a derivative of the model overflows or is undefined there"
        )
    return as_given(result, *(x1 if isinstance(x1, tuple) else (x1,)))


def _chosen_outputs(outputs: Any) -> str | int:
    """``outputs`` as a word or a plain int."""
    if isinstance(outputs, str) and outputs in ("full", "trace", "sum"):
        return outputs
    if not isinstance(outputs, (str, bool)):
        with contextlib.suppress(TypeError):
            return operator.index(outputs)
    raise ArgumentError(f"outputs must be 'full', 'trace', 'sum' or the index of an output, got {outputs!r}")


class _Job:
    """One kernel: what to compute and in which tiles."""

    def __init__(self, plan: Plan, first: Inputs, second: Inputs, symmetric: bool, outputs: str | int) -> None:
        self.plan, self.first, self.second, self.symmetric = plan, first, second, symmetric
        net = plan.net
        self.directions = cotangents(outputs, plan.width, net.dtype, net.device)
        self.fold = outputs == "trace"
        self.full = outputs == "full"
        self.width = len(self.directions) if self.full else 1
        self.sizes = first[0].shape[0], second[0].shape[0]
        self.total = max(self.sizes)

    def tile_size(self, memory: int | None) -> int:
        """Samples per tile such that two tiles and the result fit."""
        item = torch.finfo(self.plan.net.dtype).bits // 8
        result = self.sizes[0] * self.sizes[1] * self.width**2 * item
        available = _free_memory() if memory is None else memory
        per_sample = self.plan.floats_per_sample(len(self.directions), self.fold, self.total) * item
        work = min(_DEFAULT_WORK, available - result) if memory is None else available - result
        tile = int(work // (2 * per_sample))
        if result > available or tile < 1:
            fits = int((max(available - 2 * per_sample, 0) / (item * self.width**2)) ** 0.5)
            raise ArgumentError(
                f"a kernel of {self.sizes[0]} × {self.sizes[1]} samples and {self.width} outputs needs {result:.3g} bytes and "
                f"{per_sample:.3g} bytes of work per sample, but memory is {available:.3g}; {fits} samples would fit. Use "
                "outputs='trace' or 'sum', write the tiles to disk with ntk(..., out=...), or work without the matrix: "
                "ntk_vector_product and extremal_eigenvalues(method='lanczos')"
            )
        return min(tile, self.total)

    def terms(self, inputs: Inputs, a: int, b: int) -> list[Term]:
        """The terms of the samples a..b-1."""
        return self.plan.tile(tuple(part[a:b] for part in inputs), self.directions, fold=self.fold, total=self.total)

    def run(self, tile: int) -> torch.Tensor:
        """The kernel, tile by tile; of a symmetric one only the tiles on and above the diagonal are computed."""
        net = self.plan.net
        rows, columns = self.sizes
        result = torch.empty(rows, columns, self.width, self.width, dtype=net.dtype, device=net.device)
        for a in range(0, rows, tile):
            upper = min(a + tile, rows)
            left = self.terms(self.first, a, upper)
            for c in range(a if self.symmetric else 0, columns, tile):
                end = min(c + tile, columns)
                same = self.symmetric and a == c
                right = left if same else self.terms(self.second, c, end)
                _fill(result[a:upper, c:end], left, right, same)
                if self.symmetric and not same:
                    result[c:end, a:upper] = result[a:upper, c:end].permute(1, 0, 3, 2)
        return result if self.full else result[:, :, 0, 0]


def _fill(tile: torch.Tensor, left: list[Term], right: list[Term], same: bool) -> None:
    """Fill ``tile`` ``(n, n′, C, C)`` block by block."""
    rows, columns, width = tile.shape[0], tile.shape[1], tile.shape[2]
    positions = max([term.positions for term in left] or [1])
    step = max(1, _BLOCK_ROWS // (width * positions))
    for a in range(0, rows, step):
        upper = min(a + step, rows)
        parts = [term.part(a, upper) for term in left]
        for c in range(a if same else 0, columns, step):
            end = min(c + step, columns)
            block = tile.new_zeros(width, upper - a, width, end - c)
            for mine, theirs in zip(parts, right, strict=True):
                mine.add_block(theirs.part(c, end), block)
            if same and a == c:  # symmetric but for the rounding of the products
                square = block.view(width * (upper - a), -1)
                square.add_(square.T.clone()).mul_(0.5)
            tile[a:upper, c:end] = block.permute(1, 3, 0, 2)
            if same and a != c:
                tile[c:end, a:upper] = block.permute(3, 1, 2, 0)


def _free_memory() -> int:
    """Bytes of physical memory that are free now (all of it where the system does not say)."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@evaluation()
def parameter_jacobian(
    model: nn.Module,
    x: Any,
    *,
    parameters: ParameterChoice = None,
    dtype: torch.dtype = torch.float64,
    memory: int | None = None,
) -> Any:
    """Jacobian J[n, k, p] = ∂ f_k(x_n) / ∂ θ_p, the features of the tangent kernel Θ = J Jᵀ.

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x: inputs ``(N, ...)``.
        parameters: as in `tangent_kernel`.
        dtype: precision of the computation.
        memory: bytes that the result may take; None for what the machine has free.

    Returns:
        ``(N, K, P)``, parameters flattened and joined in the order of ``model.named_parameters()``; numpy if ``x`` is numpy.

    Raises:
        ArgumentError: the Jacobian would not fit.
        UnsupportedError: samples coupled within the batch.

    Cost: one forward and K backward passes; N K P numbers.

    Example:
        >>> parameter_jacobian(nn.Linear(2, 1), torch.tensor([[3.0, 4.0]]))
        tensor([[[3., 4., 1.]]], dtype=torch.float64)
    """
    net = FunctionalModel(model, dtype, parameters)
    inputs = as_inputs(x, "x", dtype, net.device)
    samples = inputs[0].shape[0]
    plan = Plan.probe(net, inputs)
    needed = samples * plan.width * net.size * torch.finfo(dtype).bits // 8
    available = _free_memory() if memory is None else memory
    if needed > available:
        raise ArgumentError(
            f"the Jacobian of {samples} samples, {plan.width} outputs and {net.size} parameters needs {needed:.3g} bytes, but "
            f"memory is {available:.3g}; the tangent kernel itself needs far less: use tangent_kernel"
        )
    result = _jacobian(plan, inputs)
    return as_given(result, *(x if isinstance(x, tuple) else (x,)))


def _jacobian(plan: Plan, inputs: Inputs) -> torch.Tensor:
    net, samples = plan.net, inputs[0].shape[0]
    directions = cotangents("full", plan.width, net.dtype, net.device)
    places, start = {}, 0
    for name, value in net.variables.items():
        places[name] = (start, value.shape)
        start += value.numel()
    result = torch.zeros(plan.width, samples, start, dtype=net.dtype, device=net.device)
    for use, gradient in plan.uses(inputs, directions):
        at, shape = places[use.piece.parameter]
        if use.piece.rows is not None:
            at += use.piece.rows[0] * shape[1:].numel()
        part = use.per_sample(gradient, samples)  # type: ignore[attr-defined]
        result[:, :, at : at + part.shape[2]] += part
    if plan.general:
        general, at = plan.general_jacobian(inputs, directions), 0
        for name in net.variables:
            if name in plan.general:
                start, size = places[name][0], places[name][1].numel()
                result[:, :, start : start + size] = general[:, :, at : at + size]
                at += size
    return result.transpose(0, 1)
