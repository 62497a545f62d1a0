"""Losses against torch's, their gradients against autograd."""

import pytest
import torch
from torch import nn

from theodolite.core.errors import ArgumentError
from theodolite.train.losses import LOSSES, find_loss


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients_are_those_of_the_values(name):
    loss, stream = LOSSES[name], torch.Generator().manual_seed(1)
    f = torch.randn(3, 5, 4, generator=stream, dtype=torch.float64, requires_grad=True)
    y = torch.randn(1, 5, 4, generator=stream, dtype=torch.float64)
    y = y.argmax(-1) if loss.labels else y.sign() if loss.signs else y
    (want,) = torch.autograd.grad(loss.value(f, y).sum(), f)
    torch.testing.assert_close(loss.gradient(f.detach(), y), want)


def test_torch_losses_are_recognised():
    assert find_loss(nn.MSELoss()) is find_loss(nn.functional.mse_loss) is LOSSES["mse"]
    assert find_loss(nn.CrossEntropyLoss()) is LOSSES["cross_entropy"]
    for wrong in (nn.CrossEntropyLoss(label_smoothing=0.1), nn.MSELoss(reduction="sum"), nn.L1Loss(), 3):
        with pytest.raises(ArgumentError, match="loss"):
            find_loss(wrong)


def test_labels_are_checked():
    loss = LOSSES["cross_entropy"]
    with pytest.raises(ArgumentError, match=r"classes 0\.\.2"):
        loss.prepare(torch.tensor([0, 3]), 2, 3, 1, torch.float64)
    with pytest.raises(ArgumentError, match="shape"):
        loss.prepare(torch.tensor([0, 1, 2]), 2, 3, 1, torch.float64)
