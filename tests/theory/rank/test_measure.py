"""Effective dimensions against slow, obvious computations."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import theodolite as td
from theodolite.core.errors import ArgumentError, NumericalError, TheodoliteWarning


def features(samples=200, n=12, seed=0, decades=6):
    rng = np.random.default_rng(seed)
    u, v = np.linalg.qr(rng.normal(size=(samples, n)))[0], np.linalg.qr(rng.normal(size=(n, n)))[0]
    return u @ np.diag(10.0 ** -np.linspace(0, decades, n)) @ v.T


def mass(phi, w=None):
    """The mass matrix by its definition, sample by sample."""
    w = np.full(len(phi), 1 / len(phi)) if w is None else w
    return sum(wi * np.outer(row, row) for wi, row in zip(w, phi, strict=True))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("center", [False, True])
def test_spectrum_is_that_of_the_mass_matrix(weighted, center):
    phi = features(decades=2) + 0.3
    w = np.random.default_rng(1).uniform(0.1, 2, len(phi)) if weighted else None
    share = np.full(len(phi), 1 / len(phi)) if w is None else w / w.sum()
    reference = phi - share @ phi if center else phi
    expected = np.linalg.eigvalsh(mass(reference, w))[::-1]
    for method in ("svd", "gram"):
        np.testing.assert_allclose(td.rank.spectrum(phi, w, center=center, method=method), expected, rtol=1e-9, atol=1e-12)


def test_singular_values_resolve_what_the_gram_matrix_cannot():
    phi = features(decades=11) * np.sqrt(200)
    exact = 10.0 ** (-2 * np.linspace(0, 11, 12))
    np.testing.assert_allclose(td.rank.spectrum(phi), exact, rtol=1e-3)
    assert abs(td.rank.spectrum(phi, method="gram")[-1] / exact[-1] - 1) > 0.5
    for eps in (3e-3, 3e-9, 3e-15, 3e-20):
        assert td.rank.epsilon_rank(phi, eps=eps) == (exact > eps).sum()


def test_strictly_greater():
    phi = np.diag([2.0, 1.0])
    assert td.rank.epsilon_rank(phi, eps=0.5) == 1
    assert td.rank.epsilon_rank(phi, eps=0.499) == 2


def test_duplicated_neurons_count_once():
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, 400)[:, None]
    ten = np.tanh(x * rng.normal(size=10) * 3 + rng.normal(size=10))
    fifty = np.tile(ten, 5)
    assert td.rank.epsilon_rank(fifty, eps=1e-10) == td.rank.epsilon_rank(ten, eps=1e-10 / 5)
    assert td.rank.numerical_rank(fifty) <= 10


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_scaling_law(seed, log_scale):
    phi, c = features(seed=seed), 10.0**log_scale
    for eps in (1e-3, 1e-6):
        assert td.rank.epsilon_rank(c * phi, eps=eps) == td.rank.epsilon_rank(phi, eps=eps / c**2)
        assert td.rank.epsilon_rank(c * phi, eps=eps, mode="relative") == td.rank.epsilon_rank(phi, eps=eps, mode="relative")


def test_function_mode_is_invariant_under_the_symmetry_of_relu_networks():
    rng = np.random.default_rng(3)
    x = np.linspace(-1, 1, 300)[:, None]
    phi = np.maximum(x * rng.normal(size=30) + rng.normal(size=30), 0)
    beta, c = rng.normal(size=(30, 2)), np.exp(rng.normal(size=30) * 2)
    ranks = {
        int(td.rank.epsilon_rank(phi * s, eps=1e-3, mode="function", outgoing=beta / s[:, None])) for s in (1, c) if np.ndim(s)
    }
    assert ranks == {int(td.rank.epsilon_rank(phi, eps=1e-3, mode="function", outgoing=beta))}
    assert td.rank.epsilon_rank(phi * c) != td.rank.epsilon_rank(phi)
    assert td.rank.epsilon_rank(phi * c, mode="function") == td.rank.epsilon_rank(phi, mode="function")


def test_function_mode_is_the_gram_of_beta_phi():
    phi = features(decades=1)
    beta = np.random.default_rng(0).normal(size=(12, 3))
    gram = mass(phi) * (beta @ beta.T)
    for eps in (1e-4, 1e-3, 1e-2):
        assert td.rank.epsilon_rank(phi, eps=eps, mode="function", outgoing=beta) == (np.linalg.eigvalsh(gram) > eps).sum()
    single = beta[:, 0]
    expected = (np.linalg.eigvalsh(mass(phi * single)) > 1e-4).sum()
    assert td.rank.epsilon_rank(phi, eps=1e-4, mode="function", outgoing=single) == expected


def test_the_interval_contains_the_count_and_widens_near_an_eigenvalue():
    phi = np.eye(4) * 2.0  # every eigenvalue is exactly 1
    low, high = td.rank.rank_interval(phi, eps=1.0)
    assert (low, high) == (0, 4)
    assert td.rank.rank_interval(phi, eps=0.9) == (4, 4)
    half = features(decades=10).astype(np.float32)
    near = float(td.rank.spectrum(half)[7])
    low, high = td.rank.rank_interval(half, eps=near)
    assert low < high
    assert low <= td.rank.epsilon_rank(features(decades=10), eps=near) <= high


def test_below_the_resolution_it_says_so():
    half = torch.from_numpy(features(decades=10)).float()
    with pytest.warns(TheodoliteWarning, match="below the resolution"):
        td.rank.epsilon_rank(half, eps=1e-20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        td.rank.epsilon_rank(half, eps=1e-3)


def test_the_order_of_the_dimensions():
    for seed in range(20):
        phi = features(seed=seed, decades=seed % 5 + 1)
        values = [
            td.rank.stable_rank(phi),
            td.rank.participation_ratio(phi),
            td.rank.effective_rank(phi, of="eigen"),
            td.rank.effective_rank(phi),
            td.rank.numerical_rank(phi),
        ]
        assert all(a <= b * (1 + 1e-9) for a, b in zip(values[:-1], values[1:], strict=True))


def test_dimensions_by_their_definitions():
    phi = features(decades=3)
    lam = np.linalg.eigvalsh(mass(phi))[::-1].clip(0)
    sigma = np.sqrt(lam)
    p = sigma / sigma.sum()
    assert td.rank.effective_rank(phi) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-9)
    assert td.rank.stable_rank(phi) == pytest.approx(lam.sum() / lam[0], rel=1e-12)
    assert td.rank.participation_ratio(phi) == pytest.approx(lam.sum() ** 2 / (lam**2).sum(), rel=1e-12)
    assert td.rank.effective_rank(np.zeros((5, 3))) == 0
    assert td.rank.stable_rank(np.zeros((5, 3))) == 0
    assert td.rank.participation_ratio(np.zeros((5, 3))) == 0


def test_numpy_in_numpy_out_torch_in_torch_out():
    phi = features()
    assert isinstance(td.rank.epsilon_rank(phi), np.integer)
    assert isinstance(td.rank.spectrum(phi), np.ndarray)
    assert isinstance(td.rank.epsilon_rank(torch.from_numpy(phi)), torch.Tensor)
    assert td.rank.epsilon_rank(phi.tolist()) == td.rank.epsilon_rank(phi)


def test_the_seeds_recipe_is_right_only_on_its_own_grid():
    x = np.linspace(-1, 1, 300)[:, None]
    rng = np.random.default_rng(0)
    phi = np.tanh(x * rng.normal(size=20) * 4 + rng.normal(size=20) * 2)
    points, w = td.maths.quadrature.trapezoid(-1, 1, 300)
    assert td.rank.seed_epsilon_rank(phi, x) == td.rank.epsilon_rank(phi, w.numpy())
    shuffled = rng.permutation(300)
    assert td.rank.seed_epsilon_rank(phi[shuffled], x[shuffled]) == td.rank.seed_epsilon_rank(phi, x)
    assert td.rank.seed_epsilon_rank(phi, x / 100) < td.rank.seed_epsilon_rank(phi, x)


def literal_seed(phi, g, eps):
    """The source's function, dense weight matrix and all."""
    order = np.argsort(g.mean(axis=1))
    d, x = phi[order], g.mean(axis=1)[order]
    step = (x[-1] - x[0]) / (len(x) - 1 + 1e-8)
    w = np.ones(len(x))
    w[0] = w[-1] = 0.5
    m = d.T @ np.diag(w * step) @ d
    return int((np.linalg.eigvalsh((m + m.T) / 2) > eps).sum())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1e-2, 1e-3, 1e-6]))
def test_the_seeds_recipe_is_kept_to_the_letter(seed, eps):
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(80, 3))
    phi = np.tanh(g @ rng.normal(size=(3, 15)))
    assert td.rank.seed_epsilon_rank(phi, g, eps) == literal_seed(phi, g, eps)


def test_quadrature_rules_agree_on_smooth_features():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=10), rng.normal(size=10)

    def ranks(rule):
        x, w = rule
        return [
            int(td.rank.epsilon_rank(torch.tanh(x * torch.from_numpy(a) + torch.from_numpy(b)), w, eps=e))
            for e in (1e-2, 1e-4, 1e-6)
        ]

    assert ranks(td.maths.quadrature.gauss_legendre(-1, 1, 40)) == ranks(td.maths.quadrature.trapezoid(-1, 1, 4000))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.array([[1.0, np.nan]]),), "features must be finite"),
        ((np.ones((3, 2)), np.array([1.0, -1.0, 1.0])), "weights must not be negative, got a minimum of -1.0"),
        ((np.ones((3, 2)), np.ones(4)), "one entry per sample, 3"),
        ((np.ones((2, 3)),), "fewer samples than neurons, N=2 < n=3.*allow_underdetermined=True"),
        ((np.ones((3, 2), dtype=int),), "features must be floating point"),
        ((np.ones(3),), "at least 2 dimensions"),
        ((np.ones((3, 0)),), "at least one sample and one neuron"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        td.rank.epsilon_rank(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0.0}, "eps must be positive"),
        ({"mode": "nope"}, "mode must be"),
        ({"outgoing": np.ones(2)}, "mode='function' only"),
        ({"mode": "function", "outgoing": np.ones(3)}, r"outgoing must have shape \(2,\)"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ArgumentError, match=message):
        td.rank.epsilon_rank(np.ones((5, 2)), **options)


def test_underdetermined_on_request():
    phi = np.eye(5)[:3]
    assert td.rank.epsilon_rank(phi, eps=1e-6, allow_underdetermined=True) == 3


class TestAccumulator:
    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 1000), st.lists(st.integers(1, 40), min_size=1, max_size=6), st.booleans())
    def test_any_split_gives_the_same(self, seed, sizes, weighted):
        rng = np.random.default_rng(seed)
        phi = rng.normal(size=(sum(sizes), 4))
        w = rng.uniform(size=len(phi)) if weighted else None
        whole = td.rank.GramAccumulator(block=7).update(phi, w)
        merged = td.rank.GramAccumulator()
        for part in np.split(np.arange(len(phi)), np.cumsum(sizes)[:-1]):
            merged.merge(td.rank.GramAccumulator().update(phi[part], None if w is None else w[part]))
        np.testing.assert_allclose(merged.matrix, whole.matrix, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(merged.matrix, mass(phi, w), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(
            merged.centered_matrix.trace(), td.rank.spectrum(phi, w, center=True).sum() if len(phi) > 1 else 0, atol=1e-10
        )
        assert merged.count == len(phi)

    def test_rank_agrees_with_the_features(self):
        phi = features(decades=4)
        assert td.rank.GramAccumulator().update(phi).epsilon_rank(1e-4) == td.rank.epsilon_rank(phi, eps=1e-4)

    def test_below_its_floor_it_refuses(self):
        accumulator = td.rank.GramAccumulator().update(features())
        with pytest.raises(ArgumentError, match="resolution"):
            accumulator.epsilon_rank(1e-20)

    def test_bad_pieces_add_nothing(self):
        accumulator = td.rank.GramAccumulator().update(np.ones((3, 2)))
        before = accumulator.matrix.copy()
        for bad, weights in (
            (np.full((2, 2), np.nan), None),
            (np.ones((2, 3)), None),
            (np.ones((2, 2)), np.ones(2)),
            (np.ones(2), None),
        ):
            with pytest.raises(ArgumentError):
                accumulator.update(bad, weights)
        assert np.array_equal(accumulator.matrix, before)
        with pytest.raises(ArgumentError, match="empty"):
            _ = td.rank.GramAccumulator().matrix

    def test_an_empty_piece_adds_nothing_and_torch_comes_back_as_torch(self):
        phi = torch.from_numpy(features())
        accumulator = td.rank.GramAccumulator().update(phi[:0])
        with pytest.raises(ArgumentError, match="no sample"):
            _ = accumulator.matrix
        matrix = accumulator.update(phi).update(phi[:0]).matrix
        assert isinstance(matrix, torch.Tensor)
        torch.testing.assert_close(matrix, phi.mT @ phi / len(phi), rtol=0, atol=1e-14)

    @pytest.mark.slow
    def test_a_million_samples_in_bounded_memory(self):
        import resource

        rng = np.random.default_rng(0)
        directions = rng.normal(size=(1, 30))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        accumulator = td.rank.GramAccumulator()
        for start in range(0, 1_000_000, 100_000):
            x = np.linspace(-1 + start * 2e-6, -1 + (start + 99_999) * 2e-6, 100_000, dtype=np.float32)[:, None]
            accumulator.update(np.tanh(x * directions.astype(np.float32)))
        assert accumulator.count == 1_000_000
        x = np.linspace(-1, 1, 20_000)[:, None]
        assert accumulator.epsilon_rank(1e-3) == td.rank.epsilon_rank(np.tanh(x * directions), eps=1e-3)
        assert (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000
        )  # kB; all at once would be 240 MB in float64 twice over


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu():
    phi = torch.from_numpy(features())
    assert int(td.rank.epsilon_rank(phi.cuda())) == int(td.rank.epsilon_rank(phi))


def test_any_strides_will_do():
    phi = features()
    assert td.rank.epsilon_rank(phi[::-1, ::-1], eps=1e-6) == td.rank.epsilon_rank(phi, eps=1e-6)


def test_weights_that_do_not_fit_the_leading_dimensions_are_named():
    with pytest.raises(ArgumentError, match="weights must fit the leading dimensions"):
        td.rank.spectrum(np.ones((2, 3, 40, 6)), np.ones((5, 40)))


def test_features_whose_squares_overflow_are_a_numerical_error():
    with pytest.raises(NumericalError, match="rescale the features"):
        td.rank.epsilon_rank(1e200 * torch.from_numpy(features()))


def test_fewer_samples_than_neurons_by_the_small_gram_matrix():
    rng = np.random.default_rng(3)
    phi, w = rng.normal(size=(2, 12, 40)), rng.uniform(size=12)
    expected = np.linalg.eigvalsh(phi.mT @ (w[:, None] * phi))[..., ::-1].clip(0)
    np.testing.assert_allclose(td.rank.spectrum(phi, w, method="gram"), expected, atol=1e-12)
    for eps in (1e-3, 5.0):
        assert (td.rank.epsilon_rank(phi, w, eps=eps, allow_underdetermined=True) == (expected > eps).sum(-1)).all()
    np.testing.assert_allclose(td.rank.stable_rank(phi, w), expected.sum(-1) / expected[:, 0], rtol=1e-12)
    np.testing.assert_allclose(td.rank.participation_ratio(phi, w), expected.sum(-1) ** 2 / (expected**2).sum(-1), rtol=1e-12)
    p = np.sqrt(expected[:, :12]) / np.sqrt(expected[:, :12]).sum(-1, keepdims=True)
    np.testing.assert_allclose(td.rank.effective_rank(phi, w), np.exp(-(p * np.log(p)).sum(-1)), rtol=1e-10)


SCALES = (1e-320, 1e-300, 1e-200, 1e-160, 1e-100, 1e100, 1e160, 1e300)


def scale_free(phi, w):
    yield from (f(phi, w, center=c) for f in (td.rank.stable_rank, td.rank.participation_ratio) for c in (False, True))
    yield from (td.rank.effective_rank(phi, w, of=of) for of in ("singular", "eigen"))
    yield td.rank.numerical_rank(phi, w)
    yield td.rank.epsilon_rank(phi, w, eps=1e-2, mode="relative")
    yield td.rank.epsilon_rank(phi, w, eps=0.1, mode="function")
    yield from td.rank.rank_interval(phi, w, eps=1e-2, mode="relative")


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_free_of_the_scale_is_so_at_any_scale(scale):
    rng = np.random.default_rng(4)
    phi, w = rng.normal(size=(3, 50, 5)) + 0.2, rng.uniform(0.1, 1, 50)
    tolerance = 1e-3 if scale < 1e-310 else 1e-12  # the digits of subnormal features are lost before the call
    for weights in (None, w):
        expected = list(scale_free(phi, weights))
        np.testing.assert_allclose(list(scale_free(phi * scale, weights)), expected, rtol=tolerance)
        mixed = phi * np.array([scale, 1.0, 1 / max(scale, 1e-300)])[:, None, None]
        np.testing.assert_allclose(list(scale_free(mixed, weights)), expected, rtol=tolerance)
    if scale > 1e-310:
        np.testing.assert_allclose(list(scale_free(phi, w * scale)), expected, rtol=1e-12)
        np.testing.assert_allclose(list(scale_free(phi * scale, w * scale)), expected, rtol=1e-12)


def test_neurons_of_unequal_scales_have_unit_length_in_function_mode():
    phi = np.random.default_rng(5).normal(size=(50, 5))
    expected = td.rank.epsilon_rank(phi, eps=0.1, mode="function")
    assert td.rank.epsilon_rank(phi * np.array([1e-300, 1e-160, 1.0, 1e160, 1e300]), eps=0.1, mode="function") == expected == 5


def test_scaling_by_a_power_of_two_is_exact():
    phi = np.random.default_rng(6).normal(size=(40, 4))
    for exponent in (-900, -300, 300, 900):
        assert list(scale_free(np.ldexp(phi, exponent), None)) == list(scale_free(phi, None))


@pytest.mark.parametrize("method", ["svd", "gram"])
def test_eigenvalues_that_overflow_are_a_numerical_error(method):
    with pytest.raises(NumericalError, match="rescale"):
        td.rank.spectrum(1e160 * features(), method=method)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda phi: td.rank.spectrum(phi, method="grma"), "method must be 'svd' or 'gram', got 'grma'"),
        (lambda phi: td.rank.effective_rank(phi, of="singulr"), "of must be 'singular' or 'eigen', got 'singulr'"),
        (lambda phi: td.rank.spectrum(phi, center="no"), "center must be True or False, got 'no'"),
        (lambda phi: td.rank.effective_rank(phi, center="no"), "center must be True or False"),
        (lambda phi: td.rank.stable_rank(phi, center=None), "center must be True or False"),
        (lambda phi: td.rank.participation_ratio(phi, center="no"), "center must be True or False"),
        (lambda phi: td.rank.numerical_rank(phi, center=1.0), "center must be True or False"),
        (lambda phi: td.rank.epsilon_rank(phi, mode=["relative"]), "mode must be"),
        (lambda phi: td.rank.epsilon_rank(phi, allow_underdetermined="no"), "allow_underdetermined must be True or False"),
    ],
)
def test_misspelt_options_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call(features())
