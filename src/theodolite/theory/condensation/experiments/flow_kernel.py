"""The compiled loop of `flow`: one sweep over the neurons a step, in blocks whose temporaries stay in the first-level cache."""

from __future__ import annotations

import math

import numpy as np

from theodolite.maths.compiled import relaxed
from theodolite.train.kernels.elementary import select

__all__ = ["descend"]

#: Neurons per block: the inner loops run over them, and are vectorised.
BLOCK = 64


# Sums are per lane, so nothing needs to be reassociated; NaN and infinity must survive to show divergence.
@relaxed
def descend(a0, v0, x, y, kappa, kappa_prime, growth, floor, most_steps):
    """Gradient descent in normalised coordinates from (a0, v0) until mean e² ≤ floor.

    Each neuron is updated with the residuals of step k and at once adds its part to the output of step k + 1, so a step is one
    sweep. The traces of the two parts of the tangent kernel and the norms that bound the next step come with it.

    Args:
        a0: (m,) initial A.
        v0: (D, m) initial V.
        x: (n, D) inputs with the bias folded in.
        y: (n,) targets.
        kappa: κ.
        kappa_prime: κ′.
        growth: largest relative movement of A or V in a step.
        floor: mean e² at which to stop.
        most_steps: steps after which to give up.

    Returns:
        ‖V − V₀‖/‖V₀‖, ‖A − A₀‖/‖A₀‖, steps, mean e², whether the floor was reached.
    """
    dimension, width = v0.shape
    count = len(y)
    blocks = (width + BLOCK - 1) // BLOCK
    # Padding with neurons of weight zero: their gradients vanish, and they stay.
    # A neuron is a column: V, and A in the last row.
    start, move = np.zeros((blocks, dimension + 1, BLOCK)), np.zeros((blocks, dimension + 1, BLOCK))
    for k in range(width):
        start[k // BLOCK, dimension, k % BLOCK] = a0[k]
        for d in range(dimension):
            start[k // BLOCK, d, k % BLOCK] = v0[d, k]
    square = np.array([np.sum(x[i] ** 2) for i in range(count)])
    residual = np.zeros(count)
    rate_a, rate_v = 0.0, 0.0
    outputs = np.empty((count, BLOCK))
    sums = np.empty((4, BLOCK))
    scratch = np.empty((2 * dimension + 3, BLOCK))
    step, loss = 0, 0.0
    while True:
        outputs[:] = 0.0
        sums[:] = 0.0
        for b in range(blocks):
            sweep(start[b], move[b], (x, square, residual), (rate_a, rate_v), (outputs, sums), scratch)
        error = 0.0
        for i in range(count):
            residual[i] = kappa * np.sum(outputs[i]) - y[i]
            error += residual[i] ** 2
        loss = error / count
        if not (loss < 1e30) or loss <= floor or step == most_steps:
            break
        hidden, outer, norm_a, norm_v = np.sum(sums[0]), np.sum(sums[1]), np.sum(sums[2]), np.sum(sums[3])
        trace = kappa * kappa * (hidden / kappa_prime + kappa_prime * outer) / count
        if not trace > 0.0:  # no neuron is active: nothing can move
            break
        eta = 1.0 / trace
        # ‖A′‖ ≤ (κ/κ′) √(Σh² Σe²)/n, and the like for V.
        if hidden > 0.0:
            eta = min(eta, growth * math.sqrt(norm_a / (hidden * error)) * count * kappa_prime / kappa)
        if outer > 0.0:
            eta = min(eta, growth * math.sqrt(norm_v / (outer * error)) * count / (kappa * kappa_prime))
        rate_a, rate_v = -eta * kappa / kappa_prime / count, -eta * kappa * kappa_prime / count
        step += 1
    distance_w = math.sqrt(np.sum(move[:, :dimension] ** 2) / np.sum(start[:, :dimension] ** 2))
    distance_a = math.sqrt(np.sum(move[:, dimension] ** 2) / np.sum(start[:, dimension] ** 2))
    return distance_w, distance_a, step, loss, loss <= floor


@relaxed
def sweep(start, move, samples, rates, parts, scratch):
    """Update one block of neurons and add its parts to the outputs and to Σh², ΣA²σ′²|x|², ΣA², ΣV² (per lane)."""
    x, square, residual = samples
    rate_a, rate_v = rates
    outputs, sums = parts
    dimension = start.shape[0] - 1
    start_v, move_v, start_a, move_a = start[:dimension], move[:dimension], start[dimension], move[dimension]
    z, a, step_a = scratch[0], scratch[1], scratch[2]
    v, step_v = scratch[3 : 3 + dimension], scratch[3 + dimension :]
    for k in range(BLOCK):
        a[k] = start_a[k] + move_a[k]
        step_a[k] = 0.0
    for d in range(dimension):
        for k in range(BLOCK):
            v[d, k] = start_v[d, k] + move_v[d, k]
            step_v[d, k] = 0.0
    if rate_a != 0.0:
        for i in range(len(residual)):
            preactivations(v, x[i], z)
            e = residual[i]
            for k in range(BLOCK):
                step_a[k] += e * select(z[k] > 0.0, z[k], 0.0)
            for d in range(dimension):
                push, row = e * x[i, d], step_v[d]
                for k in range(BLOCK):
                    row[k] += select(z[k] > 0.0, push, 0.0)
        for d in range(dimension):
            origin, moved, row, now = start_v[d], move_v[d], step_v[d], v[d]
            for k in range(BLOCK):
                moved[k] += rate_v * a[k] * row[k]
                now[k] = origin[k] + moved[k]
        for k in range(BLOCK):
            move_a[k] += rate_a * step_a[k]
            a[k] = start_a[k] + move_a[k]
    for i in range(len(residual)):
        preactivations(v, x[i], z)
        output, length = outputs[i], square[i]
        for k in range(BLOCK):
            h = select(z[k] > 0.0, z[k], 0.0)
            output[k] += a[k] * h
            sums[0, k] += h * h
            sums[1, k] += select(z[k] > 0.0, a[k] * a[k] * length, 0.0)
    for k in range(BLOCK):
        sums[2, k] += a[k] * a[k]
    for d in range(dimension):
        for k in range(BLOCK):
            sums[3, k] += v[d, k] * v[d, k]


@relaxed
def preactivations(v, x, z):
    """z_k = Σ_d V_dk x_d for one input."""
    first, scale = v[0], x[0]
    for k in range(BLOCK):
        z[k] = scale * first[k]
    for d in range(1, len(x)):
        row, scale = v[d], x[d]
        for k in range(BLOCK):
            z[k] += scale * row[k]
