"""Source of the kernel for many samples: vectorised over samples, neuron by neuron, one sweep over the parameters per step.

The same algorithm as `theodolite.train.kernels.neurons`: a neuron is moved for step k and at once adds its contribution to the outputs
of step k + 1. Here the number of samples is free at run time; data lie in tiles [tile][row][lane] of samples, with rows x_1 … x_d, y,
∂L/∂f and the growing output. Samples that fill up the last tile have zero gradient and no influence.
"""

from __future__ import annotations

from theodolite.train.kernels.neurons import activation_lines, loss_lines, trace_lines, tree, update_lines
from theodolite.train.kernels.plan import LANES, Plan

__all__ = ["sample_kernel"]


def _activation(plan: Plan, slope: bool) -> list[str]:
    terms = [f"w{j} * x[{j * LANES} + l]" for j in range(plan.inputs)] + (["bb"] if plan.bias else [])
    return ["z0 = " + " + ".join(terms), *activation_lines(plan, 0, slope=slope)]


def _gather_gradients(plan: Plan) -> list[str]:
    """Statements of the inner loop that adds one lane's share to the gradient accumulators."""
    d = plan.inputs
    gradient = (d + 1) * LANES
    lines = [f"g = x[{gradient} + l]"]
    if plan.stored:
        lines += ["h0 = kept[l]", f"r = g * kept[{LANES} + l]"]
    else:
        lines += [_activation(plan, False)[0], "r = select(z0 > ZERO, g, ZERO)"]
    lines += [f"acc[{j * LANES} + l] += r * x[{j * LANES} + l]" for j in range(d)]
    lines.append(f"acc[{d * LANES} + l] += r")
    if plan.stored:
        lines.append(f"acc[{(d + 1) * LANES} + l] += g * h0")
    return lines


def _move(plan: Plan) -> list[str]:
    """Statements that turn the accumulators into gradients and move the neuron."""
    d, count = plan.inputs, len(plan.parameters)
    lines = [f"sum_w{j} = {tree('acc', j)}" for j in range(d)] + [f"sum_b = scale_b * ({tree('acc', d)})"]
    if plan.stored:
        lines.append(f"grad_a = {tree('acc', d + 1)}")
    else:
        lines.append("grad_a = " + " + ".join([f"w{j} * sum_w{j}" for j in range(d)] + (["b * sum_b"] if plan.bias else [])))
    lines += [f"grad_w{j} = a * sum_w{j}" for j in range(d)] + (["grad_b = a * sum_b"] if plan.bias else [])
    for row, name in enumerate(plan.parameters):
        rate = "rate_a" if name == "a" else "rate_w"
        lines += update_lines(plan, name, f"grad_{name}", rate, f"p[{count + row}]", f"p[{2 * count + row}]")
        lines.append(f"p[{row}] = {name}")
    return lines


def sample_kernel(plan: Plan) -> str:
    """Source of ``run(neurons, x, y, rates, output_bias, moments, scales, settings, corrections, losses)``.

    ``neurons`` is (E, m, parameters and moments); the other arguments are those of the kernel over neurons.
    """
    d = plan.inputs
    load = [f"{name} = p[{row}]" for row, name in enumerate(plan.parameters)] + (["bb = b * scale_b"] if plan.bias else [])
    rows = d + (5 if plan.traced else 3)
    target, gradient, output, reach, trace = ((d + r) * LANES for r in range(5))
    body: list[str] = []

    def emit(depth: int, *lines: str) -> None:
        body.extend("    " * depth + line for line in lines)

    def forward(depth: int) -> None:
        emit(depth, "for tile in range(tiles):", "    x = data[tile]", *(["    kept = keep[k, tile]"] if plan.stored else []))
        emit(depth + 1, f"for l in range({LANES}):")
        emit(depth + 2, *_activation(plan, plan.stored))
        if plan.stored:
            emit(depth + 2, "kept[l] = h0", f"kept[{LANES} + l] = s0")
        emit(depth + 2, f"x[{output} + l] += a * h0")
        if plan.traced:
            share = f"a * a * s0 * s0 * x[{reach} + l]" if plan.stored else f"select(z0 > ZERO, a * a * x[{reach} + l], ZERO)"
            emit(depth + 2, f"x[{trace} + l] += h0 * h0 + {share}")

    emit(0, "@kernel", "def run(neurons, inputs, targets, rates, output_bias, moments, scales, settings, corrections, losses):")
    emit(1, "n = inputs.shape[1]", f"tiles = (n + {LANES - 1}) // {LANES}", f"data = np.zeros((tiles, {rows * LANES}), dtype=F)")
    emit(1, f"acc = np.zeros({rows * LANES}, dtype=F)")
    if plan.stored:
        emit(1, f"keep = np.zeros((neurons.shape[1], tiles, {2 * LANES}), dtype=F)")
    emit(1, "scale_b, scale_a, scale_c, per_sample = scales[0], scales[1], scales[2], scales[3]")
    emit(1, "mu, beta1, beta2, eps = settings[0], settings[0], settings[1], settings[2]")
    emit(1, "for e in range(neurons.shape[0]):")
    emit(2, "xe = inputs[e if inputs.shape[0] > 1 else 0]", "ye = targets[e if targets.shape[0] > 1 else 0]", "data[:] = ZERO")
    emit(2, "for i in range(n):", f"    tile, l = i // {LANES}, i % {LANES}", f"    data[tile, {target} + l] = ye[i]")
    emit(3, *(f"data[tile, {j * LANES} + l] = xe[i, {j}]" for j in range(d)))
    if plan.traced:
        squares = [f"xe[i, {j}] * xe[i, {j}]" for j in range(d)] + (["scale_b * scale_b"] if plan.bias else [])
        emit(3, f"data[tile, {reach} + l] = " + " + ".join(squares))
    emit(2, "rate_w, rate_a, c = rates[e, 0], rates[e, 1], output_bias[e]")
    emit(2, "for k in range(neurons.shape[1]):")
    emit(3, "p = neurons[e, k]", *load)
    forward(3)
    emit(2, "for step in range(losses.shape[1]):")
    emit(3, "total, grad_c, reached = ZERO, ZERO, ZERO", "c1, c2 = corrections[step, 0], corrections[step, 1]")
    emit(3, "for i in range(n):", f"    tile, l = i // {LANES}, i % {LANES}", f"    y0 = data[tile, {target} + l]")
    emit(4, f"f0 = scale_a * data[tile, {output} + l] + scale_c * c", *loss_lines(plan, 0))
    emit(4, "grad_c += g0", f"data[tile, {gradient} + l] = g0 * scale_a", f"data[tile, {output} + l] = ZERO")
    if plan.traced:
        emit(4, f"reached += data[tile, {trace} + l]", f"data[tile, {trace} + l] = ZERO")
    emit(3, "losses[e, step] = total", *trace_lines(plan, "reached", "n"))
    if plan.output_bias:
        emit(3, "grad_c = scale_c * grad_c", *update_lines(plan, "c", "grad_c", "rate_a", "moments[0, e]", "moments[1, e]"))
    emit(3, "for k in range(neurons.shape[1]):")
    emit(4, "p = neurons[e, k]", *load, "acc[:] = ZERO")
    emit(4, "for tile in range(tiles):", "    x = data[tile]", *(["    kept = keep[k, tile]"] if plan.stored else []))
    emit(5, f"for l in range({LANES}):")
    emit(6, *_gather_gradients(plan))
    emit(4, *_move(plan), *(["bb = b * scale_b"] if plan.bias else []))
    forward(4)
    emit(2, "output_bias[e] = c")
    return "\n".join(body) + "\n"
