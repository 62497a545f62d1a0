"""Lemma 3.1, Theorems 3.2 and 3.3 as properties of random instances."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import theodolite as td
from theodolite.core.errors import ArgumentError


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.data())
def test_submatrix_lemma(seed, n, data):
    k = data.draw(st.integers(1, n))
    u = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, k)))[0]
    best = max(np.linalg.svd(u[list(j)], compute_uv=False)[-1] for j in combinations(range(n), k))
    assert best >= td.rank.submatrix_bound(n, k) * (1 - 1e-12)


def test_submatrix_lemma_is_sharp_for_one_column():
    u = np.full((9, 1), 1 / 3)
    assert abs(u).max() == pytest.approx(td.rank.submatrix_bound(9, 1), rel=1e-15)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 7), st.data())
def test_p_neurons_suffice(seed, n, data):
    p = data.draw(st.integers(1, n - 1))
    rng = np.random.default_rng(seed)
    phi, beta = rng.normal(size=(30, n)) @ np.diag(10.0 ** -rng.uniform(0, 4, n)) @ rng.normal(size=(n, n)), rng.normal(size=n)
    lam = td.rank.spectrum(phi)
    u = phi @ beta
    errors = [np.linalg.norm(u - q @ (q.T @ u)) for i in combinations(range(n), p) for q in [np.linalg.qr(phi[:, list(i)])[0]]]
    bound = td.rank.approximation_bound(n, p, lam[p], np.linalg.norm(beta))
    assert min(errors) / np.sqrt(30) <= bound * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 5), st.booleans())
def test_no_network_beats_the_loss_bound(seed, radius, several):
    rng = np.random.default_rng(seed)
    n, outputs = int(rng.integers(1, 8)), 3 if several else 1
    phi = rng.normal(size=(25, n)) @ np.diag(10.0 ** -rng.uniform(0, 3, n))
    w = rng.uniform(size=25)
    target = rng.normal(size=(25, outputs)) if several else rng.normal(size=25)
    bound = td.rank.loss_lower_bound(phi, target, radius, weights=w)
    u = target.reshape(25, -1)
    for _ in range(20):
        beta = rng.normal(size=(n, outputs))
        beta *= radius / max(np.linalg.norm(beta), 1e-300)
        loss = (w[:, None] * (phi @ beta - u) ** 2).sum()
        assert loss >= bound * (1 - 1e-10) - 1e-12


def test_the_loss_bound_is_the_distance_to_the_span_when_norms_do_not_bind():
    rng = np.random.default_rng(0)
    phi, u = rng.normal(size=(40, 5)), rng.normal(size=40)
    rest = u - phi @ np.linalg.lstsq(phi, u, rcond=None)[0]
    assert td.rank.loss_lower_bound(phi, u, 1e9) == pytest.approx((rest**2).mean(), rel=1e-9)
    assert td.rank.loss_lower_bound(phi, u, 0.0) == pytest.approx((u**2).mean(), rel=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: td.rank.submatrix_bound(3, 4),
        lambda: td.rank.submatrix_bound([3, 5], 4),
        lambda: td.rank.submatrix_bound(3, 1.5),
        lambda: td.rank.submatrix_bound(3, "two"),
        lambda: td.rank.approximation_bound(3, 4, 1e-3, 1.0),
        lambda: td.rank.approximation_bound(3, 2, -1.0, 1.0),
        lambda: td.rank.approximation_bound(3, 2, 1e-3, float("nan")),
        lambda: td.rank.loss_lower_bound(np.ones((3, 2)), np.ones(4), 1.0),
        lambda: td.rank.loss_lower_bound(np.ones((3, 2)), np.ones(3), -1.0),
        lambda: td.rank.loss_lower_bound(np.ones((3, 2)), np.ones(3), 1.0, weights=-np.ones(3)),
    ],
)
def test_bad_arguments_are_refused(call):
    with pytest.raises(ArgumentError):
        call()


def test_one_target_serves_all_leading_dimensions():
    rng = np.random.default_rng(0)
    phi, target = rng.normal(size=(3, 40, 6)), rng.normal(size=40)
    one_by_one = [td.rank.loss_lower_bound(p, target, 0.5) for p in phi]
    np.testing.assert_allclose(td.rank.loss_lower_bound(phi, target, 0.5), one_by_one, rtol=1e-12)


def test_bounds_broadcast():
    n, p = np.array([[5], [9]]), np.arange(4)
    bound = td.rank.approximation_bound(n, p, 1e-3, 2.0)
    each = [[td.rank.approximation_bound(int(a), int(b), 1e-3, 2.0) for b in p] for a in n[:, 0]]
    np.testing.assert_allclose(bound, each, rtol=1e-15)
    assert td.rank.approximation_bound(4, [3, 4], 1.0, 1.0).tolist() == [2.0, 0.0]
