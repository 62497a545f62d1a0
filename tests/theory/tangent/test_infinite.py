"""Infinite-width kernels against closed forms, wide networks, mpmath near coinciding inputs, and each other."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.core.errors import ArgumentError, StoreError, UnsupportedError

X = math.sqrt(3) * np.array([[1.0, 2.0, 2.0], [2.0, -1.0, 2.0]]) / 3

# (depth, activation, σ_w², σ_b²) -> nngp12, ntk12, nngp11, ntk11; independent values of another implementation
REFERENCES = {
    (1, "relu", 2.0, 0.0): (1.1450426446532, 1.7197972123631, 2.0, 4.0),
    (1, "relu", 2.0, 0.1): (1.3384793673175, 1.9872602444801, 2.2, 4.3),
    (1, "erf", 1.5, 0.05): (0.39104089220022, 0.74736138480232, 0.86868941422473, 1.9719213565213),
    (3, "relu", 2.0, 0.0): (1.4386991567869, 3.2680138917801, 2.0, 8.0),
    (3, "relu", 2.0, 0.1): (1.8204773673793, 4.0654612339611, 2.4, 9.0),
    (3, "erf", 1.5, 0.05): (0.31180878145676, 1.0277044830966, 0.6474430574952983, 3.075579892371),
}


@pytest.mark.parametrize("case", REFERENCES, ids=str)
def test_reference_values(case):
    depth, activation, w, b = case
    k = td.tangent.infinite_kernels(X, depth=depth, activation=activation, sigma_w2=w, sigma_b2=b)
    found = (k.nngp[0, 1], k.ntk[0, 1], k.nngp[0, 0], k.ntk[0, 0])
    assert np.allclose(found, REFERENCES[case], rtol=1e-12)


def slow(x1, x2, depth, function, slope, w, b):
    """The recursion entry by entry with two-dimensional Gauss–Legendre quadrature on each side of zero."""
    nodes, weights = np.polynomial.legendre.leggauss(80)
    half = np.concatenate([-9 + 9 * (nodes + 1) / 2, 9 * (nodes + 1) / 2])
    dens = np.tile(weights * 9 / 2, 2) * np.exp(-(half**2) / 2) / math.sqrt(2 * math.pi)

    def expect(f, k11, k22, k12):
        c = k12 / math.sqrt(k11 * k22)
        u = math.sqrt(k11) * half
        # v given u is Gaussian; its own kink at zero is resolved by splitting at it
        total = 0.0
        for ui, wi, zi in zip(u, dens, half, strict=True):
            s = math.sqrt(max(1 - c * c, 0.0))
            split = float(np.clip(-c * zi / s if s > 1e-12 else 0.0, -9, 9))
            for lo, hi in ((-9.0, split), (split, 9.0)):
                z = lo + (hi - lo) * (nodes + 1) / 2
                v = math.sqrt(k22) * (c * zi + s * z)
                total += wi * f(ui) * np.sum(weights * (hi - lo) / 2 * f(v) * np.exp(-(z**2) / 2)) / math.sqrt(2 * math.pi)
        return total

    d = len(x1)
    k11, k22, k12 = (w * np.dot(p, q) / d + b for p, q in ((x1, x1), (x2, x2), (x1, x2)))
    theta = k12
    for _ in range(depth):
        dot = expect(slope, k11, k22, k12)
        k12, theta = (
            w * expect(function, k11, k22, k12) + b,
            w * dot * theta,
        )
        theta += k12
        k11, k22 = w * expect(function, k11, k11, k11 * (1 - 1e-15)) + b, w * expect(function, k22, k22, k22 * (1 - 1e-15)) + b
    return k12, theta


@pytest.mark.parametrize(
    ("activation", "function", "slope"),
    [
        ("relu", lambda u: np.maximum(u, 0), lambda u: np.where(u > 0, 1.0, 0.0)),
        (nn.LeakyReLU(0.3), lambda u: np.where(u > 0, u, 0.3 * u), lambda u: np.where(u > 0, 1.0, 0.3)),
        (torch.tanh, np.tanh, lambda u: 1 / np.cosh(u) ** 2),
    ],
    ids=["relu", "leaky", "tanh"],
)
def test_against_quadrature(activation, function, slope):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4)) * np.array([[0.5], [1.0], [2.0]])
    k = td.tangent.infinite_kernels(x, depth=2, activation=activation, sigma_w2=1.7, sigma_b2=0.2)
    for i, j in ((0, 1), (1, 2)):
        nngp, ntk = slow(x[i], x[j], 2, function, slope, 1.7, 0.2)
        assert k.nngp[i, j] == pytest.approx(nngp, rel=1e-7)
        assert k.ntk[i, j] == pytest.approx(ntk, rel=1e-7)


def test_blocks_symmetry_and_numpy_torch():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((530, 6))
    settings = {"depth": 3, "activation": "relu", "sigma_w2": 2.0, "sigma_b2": 0.1}
    whole = td.tangent.infinite_kernels(x, **settings)
    pairs = td.tangent.infinite_kernels(x[500:], x[:40], **settings)
    assert np.allclose(whole.ntk[500:, :40], pairs.ntk, rtol=1e-12)
    assert np.array_equal(whole.nngp, whole.nngp.T)
    assert np.linalg.eigvalsh(whole.ntk)[0] > 0
    torch_kernel = td.tangent.infinite_kernels(torch.from_numpy(x[:5]), **settings).nngp
    assert isinstance(torch_kernel, torch.Tensor)
    assert np.allclose(torch_kernel.numpy(), whole.nngp[:5, :5], rtol=1e-12)


@pytest.mark.parametrize("sigma_b2", [0.0, 0.3])
@pytest.mark.parametrize("gap", [0.0, 1e-13, 1e-9, 1e-6])
def test_nearly_parallel_inputs(gap, sigma_b2):
    import mpmath

    x = np.array([[1.0, 0.3, -0.7], [2.0, 0.6 + gap, -1.4]])
    k = td.tangent.infinite_kernels(x, depth=3, activation="relu", sigma_w2=2.0, sigma_b2=sigma_b2)
    with mpmath.workdps(60):
        u, v = ([mpmath.mpf(float(t)) for t in row] for row in x)
        w, b = mpmath.mpf(2), mpmath.mpf(sigma_b2)

        def dot(p, q):
            return w * mpmath.fsum(s * t for s, t in zip(p, q, strict=True)) / 3 + b

        a, c, e = dot(u, u), dot(v, v), dot(u, v)
        theta = e
        for _ in range(3):
            root = mpmath.sqrt(a * c)
            angle = mpmath.acos(min(mpmath.mpf(1), e / root))
            e = w * root / (2 * mpmath.pi) * (mpmath.sin(angle) + (mpmath.pi - angle) * mpmath.cos(angle)) + b
            theta = e + w * (mpmath.pi - angle) / (2 * mpmath.pi) * theta
            a, c = w * a / 2 + b, w * c / 2 + b
        assert abs(float((mpmath.mpf(float(k.ntk[0, 1])) - theta) / theta)) < 2e-12
        assert abs(float((mpmath.mpf(float(k.nngp[0, 1])) - e) / e)) < 1e-14


@pytest.mark.parametrize("activation", ["relu", "tanh", "erf"])
def test_duplicates_equal_the_diagonal(activation):
    x = np.random.default_rng(0).standard_normal((4, 7))
    x[2] = x[0]
    k = td.tangent.infinite_kernels(x, depth=5, activation=activation, sigma_w2=1.8, sigma_b2=0.05)
    assert k.ntk[0, 2] == pytest.approx(k.ntk[0, 0], rel=1e-14)
    crossed = td.tangent.infinite_kernels(x, x[:1], depth=5, activation=activation, sigma_w2=1.8, sigma_b2=0.05)
    assert crossed.ntk[0, 0] == pytest.approx(k.ntk[0, 0], rel=1e-12)


def test_depth_zero_is_linear():
    k = td.tangent.infinite_kernels(X, depth=0, activation="relu", sigma_w2=1.5, sigma_b2=0.2)
    assert np.allclose(k.nngp, 1.5 * X @ X.T / 3 + 0.2)
    assert np.array_equal(k.nngp, k.ntk)


def wide(width, seed, bias=True):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=(1.6 / layer.in_features) ** 0.5)
        nn.init.normal_(layer.bias, std=0.3) if bias else nn.init.zeros_(layer.bias)
    return model


@pytest.mark.slow
def test_standard_parameterisation_is_that_of_wide_networks():
    x, width = np.concatenate([X, -X[:1]]), 400
    found = []
    for seed in range(10):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        for layer in model[::2]:
            nn.init.normal_(layer.weight, std=(1.6 / layer.in_features) ** 0.5)
            nn.init.normal_(layer.bias, std=0.3)
        found.append(td.tangent.ntk(model, x, outputs="trace"))
    mean, error = np.mean(found, 0), np.std(found, 0, ddof=1) / 10**0.5
    settings = {"depth": 2, "activation": "relu", "sigma_w2": 1.6, "sigma_b2": 0.09}
    k = td.tangent.infinite_kernels(x, parameterization="standard", width=width, **settings)
    assert (np.abs(mean - k.ntk) < 4.5 * error + 0.01 * k.ntk.max()).all()
    both = td.tangent.infinite_kernels(x, parameterization="standard", width=(width, width), **settings)
    assert np.array_equal(both.ntk, k.ntk)


def test_module_agrees_with_recursion():
    model = wide(400, 0).double()
    measured = [
        (float(la.in_features * la.weight.detach().square().mean()), float(la.bias.detach().square().mean())) for la in model[::2]
    ]
    k = td.tangent.infinite_kernels_of(model, X)
    # by hand, layer by layer, with the measured variances
    from theodolite.theory.tangent.predict.layers import layer_of

    (w, b), q = measured[0], None
    kernel = w * X @ X.T / 3 + b
    ntk = kernel.copy()
    for (w, b), act in zip(measured[1:], ("tanh", "relu"), strict=True):
        q = np.diag(kernel).copy()
        value, slope = layer_of(act).maps(kernel, q, q)
        np.fill_diagonal(value, layer_of(act).variance(q))
        kernel = w * value + b
        ntk = kernel + w * slope * ntk
    assert np.allclose(k.nngp, kernel, rtol=1e-7)
    assert np.allclose(k.ntk, ntk, rtol=1e-7)
    assert model.training
    assert isinstance(td.tangent.infinite_kernels_of(model, torch.from_numpy(X)).ntk, torch.Tensor)


class Residual(nn.Module):
    def __init__(self, n=200):
        super().__init__()
        self.first, self.branch, self.last = nn.Linear(4, n), nn.Linear(n, n), nn.Linear(n, 1)
        self.norm = nn.LayerNorm(n, elementwise_affine=False)

    def forward(self, x):
        h = self.first(x)
        h = h + 0.5 * self.branch(torch.relu(self.norm(h)))
        return self.last(torch.tanh(h))


def conv_pooled(n=64):
    body = [nn.Conv2d(2, n, 3, padding=1, stride=2), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(n, n, 2), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, 1))


def conv_flat(n=64):
    return nn.Sequential(
        nn.Conv1d(2, n, 3, padding=1), nn.ReLU(), nn.Conv1d(n, n, 3, dilation=2), nn.Tanh(), nn.Flatten(), nn.Linear(4 * n, 1)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("make", "shape"), [(Residual, (3, 4)), (conv_pooled, (3, 2, 8, 8)), (conv_flat, (3, 2, 8))])
def test_modules_agree_with_wide_networks(make, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    empirical, infinite = [], []
    for seed in range(6):
        torch.manual_seed(seed)
        empirical.append(td.tangent.ntk(make(), x, outputs="trace"))
        torch.manual_seed(100 + seed)
        infinite.append(td.tangent.infinite_kernels_of(make(), x, parameterization="standard").ntk)
    spread = np.sqrt((np.var(empirical, 0, ddof=1) + np.var(infinite, 0, ddof=1)) / 6)
    bias = 0.06 * np.abs(np.mean(infinite, 0)).max()
    assert (np.abs(np.mean(empirical, 0) - np.mean(infinite, 0)) < 4 * spread + bias).all()
    # a kernel of two blocks is a part of the symmetric one
    model = make()
    whole = td.tangent.infinite_kernels_of(model, x).ntk
    assert np.allclose(td.tangent.infinite_kernels_of(model, x[:1], x[1:]).ntk, whole[:1, 1:], rtol=1e-7)


def test_module_refusals():
    layer = nn.Linear(4, 4)
    x = np.ones((2, 4))
    with pytest.raises(UnsupportedError, match="shares"):
        td.tangent.infinite_kernels_of(nn.Sequential(layer, nn.ReLU(), layer), x)
    with pytest.raises(UnsupportedError, match="not Gaussian"):
        td.tangent.infinite_kernels_of(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Tanh(), nn.Linear(4, 1)), x)
    with pytest.raises(UnsupportedError, match="pool"):
        net = nn.Sequential(nn.Conv1d(1, 3, 3), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(3, 1))
        td.tangent.infinite_kernels_of(net, np.ones((2, 1, 4)))

    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.norm = nn.Linear(4, 4), nn.Linear(4, 1), nn.LayerNorm(4)

        def forward(self, x):
            h = self.a(x)
            return self.b(h + self.norm(h))

    with pytest.raises(UnsupportedError, match="correlated"):
        td.tangent.infinite_kernels_of(Skip(), x)


def test_executor_and_store(tmp_path, monkeypatch):
    import theodolite.theory.tangent.infinite as module

    monkeypatch.setattr(module, "_TILE", 16)
    x = np.random.default_rng(0).standard_normal((50, 5))
    settings = {"depth": 2, "activation": "relu", "sigma_w2": 2.0, "sigma_b2": 0.1}
    expected = td.tangent.infinite_kernels(x, **settings)
    with ThreadPoolExecutor(2) as pool:
        inside = td.tangent.infinite_kernels(x, executor=pool, **settings)
        stored = td.tangent.infinite_kernels(x, x[:20], executor=pool, out=tmp_path / "cross", **settings)
    assert np.allclose(inside.ntk, expected.ntk, rtol=1e-13)
    assert np.allclose(stored.nngp[:], expected.nngp[:, :20], rtol=1e-13)

    calls = []
    compute = module._tile

    def dying(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return compute(*args)

    monkeypatch.setattr(module, "_tile", dying)
    with pytest.raises(KeyboardInterrupt):
        td.tangent.infinite_kernels(x, out=str(tmp_path / "k"), **settings)
    calls.clear()
    monkeypatch.setattr(module, "_tile", lambda *args: (calls.append(1), compute(*args))[1])
    again = td.tangent.infinite_kernels(x, out=str(tmp_path / "k"), **settings)
    assert len(calls) == 10 - 3  # only the tiles that were missing
    assert np.allclose(again.ntk[:], expected.ntk, rtol=1e-13)
    with pytest.raises(StoreError, match="sigma_b2"):
        td.tangent.infinite_kernels(x, out=str(tmp_path / "k"), **{**settings, "sigma_b2": 0.2})
    with pytest.raises(StoreError, match="data 0"):
        td.tangent.infinite_kernels(x + 1, out=str(tmp_path / "k"), **settings)


def test_errors():
    good = {"depth": 1, "activation": "relu", "sigma_w2": 2.0, "sigma_b2": 0.0}
    for change, words in [
        ({"depth": -1}, "depth"),
        ({"sigma_w2": 0.0}, "sigma_w2"),
        ({"sigma_w2": float("nan")}, "sigma_w2"),
        ({"sigma_b2": float("inf")}, "sigma_b2"),
        ({"parameterization": "standard", "width": float("nan")}, "positive number"),
        ({"sigma_b2": -1.0}, "sigma_b2"),
        ({"parameterization": "mup"}, "parameterization"),
        ({"parameterization": "standard"}, "width must be given"),
        ({"width": 3}, "width is for"),
        ({"parameterization": "standard", "width": (1, 2)}, "one per hidden layer"),
    ]:
        with pytest.raises(ArgumentError, match=words):
            td.tangent.infinite_kernels(X, **{**good, **change})
    with pytest.raises(ArgumentError, match="finite"):
        td.tangent.infinite_kernels(X * np.nan, **good)
    with pytest.raises(ArgumentError, match="features"):
        td.tangent.infinite_kernels(X, X[:, :2], **good)


@pytest.mark.parametrize("activation", ["relu", nn.LeakyReLU(0.2), "erf"], ids=str)
@pytest.mark.parametrize("standard", [False, True])
def test_compiled_sweep_equals_layer_by_layer(monkeypatch, activation, standard):
    import theodolite.theory.tangent.predict.recursion as module

    x = np.random.default_rng(0).standard_normal((40, 3))
    x[1], x[2], x[3] = x[0], -x[0], x[0] * (1 + 1e-12)
    more = {"parameterization": "standard", "width": (3, 5, 7, 9)} if standard else {}
    settings = {"depth": 4, "activation": activation, "sigma_w2": 1.7, "sigma_b2": 0.1, **more}
    found = []
    for least in (0, 10**9):
        monkeypatch.setattr(module, "_SWEEP_FROM", least)
        found.append(td.tangent.infinite_kernels(x, **settings))
    assert np.allclose(found[0].nngp, found[1].nngp, rtol=1e-14, atol=1e-14)
    assert np.allclose(found[0].ntk, found[1].ntk, rtol=1e-12)


def test_vectorised_arc_sine():
    from theodolite.theory.tangent.predict.fused import _asin

    small = np.geomspace(1e-8, 0.4, 300)
    assert max(abs(_asin(float(v)) / math.asin(v) - 1) for v in small) < 4e-16
    t = np.concatenate([np.linspace(-1, 1, 4001), np.array([0.5, -0.5, 1e-300, 1 - 1e-16])])
    assert max(abs(_asin(float(v)) - math.asin(v)) for v in t) < 5e-16
