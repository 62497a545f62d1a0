"""Operators for one point, batched by the library."""

import math

import pytest
import torch

from theodolite.core.errors import ArgumentError, NumericalError, UnsupportedError
from theodolite.core.seed import generator
from theodolite.theory.pde import apply_operator, laplacian
from theodolite.theory.pde.elementwise import derivative
from theodolite.theory.pde.operators import chunk_of


def wave(x):
    return torch.sin(3 * x[0]) * torch.exp(2 * x[1])


def test_operators_against_closed_forms():
    x = torch.rand(20, 2, dtype=torch.float64, generator=generator(0))
    value = torch.sin(3 * x[:, 0]) * torch.exp(2 * x[:, 1])
    torch.testing.assert_close(apply_operator(laplacian, wave, x), (-9 + 4) * value)
    advection = apply_operator(lambda u, p: torch.func.grad(u)(p)[1] + u(p) ** 2, wave, x)
    torch.testing.assert_close(advection, 2 * value + value**2)
    mixed = apply_operator(lambda u, p: torch.func.hessian(u)(p)[0, 1], wave, x)
    torch.testing.assert_close(mixed, 6 * torch.cos(3 * x[:, 0]) * torch.exp(2 * x[:, 1]))


def test_chunks_do_not_change_the_result():
    x = torch.rand(50, 2, dtype=torch.float64, generator=generator(1))
    width = 1_000_000 // 7  # seven points per chunk
    assert chunk_of(width) == 7
    torch.testing.assert_close(
        apply_operator(laplacian, wave, x, width=width), apply_operator(laplacian, wave, x), rtol=0, atol=1e-12
    )


def test_the_result_is_differentiable_in_what_u_holds():
    x = torch.rand(10, 2, dtype=torch.float64, generator=generator(2))
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    apply_operator(laplacian, lambda p: scale**2 * wave(p), x).sum().backward()
    expected = 3.0 * apply_operator(laplacian, wave, x).sum()
    torch.testing.assert_close(scale.grad, expected)


@pytest.mark.parametrize(
    ("operator", "error", "word"),
    [
        (lambda u, x: torch.func.grad(u)(x), ArgumentError, r"must return a number .* got \(2,\)"),
        (lambda u, x: torch.func.hessian(u)(x).trace().reshape(1), ArgumentError, r"got \(1,\)"),
        (lambda u, x: 0.0, ArgumentError, "got float"),
        (lambda u, x: u(x) / 0.0, NumericalError, "inf"),
        (lambda u, x: u(x[:5].reshape(5)), UnsupportedError, "failed at x"),
        (lambda u, x: u(x) if x[0] > 0 else -u(x), UnsupportedError, "torch.where"),
    ],
)
def test_bad_operators_are_named(operator, error, word):
    points = torch.full((4, 2), 0.5, dtype=torch.float64)
    with pytest.raises(error, match=word):
        apply_operator(operator, wave, points)


@pytest.mark.parametrize("name", ["tanh", "sin", "cos", "gelu", "gaussian", "sigmoid"])
@pytest.mark.parametrize("order", [0, 1, 2, 3, 5])
def test_derivatives_of_activations_against_nested_autograd(name, order):
    from theodolite.nets.activations import activation

    z = torch.linspace(-3, 3, 41, dtype=torch.float64).requires_grad_()
    value = activation(name)(z)
    for _ in range(order):
        (value,) = torch.autograd.grad(value.sum(), z, create_graph=True)
    torch.testing.assert_close(derivative(name, z.detach(), order), value.detach(), rtol=1e-9, atol=1e-9 * math.factorial(order))
