"""Drift, conditioning, PL and Hessian measures against dense Jacobians and Hessians."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.core.errors import ArgumentError, NumericalError, StoreError, UnsupportedError
from theodolite.lens.kernel import parameter_jacobian


def network(seed=0, width=6, outputs=2):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, outputs)).double()


def data(samples=5, outputs=2, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return (torch.randn(samples, s, dtype=torch.float64, generator=draw) for s in (3, outputs))


def dense_hessian(model, scalar):
    names, values = zip(*model.named_parameters(), strict=True)
    sizes = [v.numel() for v in values]

    def function(flat):
        parts = {n: p.view_as(v) for n, p, v in zip(names, flat.split(sizes), values, strict=True)}
        return scalar(lambda x: torch.func.functional_call(model, parts, (x,)))

    flat = torch.cat([v.detach().reshape(-1) for v in values])
    return torch.autograd.functional.hessian(function, flat)


def test_vector_product_and_extremes():
    model, (x, _) = network(), data()
    kernel = td.tangent.ntk(model, x)
    flat = kernel.permute(0, 2, 1, 3).reshape(10, 10)
    v = torch.randn(5, 2, dtype=torch.float64)
    assert torch.allclose(td.tangent.ntk_vector_product(model, x, v).reshape(-1), flat @ v.reshape(-1), rtol=1e-11)
    assert isinstance(td.tangent.ntk_vector_product(model, x.numpy(), v.numpy()), np.ndarray)
    exact = torch.linalg.eigvalsh(flat)
    for method in ("gram", "lanczos", "auto"):
        found = td.tangent.extremal_eigenvalues(model, x, k=2, method=method)
        assert torch.allclose(found.smallest, exact[:2], atol=1e-8 * exact[-1])
        assert torch.allclose(found.largest, exact[-2:], rtol=1e-8)
        assert found.converged
        assert found.residuals.max() < 1e-6 * exact[-1]
    assert td.tangent.extremal_eigenvalues(kernel).lambda_max == pytest.approx(float(exact[-1]))
    short = td.tangent.extremal_eigenvalues(
        network(0, 200, 1), torch.randn(60, 3, dtype=torch.float64), method="lanczos", max_products=4, tol=1e-12
    )
    assert not short.converged
    assert "NOT CONVERGED" in repr(short)
    with pytest.raises(ArgumentError, match="k must"):
        td.tangent.extremal_eigenvalues(kernel, k=11)
    with pytest.raises(ArgumentError, match="entries"):
        td.tangent.ntk_vector_product(model, x, v[:2])


def test_condition_number_resolves_and_censors():
    model, (x, _) = network(width=40), data()
    kernel = td.tangent.ntk(model, x)
    flat = kernel.permute(0, 2, 1, 3).reshape(10, 10)
    for found in (
        td.tangent.condition_number(kernel),
        td.tangent.condition_number(flat.numpy()),
        td.tangent.condition_number(model, x),
    ):
        assert found.value == pytest.approx(float(torch.linalg.cond(flat)), rel=1e-6)
        assert not found.censored
        assert found.low <= found.value <= found.high
    # 1-D tanh inputs: λ_min is far below what the Gram matrix resolves; the singular values of J go further
    torch.manual_seed(0)
    smooth = nn.Sequential(nn.Linear(1, 60), nn.Tanh(), nn.Linear(60, 1)).double()
    line = torch.linspace(-1, 1, 12, dtype=torch.float64).unsqueeze(1)
    by_gram = td.tangent.condition_number(td.tangent.ntk(smooth, line))
    assert by_gram.censored
    assert "≥" in str(by_gram)
    by_jacobian = td.tangent.condition_number(smooth, line)
    jacobian = parameter_jacobian(smooth, line)[:, 0]
    exact = torch.linalg.svdvals(jacobian)
    assert by_jacobian.value == pytest.approx(float((exact[0] / exact[-1]) ** 2), rel=1e-2)
    assert by_jacobian.value > by_gram.value
    # more equations than parameters: singular for certain
    assert td.tangent.condition_number(nn.Linear(1, 1).double(), line).censored
    stack = td.tangent.condition_number(torch.stack([flat, flat + torch.eye(10)]))
    assert stack.value.shape == (2,)
    with pytest.raises(ArgumentError, match="square"):
        td.tangent.condition_number(flat[:3])
    with pytest.raises(ArgumentError, match="symmetric"):
        td.tangent.condition_number(flat + torch.triu(torch.ones_like(flat)))
    with pytest.raises(ArgumentError, match="x must be given"):
        td.tangent.condition_number(model)


def test_condition_number_is_no_finer_than_the_precision_of_the_kernel():
    draw = torch.Generator().manual_seed(2)
    basis = torch.linalg.qr(torch.randn(30, 30, dtype=torch.float64, generator=draw)).Q
    kernel = (basis * torch.logspace(-12, 0, 30, dtype=torch.float64)) @ basis.T  # κ = 1e12
    kernel = 0.5 * (kernel + kernel.T)
    exact = td.tangent.condition_number(kernel)
    assert not exact.censored
    assert exact.low <= 1e12 <= exact.high
    rounded = td.tangent.condition_number(kernel.float())
    assert rounded.censored
    assert rounded.value < 1e12  # a lower bound must be one
    # an eigenvalue of −1e-7 shows noise of that size, whatever the dtype says
    noisy = td.tangent.condition_number(np.diag([1.0, -1e-7]))
    assert noisy.censored
    assert noisy.value == pytest.approx(1e7)
    # float32 products are symmetric up to their own rounding
    skew = kernel.float() + 1e-7 * torch.triu(torch.ones(30, 30)) * kernel.float().abs().max()
    assert td.tangent.condition_number(skew).censored
    with pytest.raises(ArgumentError, match="semidefinite"):
        td.tangent.condition_number(np.diag([1.0, -1.0]))
    with pytest.raises(ArgumentError, match="square"):
        td.tangent.condition_number(np.zeros((0, 0)))


@pytest.mark.parametrize("outputs", [1.5, None, True, "diag", [0]])
def test_outputs_must_be_a_word_or_an_index(outputs):
    model, (x, _) = network(), data()
    with pytest.raises(ArgumentError, match="outputs must be"):
        td.tangent.ntk(model, x, outputs=outputs)


def test_an_index_may_be_of_numpy_and_inference_mode_does_not_matter():
    model, (x, _) = network(), data()
    expected = td.tangent.ntk(model, x)[:, :, 1, 1]
    assert torch.equal(td.tangent.ntk(model, x, outputs=np.int64(1)), td.tangent.ntk(model, x, outputs=1))
    assert torch.allclose(td.tangent.ntk(model, x, outputs=1), expected, rtol=1e-13)
    with torch.inference_mode():
        assert torch.allclose(td.tangent.ntk(model, x, outputs=1), expected, rtol=1e-13)


def test_drift_measures():
    a = td.tangent.ntk(network(0), next(data()))
    b = td.tangent.ntk(network(1), next(data()))
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    assert float(td.tangent.kernel_drift(b, a)) == pytest.approx(float((flat_b - flat_a).norm() / flat_a.norm()))
    cosine = float(flat_a @ flat_b / flat_a.norm() / flat_b.norm())
    assert float(td.tangent.kernel_distance(b, a)) == pytest.approx(1 - cosine, rel=1e-10)
    assert float(td.tangent.kernel_velocity(a, b, 0.1)) == pytest.approx(10 * (1 - cosine), rel=1e-10)
    # tiny angles are not lost
    c = a + 1e-9 * b
    assert 0 < float(td.tangent.kernel_distance(c, a)) < 1e-17
    stack = td.tangent.kernel_drift(torch.stack([a, b]), torch.stack([a, a]))
    assert torch.allclose(stack, torch.stack([torch.zeros((), dtype=torch.float64), td.tangent.kernel_drift(b, a)]))
    assert float(td.tangent.relative_weight_change(network(1), network(0))) > 0
    assert td.tangent.relative_weight_change(np.ones((2, 3)), np.full((2, 3), 2.0)).tolist() == [0.5, 0.5]
    with pytest.raises(ArgumentError, match="all zero"):
        td.tangent.relative_weight_change(torch.ones(3), torch.zeros(3))
    with pytest.raises(ArgumentError, match="shape"):
        td.tangent.kernel_drift(a, a[:2, :2])
    with pytest.raises(ArgumentError, match="dt"):
        td.tangent.kernel_velocity(a, b, 0.0)


def test_lazy_scale_exactly_for_one_output():
    model, x = network(outputs=1), torch.randn(1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    y = torch.tensor([[2.0]], dtype=torch.float64)
    hessian = dense_hessian(model, lambda f: f(x).sum())
    jacobian = parameter_jacobian(model, x)[0, 0]
    expected = float((model(x) - y).detach().abs()) * float(torch.linalg.matrix_norm(hessian, 2)) / float(jacobian @ jacobian)
    assert td.tangent.lazy_scale(model, x, y) == pytest.approx(expected, rel=1e-6)


def test_lazy_scale_for_several_outputs_is_a_supremum():
    model, (x, y) = network(), data(2)
    found = td.tangent.lazy_scale(model, x, y)
    hessians = torch.stack([dense_hessian(model, lambda f, n=n, k=k: f(x[n : n + 1])[0, k]) for n in range(2) for k in range(2)])
    top = torch.linalg.eigvalsh(parameter_jacobian(model, x).flatten(0, 1) @ parameter_jacobian(model, x).flatten(0, 1).T)[-1]
    scale = float((model(x) - y).norm() / top)
    draw = torch.Generator().manual_seed(0)
    for _ in range(300):  # no direction does better
        r = torch.randn(4, dtype=torch.float64, generator=draw)
        norm = torch.linalg.matrix_norm(torch.einsum("i,ipq->pq", r / r.norm(), hessians), 2)
        assert float(norm) * scale <= found * (1 + 1e-6)
    assert td.tangent.lazy_scale(model, x, model(x).detach() + 2 * (y - model(x).detach())) == pytest.approx(2 * found, rel=1e-3)


def test_pl_ratio_lies_between_the_eigenvalues():
    for seed in range(5):
        model, (x, y) = network(seed), data(seed=seed)
        ratio = td.tangent.pl_ratio(model, x, y)
        loss = 0.5 * (model(x) - y).square().sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        assert ratio == pytest.approx(float(0.5 * sum(g.square().sum() for g in gradients) / loss), rel=1e-12)
        found = td.tangent.extremal_eigenvalues(model, x)
        assert found.lambda_min <= ratio <= found.lambda_max
    assert np.isnan(td.tangent.pl_ratio(model, x, model(x).detach()))
    with pytest.raises(ArgumentError, match="entries"):
        td.tangent.pl_ratio(model, x, y[:3])


def test_uniform_conditioning():
    model, (x, _) = network(width=20, outputs=1), data(3, 1)
    near = td.tangent.uniform_conditioning(model, x, radius=0.01, samples=2)
    far = td.tangent.uniform_conditioning(model, x, radius=3.0, samples=2)
    start = td.tangent.extremal_eigenvalues(model, x)
    assert near.mu == pytest.approx(start.lambda_min, rel=0.2)
    assert near.bound <= near.mu
    assert far.kappa > near.kappa
    assert far.bound < near.bound
    with pytest.raises(ArgumentError, match="radius"):
        td.tangent.uniform_conditioning(model, x, radius=0.0)


def test_certificate_holds_on_its_path():
    model, (x, y) = network(width=30, outputs=1), data(3, 1)
    before = [p.clone() for p in model.parameters()]
    found = td.tangent.pl_certificate(model, x, y, steps=40, looks=1)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert found.radius == pytest.approx(2 * found.lipschitz * (2 * found.losses[0]) ** 0.5 / found.mu)
    assert found.rate == pytest.approx(1 - found.step * found.mu)
    assert found.kappa == pytest.approx(1 / (found.step * found.mu))
    assert found.mu <= td.tangent.extremal_eigenvalues(model, x).lambda_min * (1 + 1e-9)
    assert all(b <= found.rate * a * (1 + 1e-9) for a, b in zip(found.losses, found.losses[1:], strict=False))
    states = {h.state for h in found.hypotheses.values()}
    assert states == {"verified on the path", "estimated", "assumed"}
    assert "radius" in repr(found)
    with pytest.raises(NumericalError, match="no PL constant"):
        td.tangent.pl_certificate(model, torch.cat([x, x[:1]]), torch.cat([y, y[:1]]))


def test_hessian_norm():
    model, (x, _) = network(), data(3)
    each = td.tangent.hessian_norm(model, x, each=True)
    for n in range(3):
        for k in range(2):
            exact = dense_hessian(model, lambda f, n=n, k=k: f(x[n : n + 1])[0, k])
            assert float(each[n, k]) == pytest.approx(float(torch.linalg.matrix_norm(exact, 2)), rel=1e-5)
    assert td.tangent.hessian_norm(model, x) == pytest.approx(float(each.max()))


@pytest.mark.parametrize("loss", [None, nn.MSELoss(), nn.CrossEntropyLoss()])
def test_loss_hessian(loss):
    model, (x, y) = network(), data()
    if isinstance(loss, nn.CrossEntropyLoss):
        y = torch.tensor([0, 1, 1, 0, 1])
    value = loss or (lambda f, t: 0.5 * (f - t).square().sum())
    exact = dense_hessian(model, lambda f: value(f(x), y))
    values = torch.linalg.eigvalsh(exact)
    found = td.tangent.hessian_extremes(model, x, y, loss=loss, k=2, tol=1e-9)
    assert torch.allclose(found.values, torch.cat([values[:2], values[-2:]]), atol=1e-7 * values[-1])
    assert found.converged.all()
    trace = td.tangent.hessian_trace(model, x, y, loss=loss)
    assert trace.value == pytest.approx(float(exact.trace()), rel=1e-9)
    few = td.tangent.hessian_trace(model, x, y, loss=loss, products=18)
    assert abs(few.value - float(exact.trace())) <= 5 * few.standard_error
    density = td.tangent.hessian_density(model, x, y, loss=loss, probes=6, steps=30, deflate=2)
    smooth = torch.exp(-0.5 * ((density.grid.unsqueeze(1) - values) / density.width) ** 2).sum(1) / (
        len(values) * density.width * 2.5066282746
    )
    assert float((density.density - smooth).abs().max()) <= 5 * float(density.standard_error.max()) + 1e-6
    assert float(torch.trapezoid(density.density, density.grid)) == pytest.approx(1.0, abs=1e-3)


def test_loss_must_be_a_finite_scalar():
    model, (x, y) = network(), data()
    with pytest.raises(ArgumentError, match="scalar"):
        td.tangent.hessian_extremes(model, x, y, loss=nn.MSELoss(reduction="none"))
    with pytest.raises(ArgumentError, match="finite"):
        td.tangent.hessian_trace(model, x, y, loss=lambda f, t: (f - t).sum() / 0)
    with pytest.raises(ArgumentError, match="probes"):
        td.tangent.hessian_density(model, x, y, probes=1)


def test_nngp_features():
    model, (x, _) = network(width=2000, outputs=3), data()
    weight, bias = model[2].weight.detach(), model[2].bias.detach()
    hidden = torch.tanh(model[0](x)).detach()
    expected = hidden @ hidden.T * float(weight.square().mean()) + float(bias.square().mean())
    features = td.tangent.nngp_features(model, x)
    assert features.shape == (5, 2001)
    assert torch.allclose(features @ features.T, expected, rtol=1e-10)
    # the kernel of the readout alone is that of the features with unit variances
    unit = td.tangent.nngp_features(model, x, sigma_w2=2000.0, sigma_b2=1.0)
    assert torch.allclose(td.tangent.ntk(model, x, parameters="2", outputs=0), unit @ unit.T, rtol=1e-10)
    with pytest.raises(UnsupportedError, match="readout"):
        td.tangent.nngp_features(nn.Sequential(nn.Linear(3, 2), nn.Tanh()), x)


@pytest.mark.parametrize("outputs", ["full", "trace"])
def test_tiles_on_disk_and_by_executor(tmp_path, monkeypatch, outputs):
    import theodolite.theory.tangent.measure.kernel as module

    monkeypatch.setattr(module, "_TILE_BYTES", 8 * 16 * (4 if outputs == "full" else 1))
    model, (x, _) = network(), data(11)
    expected = td.tangent.ntk(model, x, outputs=outputs)
    with ThreadPoolExecutor(3) as pool:
        found = td.tangent.ntk(model, x, outputs=outputs, executor=pool)
    assert torch.allclose(found, expected, rtol=1e-12)
    stored = td.tangent.ntk(model, x, outputs=outputs, out=tmp_path / "k")
    assert np.allclose(stored[:], expected.numpy(), rtol=1e-12)
    crossed = td.tangent.ntk(model, x[:5], x, outputs=outputs, out=tmp_path / "c")
    assert np.allclose(crossed[:], expected[:5].numpy(), rtol=1e-12)
    with pytest.raises(StoreError, match="another job"):
        td.tangent.ntk(network(3), x, outputs=outputs, out=tmp_path / "k")


def test_memory_error_offers_a_way_out():
    model, (x, _) = network(), data()
    with pytest.raises(ArgumentError, match="ntk_vector_product"):
        td.tangent.ntk(model, x, memory=1000)


def test_quantities_are_registered():
    from theodolite.core.registry import quantities

    names = {"condition_number", "kernel_drift", "kernel_distance", "relative_weight_change", "pl_ratio"}
    assert {f"tangent.{n}" for n in names} <= set(quantities())
