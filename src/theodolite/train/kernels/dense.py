"""Source of the kernel that evaluates two-layer networks with one output on many points without storing activations."""

from __future__ import annotations

import functools
from collections.abc import Callable

from theodolite.train.kernels.build import load_source
from theodolite.train.kernels.neurons import activation_lines
from theodolite.train.kernels.plan import Plan

__all__ = ["dense_evaluator"]

#: Points that are computed together.
POINTS = 64


@functools.cache
def dense_evaluator(inputs: int, activation: str, single: bool) -> Callable[..., None]:
    """The compiled ``run(weights, bias, outgoing, x, result)``.

    ``weights`` (E, m, d), ``bias`` and ``outgoing`` (E, m), ``x`` (1 or E, N, d), ``result`` (E, N), which receives
    Σ_k outgoing_k σ(weights_k·x + bias_k).
    """
    plan = Plan(0, inputs, True, False, activation, "sgd", "mse", single)
    terms = " + ".join([f"w{j} * block[{j * POINTS} + l]" for j in range(inputs)] + ["b"])
    output = inputs * POINTS
    lines = [
        "@kernel",
        "def run(weights, bias, outgoing, x, result):",
        f"    block = np.zeros({(inputs + 1) * POINTS}, dtype=F)",
        "    for e in range(weights.shape[0]):",
        "        xe = x[e if x.shape[0] > 1 else 0]",
        f"        for start in range(0, xe.shape[0], {POINTS}):",
        f"            stop = min(start + {POINTS}, xe.shape[0])",
        "            block[:] = ZERO",
        "            for i in range(start, stop):",
        *(f"                block[{j * POINTS} + i - start] = xe[i, {j}]" for j in range(inputs)),
        "            for k in range(weights.shape[1]):",
        *(f"                w{j} = weights[e, k, {j}]" for j in range(inputs)),
        "                b, a = bias[e, k], outgoing[e, k]",
        f"                for l in range({POINTS}):",
        f"                    z0 = {terms}",
        *(f"                    {line}" for line in activation_lines(plan, 0, slope=False)),
        f"                    block[{output} + l] += a * h0",
        "            for i in range(start, stop):",
        f"                result[e, i] = block[{output} + i - start]",
    ]
    run: Callable[..., None] = load_source("\n".join(lines) + "\n", single).run
    return run
