r"""
A first diagnosis
=================

Point Theodolite at a network and it measures what theory speaks of, puts the prediction
beside the measurement where there is one, and says in words what the numbers mean. We
take a deep network on handwritten digits, ask what is wrong with it, and follow the
advice.
"""

import torch
from torch import nn

import theodolite as td

digits = td.data.digits(1000)


def deep_network(seed: int) -> nn.Sequential:
    """Thirty tanh layers with PyTorch's default initialisation."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return td.nets.mlp([64, *[100] * 30, 10], "tanh")


model = deep_network(seed=0)
report = td.diagnose(
    model, digits.x[:300], digits.y[:300], layers=["1", "21", "41", "59"]
)

# %%
# The summary comes in words, bad news first.

for level, sentence in report.summary:
    print(f"{level:>5}: {sentence}")

# %%
# One line speaks of χ₁. Between two layers squared gradients change by the factor
#
# .. math:: \chi_1 = \sigma_w^2 \, \mathbb{E}\bigl[\varphi'(\sqrt{q}\, z)^2\bigr], \qquad z \sim \mathcal{N}(0, 1),
#
# so that after :math:`L` layers they have changed by :math:`\chi_1^L`. ``explain``
# tells how a number was computed, and from which paper.

print(report.explain("meanfield.chi_1"))

# %%
# Rows can be picked by name; each carries the measurement with its resolution, the
# prediction and the verdict.

for row in report["meanfield.chi_1"]:
    theory = f"theory {row.prediction:.4g}"
    print(f"layer {row.layer:>2}: measured {row.measured}, {theory}, {row.verdict}")

# %%
# The advice says what to do: put the network on the critical line. The model is changed
# in place, only because the name of the function ends in ``_``; nothing else in the
# package changes a model.

noise = torch.Generator().manual_seed(0)
initialised = td.meanfield.critical_init_(model, x=digits.x, generator=noise)
print(initialised.points["tanh"])
after = td.diagnose(
    model, digits.x[:300], digits.y[:300], layers=["1", "21", "41", "59"]
)
for level, sentence in after.summary:
    print(f"{level:>5}: {sentence}")

# %%
# Two networks, or one network before and after, are compared in one table, which begins
# with what has changed.

comparison = td.compare(
    deep_network(seed=0),
    model,
    digits.x[:300],
    digits.y[:300],
    quantities=["meanfield.chi_1"],
)
print(*str(comparison).splitlines()[:8], sep="\n")

# %%
# As a picture: the default network loses two thirds of its squared gradients at every
# layer, the other keeps them.

CHI = "meanfield.chi_1"
with td.draw.style():
    figure, axes = td.draw.figure(width=6.0)
    for label, one in (
        ("PyTorch's default", deep_network(seed=0)),
        ("critical_init_", model),
    ):
        rows = td.diagnose(one, digits.x[:300], quantities=[CHI])[CHI]
        axes.plot([row.value for row in rows], "o-", label=label)
        axes.plot([row.prediction for row in rows], "k:", label="theory")
    axes.set(
        xlabel="layer",
        ylabel="χ₁",
        title="Growth of squared gradients per layer",
        ylim=(0, None),
    )
    axes.legend()

# %%
# In a notebook the report shows itself. ``report.save("diagnosis.html")`` writes one
# file that needs no network, with figures to zoom into; ``.json`` and ``.csv`` are
# there for programs.

after
