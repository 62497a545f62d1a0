"""Second derivatives of modules whose usual kernels have none, and what the operators refuse."""

import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.lens.curvature import LossHessian, TangentOperator, half_squared_error
from theodolite.lens.kernel import tangent_kernel


class InPlaceLater(nn.Module):
    """Changes what the backward pass needs after the forward pass used it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return torch.sigmoid(self.layer(x)).mul_(2.0)


def test_attention_has_tangent_products_and_a_hessian():
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(4, 2, 4, dropout=0.0, batch_first=True)
    model = nn.Sequential(block, nn.Flatten(), nn.Linear(8, 2)).double()
    x, y = torch.randn(3, 2, 4, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    flat = tangent_kernel(model, x).permute(0, 2, 1, 3).reshape(6, 6)
    operator, v = TangentOperator(model, x), torch.randn(6, dtype=torch.float64)
    assert torch.allclose(operator(v), flat @ v, rtol=1e-10)
    hessian = LossHessian(model, x, y)
    u = torch.randn(hessian.size, dtype=torch.float64)
    values = dict(hessian.net.variables)

    def gradient_at(step):
        moved = {
            n: (p + step * q).detach().requires_grad_()
            for (n, p), q in zip(values.items(), hessian.net.unflatten(u), strict=True)
        }
        outputs = torch.func.functional_call(model, moved, (x,))
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(half_squared_error(outputs, y), list(moved.values()))])

    slope = (gradient_at(1e-5) - gradient_at(-1e-5)) / 2e-5
    assert torch.allclose(hessian(u), slope, rtol=1e-5, atol=1e-6 * float(slope.norm()))


def test_operations_in_place_are_named_in_the_backward_pass_too():
    x = torch.randn(4, 3)
    for observe in (td.tangent.ntk, tangent_kernel, TangentOperator, lambda m, z: LossHessian(m, z, torch.zeros(4, 2))):
        with pytest.raises(UnsupportedError, match="in-place"):
            observe(InPlaceLater(), x)


def test_targets_must_fit_row_by_row():
    outputs = torch.zeros(4, 2)
    assert float(half_squared_error(outputs, torch.ones(8))) == 4.0
    for y in (torch.ones(2, 4), torch.ones(3, 2)):
        with pytest.raises(ArgumentError, match="row by row"):
            half_squared_error(outputs, y)
