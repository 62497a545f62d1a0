from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import theodolite as td
from theodolite.theory.generalization import memorize


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 8))
def test_any_labels_on_any_points(seed, n, d):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    y = torch.randint(0, 10, (n,), generator=g).double()
    net = memorize(x, y)
    assert sum(p.numel() for p in net.parameters()) == 2 * n + d
    out = net(x)
    assert out.shape == y.shape
    assert (out - y).abs().max() < 1e-6
    assert torch.equal(out.round(), y)


def test_error_stays_within_the_stated_bound():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(800, 10, generator=g, dtype=torch.float64), torch.randn(800, generator=g, dtype=torch.float64)
    net = memorize(x, y)
    z = (x * net.a).sum(-1)
    bound = 10 * 2.2e-16 * (net.w.abs() * (z[:, None] - net.b).abs()).sum(1).max()
    assert float((net(x) - y).abs().max().detach()) <= float(bound.detach())


def test_exact_in_rational_arithmetic():
    """On a line of integers, with slopes that are dyadic, nothing is rounded at all."""
    from theodolite.theory.generalization.construct.memorize import Memorizer

    x = np.arange(16.0)[:, None]
    y = np.random.default_rng(0).integers(0, 10, 16)
    net = memorize(x, y)
    assert isinstance(net, Memorizer)
    z = [Fraction(float(a)) * Fraction(float(net.a[0].detach())) for a in x[:, 0]]
    for zi, yi in zip(z, y, strict=True):
        value = sum(
            Fraction(float(w)) * max(zi - Fraction(float(b)), Fraction(0))
            for w, b in zip(net.w.detach(), net.b.detach(), strict=True)
        )
        assert abs(float(value) - int(yi)) < 1e-12


def test_several_outputs_batches_and_gradients():
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(30, 3, generator=g), torch.randn(30, 2, generator=g)
    net = memorize(x, y)
    np.testing.assert_allclose(net(x).detach(), y, atol=1e-8)
    np.testing.assert_allclose(torch.cat([net(x[i : i + 7]) for i in range(0, 30, 7)]).detach(), net(x).detach(), atol=1e-10)
    net(x).sum().backward()
    assert net.w.grad is not None
    assert sum(p.numel() for p in net.parameters()) == 30 + 3 + 60


def test_numpy_duplicates_and_one_class():
    x = np.array([[0.0, 1.0], [2.0, 3.0], [0.0, 1.0]])
    net = memorize(x, [4, 4, 4])
    np.testing.assert_allclose(net(torch.tensor(x)).detach(), 4.0, atol=1e-12)
    assert len(net.b) == 2


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[1.0], [1.0]], [0, 1], "points 0 and 1 are equal"),
        ([[0.0], [-0.0]], [0, 1], "points 0 and 1 are equal"),
        ([[1.0], [2.0]], [0], "n = 2 points"),
        ([[1.0], [np.inf]], [0, 1], "finite"),
        ([[1.0, 1.0], [1.0, 1.0 + 2.3e-16], [5.0, 0.0]], [0, 1, 2], "tells apart"),
    ],
)
def test_bad_input(x, y, message):
    with pytest.raises(td.ArgumentError, match=message):
        memorize(x, y)
