"""Empirical tangent kernels of a ReLU network, (N, N, K, K), by each peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.memory import available_memory
from benchmarks.peers.networks import sequential


def nngeometry(layers: list[Any], x: np.ndarray) -> Callable[[], np.ndarray]:
    """The dense Gram matrix of all outputs."""
    import torch
    from nngeometry.gram import GramMatrix
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(1)
    model, inputs = sequential(layers), torch.from_numpy(x)
    loader = DataLoader(TensorDataset(inputs), batch_size=len(x))

    def call() -> np.ndarray:
        gram = GramMatrix(model, loader, function=lambda *d: model(d[0])).to_torch()  # (K, N, K, N)
        return gram.permute(1, 3, 0, 2).detach().numpy()

    return call


def backpack(layers: list[Any], x: np.ndarray) -> Callable[[], np.ndarray]:
    """Per-sample gradients of one output after another, and one product per parameter."""
    import torch
    from backpack import backpack as extending
    from backpack import extend
    from backpack.extensions import BatchGrad

    torch.set_num_threads(1)
    model, inputs = extend(sequential(layers)), torch.from_numpy(x)
    samples, outputs = len(x), layers[-1][0].shape[0]
    # All per-sample gradients are held twice: by the parameters and as the rows of the product.
    needed = 2 * 8 * samples * outputs * sum(w.size + b.size for w, b in layers)
    if needed > available_memory():
        raise MemoryError(f"per-sample gradients of all outputs take {needed / 1e9:.3g} GB, more than this machine has free")

    def call() -> np.ndarray:
        rows = []
        for k in range(outputs):
            model.zero_grad()
            with extending(BatchGrad()):
                model(inputs)[:, k].sum().backward()
            rows.append([p.grad_batch.flatten(1).clone() for p in model.parameters()])
        total = torch.zeros(samples, outputs, samples, outputs, dtype=inputs.dtype)
        for position in range(len(rows[0])):
            flat = torch.stack([row[position] for row in rows], 1).flatten(0, 1)
            total += (flat @ flat.T).reshape(samples, outputs, samples, outputs)
        return total.permute(0, 2, 1, 3).numpy()

    return call


def asdl(layers: list[Any], x: np.ndarray) -> Callable[[], np.ndarray]:
    """The kernel from per-sample gradients of all outputs."""
    import torch
    from asdl.kernel import empirical_direct_ntk

    torch.set_num_threads(1)
    model, inputs = sequential(layers), torch.from_numpy(x)
    return lambda: empirical_direct_ntk(model, inputs).detach().numpy()


def asdl_class_wise(layers: list[Any], x: np.ndarray) -> Callable[[], np.ndarray]:
    """The diagonal blocks a = b alone, structured."""
    import torch
    from asdl.kernel import empirical_class_wise_hadamard_ntk

    torch.set_num_threads(1)
    model, inputs = sequential(layers), torch.from_numpy(x)

    def call() -> np.ndarray:
        found = empirical_class_wise_hadamard_ntk(model, inputs).detach().numpy()
        outputs = found.shape[2]
        return found[..., None] if outputs == 1 else found

    return call


def neural_tangents(
    layers: list[Any], x: np.ndarray, implementation: int = 3, keep: int | None = None
) -> Callable[[], np.ndarray]:
    """JAX, jitted: Jacobian contraction (1), NTK-vector products (2) or structured derivatives (3); of the first ``keep`` samples."""
    import jax

    from benchmarks.peers.infinite_kernels import import_neural_tangents

    nt = import_neural_tangents()
    jax.config.update("jax_enable_x64", True)
    # Stored as (in, out): a transposition inside the network hides its structure from the package, at a hundredfold cost.
    parameters = [(jax.numpy.asarray(w.T.copy()), jax.numpy.asarray(b)) for w, b in layers]
    inputs = jax.numpy.asarray(x)

    def apply(values: list[Any], batch: Any) -> Any:
        for k, (w, b) in enumerate(values):
            batch = batch @ w + b
            batch = jax.numpy.maximum(batch, 0) if k + 1 < len(values) else batch
        return batch

    fn = nt.empirical_ntk_fn(apply, trace_axes=(), vmap_axes=0, implementation=implementation)
    kernel = jax.jit(lambda batch, values: fn(batch, None, values))
    return lambda: np.asarray(jax.block_until_ready(kernel(inputs, parameters)))[:keep, :keep]
