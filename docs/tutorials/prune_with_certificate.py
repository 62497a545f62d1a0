r"""
Prune with a certificate
========================

After training many neurons of a layer are linear combinations of the others. Their
number is measured by the ε-rank, they are removed by an interpolative decomposition,
and what that costs is known: measured exactly, and bounded beforehand. Nothing is
retrained.
"""

import torch
from torch import nn

import theodolite as td

digits = td.data.digits(1437)
with torch.random.fork_rng():
    torch.manual_seed(0)
    model = td.nets.mlp([64, 128, 128, 10], "tanh")

# %%
# Train, and watch the ε-rank while the network learns. ``track`` goes around a training
# loop that knows nothing of it.

optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
batches = torch.Generator().manual_seed(1)
with td.track(
    model, digits.x[:400], digits.y[:400], ["rank.epsilon_rank"], when=td.log_spaced(8)
) as run:
    for _ in range(400):
        index = torch.randint(len(digits.x), (64,), generator=batches)
        loss = nn.functional.cross_entropy(model(digits.x[index]), digits.y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.step(loss=loss.detach())

figure = run.plot("rank.epsilon_rank", against="loss")

# %%
# How many neurons count?
# -----------------------
#
# Let :math:`\Phi` be the neurons' values on the data and :math:`\lambda_1 \ge \lambda_2
# \ge \ldots` the eigenvalues of :math:`\Phi^\top \Phi / N`. The ε-rank
# :math:`r_\varepsilon` is the number of :math:`\lambda_i > \varepsilon`; its interval
# says what rounding could change.

report = td.diagnose(model, digits.x, digits.y, quantities=["rank.epsilon_rank"])
for row in report["rank.epsilon_rank"]:
    print(f"layer {row.layer}: {row.measured} neurons, {row.verdict}: {row.advice}")

# %%
# Remove the rest
# ---------------
#
# With ``tolerance`` one says how far the outputs may move; ``eps`` and ``width`` are
# the other ways to choose. The neurons that go are written in terms of those that stay,
# and the next layer's weights absorb them.

small, certificate = td.rank.prune(model, digits.x, tolerance=0.02)
print(certificate)

# %%
# The certificate holds on the data it was made from. What it means for data that were
# held out is measured like any other claim.


def accuracy(network: nn.Module) -> float:
    """Share of test digits that are recognised."""
    with torch.no_grad():
        return float((network(digits.x_test).argmax(1) == digits.y_test).float().mean())


with torch.no_grad():
    moved = (small(digits.x_test) - model(digits.x_test)).norm() / model(
        digits.x_test
    ).norm()
print(f"accuracy {accuracy(model):.1%} → {accuracy(small):.1%}")
print(f"outputs on test data moved by {float(moved):.2%}")

# %%
# Size against error
# ------------------
#
# A sweep over the tolerance shows what each neuron is worth, and that the a-priori
# bound of the theorem is never violated but mostly far too large: it is there to
# exclude surprises, not to predict.

tolerances = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
certificates = [td.rank.prune(model, digits.x, tolerance=t)[1] for t in tolerances]
with td.draw.style():
    sizes, axes = td.draw.figure()
    parameters = [c.parameters[1] for c in certificates]
    axes.loglog(parameters, [c.error for c in certificates], "o-", label="measured")
    axes.loglog(
        parameters, [c.bound for c in certificates], "s--", label="a-priori bound"
    )
    axes.axvline(
        certificates[0].parameters[0],
        color=td.draw.COLORS[-1],
        linewidth=1,
        label="before pruning",
    )
    axes.set(
        xlabel="parameters after pruning",
        ylabel="relative change of the output",
        title="What a neuron is worth",
    )
    axes.legend()
