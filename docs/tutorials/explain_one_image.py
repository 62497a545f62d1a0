r"""
Explain one image exactly
=========================

A ReLU network is a piecewise-linear function. In the region of an input it *is* one
affine map, so that the question "why this class?" has an exact answer: pixel by pixel,
without approximation, sampling or a surrogate model. The same region also says how far
the answer reaches.
"""

import numpy as np
import torch
from torch import nn

import theodolite as td

digits = td.data.digits(1437, dtype=torch.float64)
with torch.random.fork_rng():
    torch.manual_seed(0)
    model = td.nets.mlp([64, 32, 32, 10], "relu", dtype=torch.float64)

optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(200):
    loss = nn.functional.cross_entropy(model(digits.x), digits.y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    right = model(digits.x_test).argmax(1) == digits.y_test
print(f"test accuracy {float(right.float().mean()):.1%}")

# %%
# One image, one affine map
# -------------------------
#
# In the region :math:`\Omega` of the image the network is :math:`f(x) = A x + b`.

image = digits.x_test[7]
here = td.piecewise.local_region(model, image)
print(here)
A, b = here.affine
with torch.no_grad():
    logits = model(image[None])[0].numpy()
print(f"predicted {logits.argmax()}, label {int(digits.y_test[7])}")
print(f"|A x + b − f(x)| ≤ {np.abs(A @ image.numpy() + b - logits).max():.1e}")

# %%
# The logit of the predicted class is a sum over pixels, :math:`\sum_i A_{ci} x_i +
# b_c`: each term is the exact share of a pixel. Against the runner-up the shares of the
# *difference* of both logits tell what decided.

best, second = np.argsort(logits)[::-1][:2]
shares = (A[best] - A[second]) * image.numpy()
constant = b[best] - b[second]
print(f"lead of {best} over {second}: {logits[best] - logits[second]:.4f}")
print(f"from pixels {shares.sum():+.4f}, from the constant {constant:+.4f}")

with td.draw.style():
    figure, axes = td.draw.figure(1, 3, width=3.0, height=3.0)
    axes[0].imshow(image.reshape(8, 8), cmap="gray_r")
    axes[0].set_title("image")
    for axis, values, title in (
        (axes[1], A[best] - A[second], "weights"),
        (axes[2], shares, f"shares: {best} over {second}"),
    ):
        largest = np.abs(values).max()
        axis.imshow(values.reshape(8, 8), cmap="RdBu_r", vmin=-largest, vmax=largest)
        axis.set_title(title)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)

# %%
# How far does it reach?
# ----------------------
#
# The map is exact in its region, and the region ends where a neuron switches. That is
# close: an explanation by gradients says nothing about an image that differs by more
# than this.

nearest = here.neuron_name(int(here.distances.argmin()))
print(f"nearest boundary at distance {here.distance:.4f}, where {nearest} switches")
print(f"{len(here.neighbours())} neighbouring regions, across as many facets")

# %%
# Towards another image the network passes through many regions, each with a map of its
# own. On the segment between two images all of them are enumerated, exactly.

other = digits.x_test[int((digits.y_test != digits.y_test[7]).nonzero()[0])]
between = td.piecewise.regions(model, td.segment(image.numpy(), other.numpy()))
print(between)

# %%
# On a plane through three images they can be seen.

third = digits.x_test[11]
plane = td.slice2d(image.numpy(), other.numpy(), third.numpy())
partition = td.piecewise.regions(model, plane)
print(partition)
figure_plane = partition.plot()

# %%
# The whole network as three layers
# ---------------------------------
#
# Put together, the maps of all regions are a network with two hidden layers that
# computes the same function: the half-spaces of the regions, a selector, and the maps.
# The certificate is a proof in rational arithmetic, not a comparison at sampled points.

with torch.random.fork_rng():
    torch.manual_seed(3)
    tiny = td.nets.mlp([2, 6, 6, 1], "relu", dtype=torch.float64)
shallow = td.piecewise.to_shallow(tiny, td.box(-1, 1, dim=2), certify="exact")
print(shallow)
print(shallow.certificate)
