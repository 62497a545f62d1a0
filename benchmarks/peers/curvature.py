"""Largest eigenvalues of a loss's Hessian by each peer; mean squared error of a tanh network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.networks import sequential


def _problem(layers: list[Any], x: np.ndarray, y: np.ndarray) -> tuple[Any, Any, Any, Any]:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    return sequential(layers, "Tanh"), torch.from_numpy(x), torch.from_numpy(y), nn.MSELoss()


def curvlinops(layers: list[Any], x: np.ndarray, y: np.ndarray, k: int) -> Callable[[], np.ndarray]:
    """Its Hessian operator under scipy's Lanczos."""
    from curvlinops import HessianLinearOperator
    from scipy.sparse.linalg import eigsh

    model, inputs, targets, loss = _problem(layers, x, y)
    parameters = list(model.parameters())

    def call() -> np.ndarray:
        operator = HessianLinearOperator(model, loss, parameters, [(inputs, targets)], check_deterministic=False)
        start = np.random.default_rng(0).standard_normal(operator.shape[0])
        return np.sort(eigsh(operator.to_scipy(), k=k, which="LA", return_eigenvectors=False, tol=1e-6, v0=start))[::-1]

    return call


def pyhessian(layers: list[Any], x: np.ndarray, y: np.ndarray, k: int) -> Callable[[], np.ndarray]:
    """Power iteration with deflation, its default tolerance and steps."""
    import torch
    from pyhessian import hessian

    model, inputs, targets, loss = _problem(layers, x, y)

    def call() -> np.ndarray:
        torch.manual_seed(0)
        values, _ = hessian(model, loss, data=(inputs, targets), cuda=False).eigenvalues(top_n=k)
        return np.sort(np.array(values))[::-1]

    return call


def hessian_eigenthings(layers: list[Any], x: np.ndarray, y: np.ndarray, k: int, steps: int | None) -> Callable[[], np.ndarray]:
    """Its Lanczos, with its default number of steps or the one given."""
    from hessian_eigenthings import HessianOperator, lanczos, supervised_loss

    model, inputs, targets, loss = _problem(layers, x, y)

    def call() -> np.ndarray:
        operator = HessianOperator(model, [(inputs, targets)], supervised_loss(loss))
        found = lanczos(operator, k=k, max_iter=steps, which="LA", seed=0, reorthogonalize=True)
        return np.sort(np.asarray(found.eigenvalues.detach()))[::-1]

    return call
