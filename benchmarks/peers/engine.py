"""Training steps of many two-layer ReLU networks in JAX: vmap over networks, scan over steps, one jit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def steps(start: list[np.ndarray], x: np.ndarray, y: np.ndarray, rate: float, count: int, keep: int) -> Callable[[], np.ndarray]:
    """The first ``keep`` losses of the first network."""
    import jax
    import jax.numpy as jnp

    inputs, targets = jnp.asarray(x), jnp.asarray(y)

    def loss(p: tuple, data: tuple) -> jax.Array:
        w, b, a = p
        hidden = jnp.maximum(data[0] @ w.T + b, 0)
        return jnp.mean((hidden @ a.T - data[1]) ** 2)

    def train(p: tuple, data: tuple) -> jax.Array:
        def step(p: tuple, _: None) -> tuple:
            value, slope = jax.value_and_grad(loss)(p, data)
            return tuple(v - rate * s for v, s in zip(p, slope, strict=True)), value

        return jax.lax.scan(step, p, None, length=count)

    run = jax.jit(jax.vmap(train, in_axes=(0, None)))
    parameters = tuple(jnp.asarray(v) for v in start)

    def call() -> np.ndarray:
        final, losses = run(parameters, (inputs, targets))
        jax.block_until_ready(final)
        return np.asarray(losses)[0, :keep]

    return call
