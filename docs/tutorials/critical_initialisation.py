r"""
Critical initialisation for a deep network
==========================================

Sixty tanh layers do not train from PyTorch's default initialisation. Mean-field theory
says why, before a single step is made, and which variances of the weights would do.
"""

import torch
from torch import nn

import theodolite as td

# %%
# What theory says of the default
# -------------------------------
#
# In a wide layer with weights of variance :math:`\sigma_w^2/N` and biases of variance
# :math:`\sigma_b^2` the squared length of the signal follows :math:`q \mapsto
# \sigma_b^2 + \sigma_w^2\, \mathbb{E}\,\varphi(\sqrt{q} z)^2`, and two inputs become
# alike, or are torn apart, at a rate :math:`\xi_c` that is a number of layers. PyTorch
# draws weights and biases uniformly from :math:`\pm 1/\sqrt{N}`: that is
# :math:`\sigma_w^2 = 1/3` and, with :math:`N = 60`, :math:`\sigma_b^2 = 1/180`, deep in
# the ordered phase.

default = td.meanfield.depth_scales("tanh", 1 / 3, 1 / 180)
print(td.meanfield.phase("tanh", 1 / 3, 1 / 180), default)

# %%
# A network trains to about six times :math:`\xi_c`: here five or six layers. On the
# critical line :math:`\chi_1 = 1` the scale is infinite.

point = td.meanfield.critical_line("tanh", sigma_b2=1e-3)
print(
    f"σ_w² = {point.sigma_w2:.4f} at σ_b² = {point.sigma_b2}, q* = {point.q_star:.4f}"
)
print(f"stable: {point.stable}")

# %%
# The phase plane
# ---------------
#
# The prediction costs no training at all, so the whole plane is drawn in a second.

plane = td.reproduce("meanfield.phase_diagram", scale="small")
figure = plane.figure()

# %%
# Two networks, one difference
# ----------------------------
#
# ``critical_init_`` works on any module: it traces it, finds which activation each
# layer reads, and sets each layer. It says what it did, and what it left alone.

DEPTH = 60
digits = td.data.digits(1000)


def network() -> nn.Sequential:
    """A plain tanh network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return td.nets.mlp([64, *[60] * DEPTH, 10], "tanh")


plain, critical = network(), network()
initialised = td.meanfield.critical_init_(
    critical,
    x=digits.x,
    weights="orthogonal",
    generator=torch.Generator().manual_seed(0),
)
print(str(initialised).splitlines()[0])
print(str(initialised).splitlines()[1])
print("…")

# %%
# Before training: does the theory describe these very networks? χ₁ is measured on the
# tensors, at every layer.

CHI = "meanfield.chi_1"
for name, model in (("default", plain), ("critical", critical)):
    rows = td.diagnose(model, digits.x[:200], quantities=[CHI])[CHI]
    row = rows[len(rows) // 2]
    print(f"{name:>9}: χ₁ {row.value:.3f}, theory {row.prediction:.3f}, {row.verdict}")

# %%
# Now train both, with the same batches.


def train(model: nn.Module, steps: int = 200) -> list[float]:
    """Losses of plain SGD."""
    batches = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(steps):
        index = torch.randint(len(digits.x), (64,), generator=batches)
        loss = nn.functional.cross_entropy(model(digits.x[index]), digits.y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def accuracy(model: nn.Module) -> float:
    """Share of test digits that are recognised."""
    with torch.no_grad():
        return float((model(digits.x_test).argmax(1) == digits.y_test).float().mean())


losses = {"PyTorch's default": train(plain), "critical, orthogonal": train(critical)}
print(
    f"test accuracy: default {accuracy(plain):.1%}, critical {accuracy(critical):.1%}"
)

# %%
# The only difference is a number per layer.

with td.draw.style():
    curves, axes = td.draw.figure()
    for label, values in losses.items():
        axes.plot(values, label=label)
    axes.set(
        xlabel="step of SGD",
        ylabel="cross-entropy",
        title=f"{DEPTH} tanh layers on digits",
    )
    axes.legend()
