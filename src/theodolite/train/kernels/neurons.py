"""Source of the kernel for few samples: vectorised over neurons, samples unrolled, one sweep over the parameters per step.

A step needs the residuals at all samples before it can move any neuron, and the next step needs the new outputs. Both fit into one
sweep: a neuron is moved for step k, and its contribution to the outputs of step k + 1 is added at once. Parameters lie in tiles
[tile][row][lane], so that a network stays in the first-level cache and every access has a constant stride; outputs are summed per lane
and joined by a fixed tree, so that sums do not depend on how the compiler vectorises.
"""

from __future__ import annotations

from theodolite.train.kernels.plan import LANES, Plan

__all__ = ["ACTIVATION_LINES", "activation_lines", "loss_lines", "neuron_kernel", "trace_lines", "tree", "update_lines"]

#: Activation -> statements that compute h and s = σ'(z) from z.
ACTIVATION_LINES: dict[str, tuple[str, ...]] = {
    "relu": ("h = select(z > ZERO, z, ZERO)", "s = select(z > ZERO, ONE, ZERO)"),
    "tanh": ("h = tanh(z)", "s = ONE - h * h"),
    "sigmoid": ("h = sigmoid(z)", "s = h * (ONE - h)"),
    "xtanh": ("t = tanh(z)", "h = z * t", "s = t + z * (ONE - t * t)"),
    "x2tanh": ("t = tanh(z)", "h = z * z * t", "s = z * (TWO * t + z * (ONE - t * t))"),
    "erf": ("h = erf(z)", "s = TWO_OVER_ROOT_PI * exp(-z * z)"),
    "sin": ("h, s = sincos(z)",),
}


def activation_lines(plan: Plan, i: int, slope: bool = True) -> list[str]:
    """Statements for h_i and s_i from z_i."""
    names = ("z", "h", "s", "t")
    lines = ACTIVATION_LINES[plan.activation]
    kept = [line for line in lines if slope or not line.startswith("s =")]
    return [_rename(line, {name: f"{name}{i}" for name in names}) for line in kept]


def _rename(line: str, names: dict[str, str]) -> str:
    import re

    return re.sub(r"\b[A-Za-z_]\w*\b", lambda match: names.get(match.group(), match.group()), line)


def loss_lines(plan: Plan, i: int) -> list[str]:
    """Statements that add sample i's loss to ``total`` and set g_i = ∂L/∂f_i from f_i and y_i."""
    if plan.loss in ("mse", "half_mse"):
        factor = "TWO" if plan.loss == "mse" else "ONE"
        weight = "per_sample" if plan.loss == "mse" else "(HALF * per_sample)"
        return [f"g{i} = f{i} - y{i}", f"total += g{i} * g{i} * {weight}", f"g{i} = {factor} * g{i} * per_sample"]
    if plan.loss == "logistic":
        return [
            f"u{i} = -y{i} * f{i}",
            f"total += (max(u{i}, ZERO) + F(np.log1p(np.exp(-abs(u{i}))))) * per_sample",
            f"g{i} = -y{i} * per_sample / (ONE + F(np.exp(-u{i})))",
        ]
    return [f"u{i} = F(np.exp(-y{i} * f{i})) * per_sample", f"total += u{i}", f"g{i} = -y{i} * u{i}"]


def update_lines(plan: Plan, name: str, gradient: str, rate: str, first: str, second: str) -> list[str]:
    """Statements that move the parameter ``name`` along ``gradient``; ``first`` and ``second`` are its moments' places."""
    if plan.rule in ("sgd", "trace"):
        return [f"{name} -= {rate} * {gradient}"]
    if plan.rule in ("momentum", "nesterov"):
        lines = [f"v = mu * {first} + {gradient}", f"{first} = v"]
        moved = "v" if plan.rule == "momentum" else f"({gradient} + mu * v)"
        return [*lines, f"{name} -= {rate} * {moved}"]
    return [
        f"v = {gradient}",
        f"mm = beta1 * {first} + (ONE - beta1) * v",
        f"vv = beta2 * {second} + (ONE - beta2) * v * v",
        f"{first} = mm",
        f"{second} = vv",
        f"{name} -= {rate} * c1 * (mm / (np.sqrt(vv) * c2 + eps))",
    ]


def trace_lines(plan: Plan, total: str, samples: object) -> list[str]:
    """Statements that divide the rates by tr H = κ (c_a² total + n c_c²), κ = 2/n for the mean and 1/n for the half squared error."""
    if not plan.traced:
        return []
    factor = "TWO" if plan.loss == "mse" else "ONE"
    constant = f" + F({samples}) * scale_c * scale_c" if plan.output_bias else ""
    return [
        f"trace = {factor} * per_sample * (scale_a * scale_a * ({total}){constant})",
        "inverse = ONE / trace if trace > ZERO else ZERO",
        "rate_w, rate_a = rates[e, 0] * inverse, rates[e, 1] * inverse",
    ]


def tree(name: str, i: int) -> str:
    """Sum of the lanes of accumulator i, by halves."""
    terms = [f"{name}[{i * LANES + lane}]" for lane in range(LANES)]
    while len(terms) > 1:
        half = len(terms) // 2
        terms = [f"({a} + {b})" for a, b in zip(terms[:half], terms[half:], strict=True)]
    return terms[0]


def _preactivation(plan: Plan, i: int) -> str:
    """Statement that computes z_i from the neuron's parameters (``bb`` is the scaled bias)."""
    terms = [f"w{j} * x{i}_{j}" for j in range(plan.inputs)] + (["bb"] if plan.bias else [])
    return f"z{i} = " + " + ".join(terms)


def _forward(plan: Plan) -> list[str]:
    """Statements: pre-activations and activations of all samples from the neuron's parameters, contribution to the sums."""
    n = plan.samples
    lines = ["bb = b * scale_b"] if plan.bias else []
    for i in range(n):
        lines += [_preactivation(plan, i), *activation_lines(plan, i, slope=plan.stored)]
        if plan.stored:
            lines += [f"p[{_kept(plan, i)} + l] = h{i}", f"p[{_kept(plan, n + i)} + l] = s{i}"]
        lines.append(f"q[{i * LANES} + l] += a * h{i}")
        if plan.traced:
            reach = f"a * a * s{i} * s{i} * reach{i}" if plan.stored else f"select(z{i} > ZERO, a * a * reach{i}, ZERO)"
            lines.append(f"q[{n * LANES} + l] += h{i} * h{i} + {reach}")
    return lines


def _kept(plan: Plan, row: int) -> int:
    return (len(plan.parameters) * (1 + plan.slots) + plan.masked + row) * LANES


def _gradients(plan: Plan) -> list[str]:
    """Statements for grad_w, grad_b and grad_a from the residuals g_i and the activations of the current parameters."""
    n, d = plan.samples, plan.inputs
    lines: list[str] = []
    for i in range(n):
        if plan.stored:
            lines += [f"h{i} = p[{_kept(plan, i)} + l]", f"r{i} = g{i} * p[{_kept(plan, n + i)} + l]"]
        else:
            lines += [_preactivation(plan, i), f"r{i} = select(z{i} > ZERO, g{i}, ZERO)"]
    for j in range(d):
        lines.append(f"sum_w{j} = " + " + ".join(f"r{i} * x{i}_{j}" for i in range(n)))
    if plan.bias:
        lines.append("sum_b = scale_b * (" + " + ".join(f"r{i}" for i in range(n)) + ")")
    if plan.stored:
        lines.append("grad_a = " + " + ".join(f"g{i} * h{i}" for i in range(n)))
    else:
        # ReLU is homogeneous, h = z σ'(z): the sums over samples that the incoming weights need give the outgoing one's too.
        lines.append("grad_a = " + " + ".join([f"w{j} * sum_w{j}" for j in range(d)] + (["b * sum_b"] if plan.bias else [])))
    lines += [f"grad_w{j} = a * sum_w{j}" for j in range(d)]
    if plan.bias:
        lines.append("grad_b = a * sum_b")
    if plan.masked:
        lines.append(f"grad_a *= p[{len(plan.parameters) * LANES} + l]")
    return lines


def _backward(plan: Plan) -> list[str]:
    """Statements: gradients, and the move."""
    lines = (["bb = b * scale_b"] if plan.bias and not plan.stored else []) + _gradients(plan)
    count = len(plan.parameters)
    for row, name in enumerate(plan.parameters):
        first = f"p[{(count + plan.masked + row) * LANES} + l]"
        second = f"p[{(2 * count + plan.masked + row) * LANES} + l]"
        lines += update_lines(plan, name, f"grad_{name}", "rate_a" if name == "a" else "rate_w", first, second)
        lines.append(f"p[{row * LANES} + l] = {name}")
    return lines


def neuron_kernel(plan: Plan) -> str:
    """Source of ``run(tiles, x, y, rates, output_bias, moments, scales, settings, corrections, losses)``."""
    n, d = plan.samples, plan.inputs
    load = [f"{name} = p[{row * LANES} + l]" for row, name in enumerate(plan.parameters)]
    body: list[str] = []

    def emit(depth: int, *lines: str) -> None:
        body.extend("    " * depth + line for line in lines)

    emit(0, "@kernel", "def run(tiles, x, y, rates, output_bias, moments, scales, settings, corrections, losses):")
    emit(1, f"q = np.zeros({(n + plan.traced) * LANES}, dtype=F)")
    emit(1, "scale_b, scale_a, scale_c, per_sample = scales[0], scales[1], scales[2], scales[3]")
    emit(1, "mu, beta1, beta2, eps = settings[0], settings[0], settings[1], settings[2]")
    emit(1, "for e in range(tiles.shape[0]):")
    emit(2, "xe = x[e if x.shape[0] > 1 else 0]", "ye = y[e if y.shape[0] > 1 else 0]")
    emit(2, *(f"x{i}_{j} = xe[{i}, {j}]" for i in range(n) for j in range(d)), *(f"y{i} = ye[{i}]" for i in range(n)))
    emit(2, "rate_w, rate_a, c = rates[e, 0], rates[e, 1], output_bias[e]", "q[:] = ZERO")
    if plan.traced:
        for i in range(n):
            squares = [f"x{i}_{j} * x{i}_{j}" for j in range(d)] + (["scale_b * scale_b"] if plan.bias else [])
            emit(2, f"reach{i} = " + " + ".join(squares))
    emit(2, "for tile in range(tiles.shape[1]):", "    p = tiles[e, tile]", f"    for l in range({LANES}):")
    emit(4, *load, *_forward(plan))
    emit(2, "for step in range(losses.shape[1]):")
    emit(3, "total = ZERO", "c1, c2 = corrections[step, 0], corrections[step, 1]")
    for i in range(n):
        emit(3, f"f{i} = scale_a * ({tree('q', i)}) + scale_c * c", *loss_lines(plan, i))
    emit(3, "losses[e, step] = total", *trace_lines(plan, tree("q", n) if plan.traced else "", n))
    if plan.output_bias:
        emit(3, "grad_c = scale_c * (" + " + ".join(f"g{i}" for i in range(n)) + ")")
        emit(3, *update_lines(plan, "c", "grad_c", "rate_a", "moments[0, e]", "moments[1, e]"))
    emit(3, *(f"g{i} *= scale_a" for i in range(n)), "q[:] = ZERO")
    emit(3, "for tile in range(tiles.shape[1]):", "    p = tiles[e, tile]", f"    for l in range({LANES}):")
    emit(5, *load, *_backward(plan), *_forward(plan))
    emit(2, "output_bias[e] = c")
    return "\n".join(body) + "\n"
