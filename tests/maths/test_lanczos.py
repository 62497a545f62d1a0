"""Lanczos, stochastic quadrature and Hutch++ against dense eigen-decompositions."""

import pytest
import torch

from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.maths.lanczos import lanczos, slq, trace_estimate


def symmetric(values, seed=0):
    n = len(values)
    q = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))).Q
    return q @ torch.diag(torch.as_tensor(values, dtype=torch.float64)) @ q.T


@pytest.mark.parametrize("which", ["largest", "smallest", "both"])
@pytest.mark.parametrize("k", [1, 4])
def test_extremes(which, k):
    a = symmetric(torch.randn(150, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    exact = torch.linalg.eigvalsh(a)
    expected = {"largest": exact[-k:], "smallest": exact[:k], "both": torch.cat([exact[:k], exact[-k:]])}[which]
    pairs = lanczos(lambda v: a @ v, 150, k=k, which=which, tol=1e-10)
    assert torch.allclose(pairs.values, expected, atol=1e-9)
    assert pairs.converged.all()
    true = (a @ pairs.vectors - pairs.vectors * pairs.values).norm(dim=0)
    assert torch.allclose(true, pairs.residuals, atol=1e-12)
    assert (pairs.vectors.T @ pairs.vectors - torch.eye(len(expected))).abs().max() < 1e-12


def test_restarts_reach_a_small_eigenvalue():
    a = symmetric(torch.cat([torch.logspace(-4, 1, 299, dtype=torch.float64), torch.tensor([3e-5], dtype=torch.float64)]))
    pairs = lanczos(lambda v: a @ v, 300, which="smallest", tol=1e-9, basis=60, max_products=20000)
    assert pairs.products > 60
    assert abs(float(pairs.values) - 3e-5) < 1e-9


def test_unconverged_is_said():
    a = symmetric(torch.linspace(0, 1, 400))
    pairs = lanczos(lambda v: a @ v, 400, tol=1e-12, max_products=15)
    assert not pairs.converged.any()
    assert "not converged" in repr(pairs)
    assert abs(float(pairs.values) - 1.0) <= float(pairs.residuals)


def test_degenerate_operators():
    pairs = lanczos(lambda v: 2 * v, 7, k=2)
    assert torch.allclose(pairs.values, torch.tensor([2.0, 2.0], dtype=torch.float64))
    assert lanczos(lambda v: 0 * v, 5, k=1, which="both").values.abs().max() == 0
    assert float(lanczos(lambda v: 3 * v, 1).values) == 3.0


def test_quadrature_integrates_polynomials_and_deflates():
    values = torch.cat([torch.linspace(0, 1, 99), torch.tensor([50.0])]).double()
    a = symmetric(values)
    plain = slq(lambda v: a @ v, 100, probes=6, steps=30)
    top = lanczos(lambda v: a @ v, 100, tol=1e-12)
    deflated = slq(lambda v: a @ v, 100, probes=6, steps=30, deflate=top)
    exact = float(values.sum())
    for measure in (plain, deflated):
        estimate = measure.trace(lambda t: t)
        assert abs(estimate.value - exact) <= 4 * estimate.standard_error
        assert torch.allclose(measure.weights.sum(1), torch.ones(6, dtype=torch.float64))
    assert deflated.trace(lambda t: t).standard_error < 0.1 * plain.trace(lambda t: t).standard_error
    grid = torch.linspace(-1, 55, 4001, dtype=torch.float64)
    density, error = deflated.density(grid, 0.1)
    assert abs(float(torch.trapezoid(density, grid)) - 1.0) < 1e-3
    assert (error >= 0).all()


def test_quadrature_error_shrinks_with_probes():
    a = symmetric(torch.linspace(0.1, 3, 60))
    exact = float(torch.logdet(a))
    estimates = [slq(lambda v: a @ v, 60, probes=p, steps=40).trace(torch.log) for p in (4, 64)]
    assert all(abs(e.value - exact) <= 4 * e.standard_error for e in estimates)
    assert estimates[1].standard_error < 0.6 * estimates[0].standard_error


def test_trace():
    a = symmetric(torch.logspace(-3, 2, 200))
    estimate = trace_estimate(lambda v: a @ v, 200, products=90)
    assert abs(estimate.value - float(a.trace())) <= 4 * estimate.standard_error
    assert estimate.standard_error < 0.02 * float(a.trace())
    assert trace_estimate(lambda v: a @ v, 200, products=200).value == pytest.approx(float(a.trace()), rel=1e-12)


def test_errors():
    with pytest.raises(ArgumentError, match="k must be"):
        lanczos(lambda v: v, 3, k=0)
    with pytest.raises(ArgumentError, match="which"):
        lanczos(lambda v: v, 3, which="top")
    with pytest.raises(NumericalError, match="non-finite"):
        lanczos(lambda v: v * float("nan"), 3)
    with pytest.raises(ArgumentError, match="probes"):
        slq(lambda v: v, 3, probes=0)
    with pytest.raises(ArgumentError, match="products"):
        trace_estimate(lambda v: v, 30, products=3)
